"""Chroma, a Flux without guidance scale and pooled text."""

from __future__ import annotations

from attnscope.families.flux import Patched
from attnscope.families.values import TEXT_FIRST


class Chroma(Patched):
    """The record of diffusers lacks its blocks of two streams."""

    denoisers = ("ChromaTransformer2DModel",)
    latents = {"ChromaPipeline": "packed"}
    text_leads = True
    streams = {"ChromaTransformerBlock": TEXT_FIRST}
