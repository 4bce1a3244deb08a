"""Sana: linear self-attention, and cross-attention to what a language model makes of instructions and prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnscope.families.base import Family
from attnscope.families.tokenizers import text_not_known
from attnscope.families.values import Template, TextKeys

_INSTRUCTED = frozenset(
    {
        "SanaPipeline",
        "SanaPAGPipeline",
        "SanaControlNetPipeline",
        "SanaSprintPipeline",
        "SanaSprintImg2ImgPipeline",
    }
)
"""Pipelines that put their instructions before the prompt and keep the tokens of its end."""


class Sana(Family):
    """Its pipelines take the first token and the last ones of what their tokenizer pads."""

    denoisers = ("SanaTransformer2DModel",)

    def text_keys(self, pipe: Any, called: Mapping[str, Any]) -> tuple[TextKeys, ...]:
        """Those of its language model, as many as the call says."""
        if type(pipe).__name__ not in _INSTRUCTED:
            raise text_not_known(pipe, "a language model, of whose use nothing is known")
        return (TextKeys(int(called["max_sequence_length"]), ("tokenizer",), ("prompt",)),)

    def template(self, pipe: Any, tokenizer: Any, called: Mapping[str, Any]) -> Template:
        """The instructions of the call, before the prompt (section 3.1 of the paper)."""
        length = int(called["max_sequence_length"])
        lines = called.get("complex_human_instruction")
        before = "\n".join(lines) if lines else ""
        whole = length + len(tokenizer.encode(before)) - 2 if before else length
        kept = (0, *range(whole - length + 1, whole))
        return Template(before, "", whole, kept, side="right")
