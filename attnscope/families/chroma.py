"""Chroma, a Flux without guidance scale and pooled text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnscope.families.base import TEXT_FIRST, Family


class Chroma(Family):
    """Its pipeline makes patches of 2x2 latents, as Flux's does."""

    denoisers = ("ChromaTransformer2DModel",)
    streams = {"ChromaTransformerBlock": TEXT_FIRST}

    def latents_a_side(self, config: Mapping[str, Any]) -> int:
        """Two, by its pipeline."""
        return 2
