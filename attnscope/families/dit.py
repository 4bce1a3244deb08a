"""DiT, which makes images of classes."""

from __future__ import annotations

from attnscope.families.base import Family


class DiT(Family):
    """Its pipeline puts the conditional branch first, and hands both halves to the scheduler."""

    denoisers = ("DiTTransformer2DModel",)
    pipelines = ("DiT*",)
    cond_first = True
    steps_both = True
