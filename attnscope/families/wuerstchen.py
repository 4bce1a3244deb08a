"""Wuerstchen, which denoises in two stages."""

from __future__ import annotations

from attnscope.families.base import Family


class Wuerstchen(Family):
    """Its pipelines put the conditional branch first."""

    denoisers = ("WuerstchenPrior",)
    pipelines = ("Wuerstchen*",)
    cond_first = True
