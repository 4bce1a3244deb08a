"""Stable Diffusion 3: text and image as two streams that attend to each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnscope import versions
from attnscope.families.base import Family
from attnscope.families.values import CallSizes, Noise, TextKeys


class StableDiffusion3(Family):
    """Reads the text of CLIP, then that of T5."""

    denoisers = ("SD3Transformer2DModel",)
    latents = {"StableDiffusion3Pipeline": "shifted"}
    text_leads = False

    def tokens(self, called: Mapping[str, Any], encoder: Mapping[str, Any]) -> int:
        """Those of CLIP and those of T5, in whose place are zeros where it was left out."""
        clip, longest = super().tokens({}, encoder), int(called.get("max_sequence_length", 256))
        if "text_encoder_3" in encoder.get("parts", ("text_encoder_3",)):
            return clip + longest
        return clip + versions.zeros_without_t5(clip, longest)

    def text_keys(self, pipe: Any, called: Mapping[str, Any]) -> tuple[TextKeys, ...]:
        """Both of CLIP side by side, then T5, in whose place are zeros where it was left out."""
        clip = TextKeys(
            int(pipe.tokenizer_max_length), ("tokenizer", "tokenizer_2"), ("prompt", "prompt_2")
        )
        length = int(called["max_sequence_length"])
        if pipe.text_encoder_3 is None:
            return clip, TextKeys(versions.zeros_without_t5(clip.length, length))
        return clip, TextKeys(length, ("tokenizer_3",), ("prompt_3",))

    def inputs(self, denoiser: Any, on: CallSizes, noise: Noise) -> dict[str, Any]:
        """Latents, text, and the text's pooled embedding."""
        return {
            "hidden_states": noise(denoiser.config.in_channels, on.rows, on.columns),
            "encoder_hidden_states": noise(on.tokens, denoiser.config.joint_attention_dim),
            "pooled_projections": noise(denoiser.config.pooled_projection_dim),
        }
