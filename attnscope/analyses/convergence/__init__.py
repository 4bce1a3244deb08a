"""When does attention converge, and is it attention that does?"""

THRESHOLD = 0.05
"""A site has converged where its relative change is below this part of its first one."""
