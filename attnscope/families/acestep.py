"""ACE-Step, which makes music."""

from __future__ import annotations

from attnscope.families.base import Family


class AceStep(Family):
    """Its pipelines put the conditional branch first."""

    denoisers = ("AceStepTransformer1DModel",)
    pipelines = ("AceStep*",)
    cond_first = True
