"""Bria and Bria Fibo, built like Flux; in Fibo 2 text is in the sequence and beside it."""

from __future__ import annotations

from attnscope.families.base import Family
from attnscope.families.values import TEXT_FIRST


class Bria(Family):
    """The record of diffusers has their blocks the wrong way round."""

    denoisers = ("BriaTransformer2DModel", "BriaFiboTransformer2DModel")
    text_leads = True
    streams = {
        "BriaTransformerBlock": TEXT_FIRST,
        "BriaSingleTransformerBlock": TEXT_FIRST,
        "BriaFiboTransformerBlock": TEXT_FIRST,
    }


class BriaFibo2(Family):
    """Looks at text elsewhere in some blocks, and holds some in the sequence in all."""

    denoisers = ("BriaFibo2Transformer2DModel",)
    text_in_sequence = True
