"""Plans: what every attention call, every guidance branch and the text do at every denoising step.

Nothing here needs torch. ``text_form`` reads and writes ``m=10,k=5``; ``reuse``, ``guidance`` and
``null_text`` hold the plans of the paper, ``base`` what a plan of one's own is derived from, ``parts``
the parts that a plan falls into.
"""
