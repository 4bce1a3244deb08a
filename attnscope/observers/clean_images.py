"""The image that a trajectory holds at a step: the denoiser's estimate of x_0 (Figure 3b)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from PIL.Image import Image
from torch import Tensor

from attnscope.errors import InputError
from attnscope.hooks.moments import Denoising, Moment
from attnscope.hooks.observer import Observer
from attnscope.models.predictions import check_prediction, clean_weights, places
from attnscope.sites.denoiser import Denoiser


class CleanEstimates(Observer):
    """What the guided prediction says x_0 is, at chosen steps, for chosen samples.

    Args:
        steps: 0-based.
        samples: places in the batch.
    """

    watches_noise = True

    def __init__(self, steps: Sequence[int], samples: Sequence[int]) -> None:
        self.steps, self.samples = tuple(steps), tuple(samples)
        self._scheduler: Any = None
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}
        self.latents: dict[int, Tensor] = {}
        """float32 ``[len(samples), channels, height, width]`` by step, on the model's device."""

    def start(self, run: Denoising, scheduler: Any) -> None:
        """A run begins.

        Raises:
            InputError: there is no known way from this scheduler's predictions to x_0.
        """
        check_prediction(scheduler)
        self._scheduler = scheduler
        self._kept.clear()

    def end_step(
        self,
        step: int,
        predictions: Sequence[tuple[Moment, Tensor]],
        guided: Tensor,
        sample: Tensor,
    ) -> None:
        """Keep the guided prediction and the latents it was made from."""
        if step in self.steps:
            places = list(self.samples)
            guided = guided[:, : sample.shape[1]]  # PixArt predicts variances too
            self._kept[step] = guided[places].detach().float(), sample[places].detach().float()

    def finish(self, run: Denoising) -> None:
        """Combine what was kept; nothing is said of x_0 where all is noise."""
        if not self._kept:
            return
        timesteps = run.timesteps()
        where = places(self._scheduler, timesteps)
        for step, (prediction, sample) in self._kept.items():
            if step >= run.steps_done:
                continue
            a, b = clean_weights(self._scheduler, float(timesteps[step]), place=int(where[step]))
            if math.isfinite(a):
                self.latents[step] = a * prediction + b * sample
        self._kept.clear()

    def table(self) -> pd.DataFrame:
        """Columns ``step`` and ``sample``: what there is in :attr:`latents`."""
        rows = [(step, sample) for step in self.latents for sample in self.samples]
        return pd.DataFrame(rows, columns=["step", "sample"])

    @torch.inference_mode()
    def images(self, pipe: Any) -> dict[tuple[int, int], Image]:
        """Decode the estimates by the pipeline's own autoencoder.

        Args:
            pipe: for which :func:`decodes` is true.

        Returns:
            Images by (sample, step).
        """
        decoded = {}
        for step, latents in self.latents.items():
            for sample, latent in zip(self.samples, latents, strict=True):
                decoded[sample, step] = _decode(pipe, latent[None])
        return decoded


def decodes(pipe: Any) -> bool:
    """Whether a pipeline's latents are the images of an autoencoder that decodes one at a time.

    Those of Latte's videos are not, though its autoencoder is one of images.
    """
    of_images = type(getattr(pipe, "vae", None)).__name__ in ("AutoencoderKL", "AutoencoderTiny")
    return of_images and not Denoiser.of(pipe).family.makes_videos


def _decode(pipe: Any, latents: Tensor) -> Image:
    """One latent ``[1, channels, height, width]`` to its image."""
    vae = pipe.vae
    if latents.ndim != 4 or latents.shape[1] != vae.config.latent_channels:
        raise InputError(f"latents of shape {list(latents.shape)} are not an image's")
    shift = getattr(vae.config, "shift_factor", None) or 0.0
    before = vae.dtype
    # Half precision overflows in SDXL's decoder.
    upcast = before == torch.float16 and getattr(vae.config, "force_upcast", False)
    if upcast:
        vae.to(torch.float32)
    try:
        scaled = (latents / vae.config.scaling_factor + shift).to(vae.dtype)
        image = vae.decode(scaled).sample
    finally:
        if upcast:
            vae.to(before)
    made: list[Image] = pipe.image_processor.postprocess(image.float(), output_type="pil")
    return made[0]
