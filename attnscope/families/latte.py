"""Latte: a transformer of videos, by blocks of space and of time in turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnscope.families.base import Family
from attnscope.families.values import CallSizes, Noise, TextKeys


class Latte(Family):
    """Made for one number of frames, or for images."""

    denoisers = ("LatteTransformer3DModel",)
    makes_videos = True

    def tokens(self, called: Mapping[str, Any], encoder: Mapping[str, Any]) -> int:
        """What stands in the middle of its pipeline."""
        return 120

    def text_keys(self, pipe: Any, called: Mapping[str, Any]) -> tuple[TextKeys, ...]:
        """As long as :meth:`tokens`, whatever its tokenizer takes."""
        return super().text_keys(pipe, {**called, "max_sequence_length": self.tokens({}, {})})

    def frames_allowed(self, config: Mapping[str, Any]) -> tuple[int, ...] | None:
        """One, or what it has embeddings for."""
        return 1, config.get("video_length", 16)

    def inputs(self, denoiser: Any, on: CallSizes, noise: Noise) -> dict[str, Any]:
        """Latents of all frames, and text."""
        return {
            "hidden_states": noise(denoiser.config.in_channels, on.frames, on.rows, on.columns),
            "encoder_hidden_states": noise(on.tokens, denoiser.config.caption_channels),
        }

    def pipeline(self, denoiser: Any, parts: Mapping[str, Any], levels: int) -> Any:
        """Its only one."""
        import diffusers

        return diffusers.LattePipeline(transformer=denoiser, **parts)

    def pipeline_keywords(self, on: CallSizes, batch: int, device: Any) -> dict[str, Any]:
        """How many frames it is to make."""
        return {"negative_prompt": None, "video_length": on.frames}
