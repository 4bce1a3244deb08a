"""AuraFlow: blocks of two streams, then blocks of one sequence."""

from __future__ import annotations

from attnscope.families.base import Family
from attnscope.families.values import TEXT_FIRST


class AuraFlow(Family):
    """Returns text before image from its blocks of two streams."""

    denoisers = ("AuraFlowTransformer2DModel",)
    streams = {"AuraFlowJointTransformerBlock": TEXT_FIRST}
