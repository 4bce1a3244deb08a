"""Chroma, a Flux without guidance scale and pooled text."""

from __future__ import annotations

from attnscope.families.base import TEXT_FIRST
from attnscope.families.flux import Patched


class Chroma(Patched):
    """The record of diffusers lacks its blocks of two streams."""

    denoisers = ("ChromaTransformer2DModel",)
    latents = {"ChromaPipeline": "packed"}
    text_leads = True
    streams = {"ChromaTransformerBlock": TEXT_FIRST}
