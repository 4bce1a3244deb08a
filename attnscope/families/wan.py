"""Wan: a transformer of videos whose autoencoder is one over time, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnscope.families.base import Family
from attnscope.families.values import TEXT_FIRST, CallSizes, Noise


class Wan(Family):
    """Makes fewer frames of latents than of the video: 21 for 81."""

    denoisers = ("WanTransformer3DModel",)
    makes_videos = True

    def frames(
        self, called: Mapping[str, Any], config: Mapping[str, Any], vae: Mapping[str, Any]
    ) -> int:
        """Those of its pipeline, shrunk over time."""
        shrunk = vae.get("scale_factor_temporal") or 4
        return int((called.get("num_frames", 81) - 1) // shrunk + 1)

    def text_read(self, pipe: Any, prompt: str, tokenizer: Any, called: Mapping[str, Any]) -> str:
        """With HTML and spaces put right, by a function beside its pipelines."""
        from diffusers.pipelines.wan.pipeline_wan import prompt_clean

        return str(prompt_clean(prompt))

    def inputs(self, denoiser: Any, on: CallSizes, noise: Noise) -> dict[str, Any]:
        """Latents of all frames, and text."""
        return {
            "hidden_states": noise(denoiser.config.in_channels, on.frames, on.rows, on.columns),
            "encoder_hidden_states": noise(on.tokens, denoiser.config.text_dim),
        }


class WanVACE(Family):
    """Of the two results of its blocks, a hint for the main blocks and the stream, the second is it."""

    denoisers = ("WanVACETransformer3DModel",)
    streams = {"WanVACETransformerBlock": TEXT_FIRST}
