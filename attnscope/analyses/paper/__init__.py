"""The paper by name: what every figure and table of it shows, how it is made, and whether it holds.

"Faster Diffusion via Temporal Attention Decomposition", arXiv:2404.02747v3, whose numbering this
follows. A figure or table is data (:mod:`~attnscope.analyses.paper.items`): the commands that make it, on
the paper's models and on stand-ins in the box. What they leave is set beside the published values
(:mod:`~attnscope.analyses.paper.beside`) and its claims are put to the test
(:mod:`~attnscope.analyses.paper.claims`).
"""
