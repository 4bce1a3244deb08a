"""LongCat Image, built like Flux."""

from __future__ import annotations

from attnscope.families.base import TEXT_FIRST, Family


class LongCatImage(Family):
    """Returns text before image."""

    denoisers = ("LongCatImageTransformer2DModel",)
    streams = {
        "LongCatImageTransformerBlock": TEXT_FIRST,
        "LongCatImageSingleTransformerBlock": TEXT_FIRST,
    }
