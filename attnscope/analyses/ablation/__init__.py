"""Where does attention matter? The paper's ablations: section 3.2, appendix B, Tables A1-A5, A7.

For cross-attention the prompt gives way to the encoding of "" from step m on (S^F_m), or until step
m (S^L_m). For self-attention outputs are reused from m on (S^F) or before m (S^L), alone and with
cross-attention gated at m. All arms make the same prompts from the same initial noise.

``arms`` says what is made, ``sample`` makes an arm's images and leaves every finished batch on
disk, ``tables`` reads them back, ``run`` does all of it. How good they are is for
:mod:`attnscope.metrics.judging`.
"""

ATTENTION = ("cross", "self")
"""Kinds of attention that can be ablated."""
