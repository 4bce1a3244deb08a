"""Qwen-Image, which is told the sizes of its images and texts as lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnscope.families.base import Family
from attnscope.families.tokenizers import text_not_known
from attnscope.families.values import Template, TextKeys

_FROM_TEXT = frozenset(
    {
        "QwenImagePipeline",
        "QwenImageImg2ImgPipeline",
        "QwenImageInpaintPipeline",
        "QwenImageControlNetPipeline",
        "QwenImageControlNetInpaintPipeline",
    }
)
"""Pipelines whose language model reads the prompt in a template, and no image."""


class QwenImage(Family):
    """One entry an image or a text, whatever the batch."""

    denoisers = ("QwenImageTransformer2DModel",)
    never_batched = Family.never_batched | {"img_shapes", "txt_seq_lens"}
    text_leads = True

    def text_keys(self, pipe: Any, called: Mapping[str, Any]) -> tuple[TextKeys, ...]:
        """Those of its language model, without the beginning of the template."""
        if type(pipe).__name__ not in _FROM_TEXT:
            raise text_not_known(pipe, "a language model, of whose use nothing is known")
        return (TextKeys(_longest(pipe, called), ("tokenizer",), ("prompt",)),)

    def template(self, pipe: Any, tokenizer: Any, called: Mapping[str, Any]) -> Template:
        """The pipeline's own, whose first tokens the denoiser is not given."""
        before, after = pipe.prompt_template_encode.split("{}")
        start = int(pipe.prompt_template_encode_start_idx)
        kept = tuple(range(start, start + _longest(pipe, called)))
        longest = start + int(pipe.tokenizer_max_length)
        return Template(before, after, longest, kept, is_padded=False)


def _longest(pipe: Any, called: Mapping[str, Any]) -> int:
    return min(int(called.get("max_sequence_length") or 512), int(pipe.tokenizer_max_length))
