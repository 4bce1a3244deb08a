"""LongCat Image, built like Flux."""

from __future__ import annotations

from attnscope.families.base import Family
from attnscope.families.values import TEXT_FIRST


class LongCatImage(Family):
    """Returns text before image."""

    denoisers = ("LongCatImageTransformer2DModel",)
    streams = {
        "LongCatImageTransformerBlock": TEXT_FIRST,
        "LongCatImageSingleTransformerBlock": TEXT_FIRST,
    }
