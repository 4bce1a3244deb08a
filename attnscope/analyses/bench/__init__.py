"""How much faster does a plan make a pipeline, what earned it, and what does it cost in quality?"""
