"""Lumina Next, a transformer of images."""

from __future__ import annotations

from attnscope.families.base import Family


class Lumina(Family):
    """Its pipelines put the conditional branch first."""

    denoisers = ("LuminaNextDiT2DModel",)
    pipelines = ("LuminaPipeline",)
    cond_first = True
