"""Lumina Next and Lumina 2, transformers of images."""

from __future__ import annotations

from attnscope.families.base import Family


class Lumina(Family):
    """Its pipelines put the conditional branch first."""

    denoisers = ("LuminaNextDiT2DModel",)
    pipelines = ("LuminaPipeline",)
    cond_first = True


class Lumina2(Family):
    """Its autoencoder is Flux's."""

    denoisers = ("Lumina2Transformer2DModel",)
    latents = {"Lumina2Pipeline": "shifted"}
