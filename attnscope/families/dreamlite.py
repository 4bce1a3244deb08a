"""DreamLite, whose U-Net is derived from Stable Diffusion's and is called on other things."""

from __future__ import annotations

from attnscope.families.base import Family


class DreamLite(Family):
    """Nothing that is known of Stable Diffusion's U-Net is known of its own."""

    denoisers = ("DreamLiteUNetModel",)
