"""Qwen-Image, which is told the sizes of its images and texts as lists."""

from __future__ import annotations

from attnscope.families.base import Family


class QwenImage(Family):
    """One entry an image or a text, whatever the batch."""

    denoisers = ("QwenImageTransformer2DModel",)
    never_batched = Family.never_batched | {"img_shapes", "txt_seq_lens"}
