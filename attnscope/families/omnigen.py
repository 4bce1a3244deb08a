"""OmniGen, whose text and images are one sequence."""

from __future__ import annotations

from attnscope.families.base import Family


class OmniGen(Family):
    """Its pipelines put the conditional branch first."""

    denoisers = ("OmniGenTransformer2DModel",)
    pipelines = ("OmniGen*",)
    cond_first = True
