"""PixArt alpha and sigma: a transformer that looks at text by cross-attention."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from attnscope.errors import InputError
from attnscope.families.base import Family
from attnscope.families.values import CallSizes, Noise

_ALPHA = "PixArtAlphaPipeline"


class PixArt(Family):
    """Transformers of images; alpha at 1024 pixels is told the image's size, too."""

    denoisers = ("PixArtTransformer2DModel",)
    pipelines = ("PixArtAlphaPipeline", "PixArtSigmaPipeline")
    null_text = "PixArt"
    short_captions = {"clean_caption": False, "max_sequence_length": 24}
    tgate_loaders = {
        "PixArtAlphaPipeline": "TgatePixArtAlphaLoader",
        "PixArtSigmaPipeline": "TgatePixArtSigmaLoader",
    }

    def inputs(self, denoiser: Any, on: CallSizes, noise: Noise) -> dict[str, Any]:
        """Latents, text, and what alpha is told of the image's size."""
        told = denoiser.use_additional_conditions
        return {
            "hidden_states": noise(denoiser.config.in_channels, on.rows, on.columns),
            "encoder_hidden_states": noise(on.tokens, denoiser.config.caption_channels),
            "added_cond_kwargs": {
                "resolution": noise(2) if told else None,
                "aspect_ratio": noise(1) if told else None,
            },
        }

    def check_steps(self, pipe: Any, steps: int) -> None:
        """PixArt-alpha's pipeline takes the scheduler's guess of x_0 for a single step.

        It was made for DMD; a scheduler whose step tells the next latents alone has none.
        """
        if steps != 1 or type(pipe).__name__ != _ALPHA:
            return
        told = str(inspect.signature(pipe.scheduler.step).return_annotation)
        if "SchedulerOutput" in re.findall(r"\w+", told):
            raise InputError(
                f"{_ALPHA} makes a single step only by a scheduler that guesses x_0, which "
                f"{type(pipe.scheduler).__name__} does not tell: choose 2 steps or more"
            )

    def pipeline(self, denoiser: Any, parts: Mapping[str, Any], levels: int) -> Any:
        """That of alpha where the denoiser is told the image's size, else that of sigma."""
        import diffusers

        told = denoiser.use_additional_conditions
        kind = diffusers.PixArtAlphaPipeline if told else diffusers.PixArtSigmaPipeline
        return kind(transformer=denoiser, **parts)

    def pipeline_keywords(self, on: CallSizes, batch: int, device: Any) -> dict[str, Any]:
        """Masks that leave nothing out, and no other size than was asked for."""
        import torch

        mask = torch.ones(batch, on.tokens, device=device)
        return {
            "negative_prompt": None,
            "prompt_attention_mask": mask,
            "negative_prompt_attention_mask": mask,
            "use_resolution_binning": False,
        }
