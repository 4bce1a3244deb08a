"""Z-Image, whose calls take a list of latents."""

from __future__ import annotations

from attnscope.families.base import Family


class ZImage(Family):
    """Its pipelines put the conditional branch first."""

    denoisers = ("ZImageTransformer2DModel",)
    pipelines = ("ZImage*",)
    latents = {"ZImagePipeline": "shifted"}
    cond_first = True
