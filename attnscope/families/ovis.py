"""Ovis Image, built like Flux."""

from __future__ import annotations

from attnscope.families.base import Family
from attnscope.families.values import TEXT_FIRST


class OvisImage(Family):
    """Returns text before image."""

    denoisers = ("OvisImageTransformer2DModel",)
    streams = {
        "OvisImageTransformerBlock": TEXT_FIRST,
        "OvisImageSingleTransformerBlock": TEXT_FIRST,
    }
