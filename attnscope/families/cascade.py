"""Stable Cascade, which denoises in two stages."""

from __future__ import annotations

from attnscope.families.base import Family


class StableCascade(Family):
    """Its pipelines put the conditional branch first."""

    denoisers = ("StableCascadeUNet",)
    pipelines = ("StableCascade*",)
    cond_first = True
