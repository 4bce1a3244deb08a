"""Calling a pipeline on a batch, whichever family it is of."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from PIL.Image import Image

from attnscope.models import VIDEO


def call(
    pipe: Any,
    inputs: Sequence[Any],
    *,
    seeds: Sequence[int],
    steps: int,
    guidance: float,
    height: int | None = None,
    width: int | None = None,
    output_type: str = "pil",
    **options: Any,
) -> Any:
    """Call a pipeline on a batch, every image with a CPU generator of its own.

    Args:
        pipe: a text-to-image pipeline, or Stable Video Diffusion.
        inputs: captions, or images for Stable Video Diffusion.
        seeds: one per input, from :func:`attnscope.prompts.image_seed`.
        steps: denoising steps.
        guidance: guidance scale; the largest one for Stable Video Diffusion.
        height: in pixels; ``None`` is the pipeline's default.
        width: in pixels; ``None`` is the pipeline's default.
        output_type: as in diffusers.
        options: further keywords of the pipeline.

    Returns:
        What the pipeline returns under ``images`` or ``frames``.
    """
    options = call_options(
        pipe, seeds=seeds, steps=steps, guidance=guidance, height=height, width=width,
        output_type=output_type, **options,
    )  # fmt: skip
    made = pipe(list(inputs), **options)
    return made.frames if is_video(pipe) else made.images


def call_options(
    pipe: Any,
    *,
    seeds: Sequence[int],
    steps: int,
    guidance: float,
    height: int | None = None,
    width: int | None = None,
    output_type: str = "pil",
    **options: Any,
) -> dict[str, Any]:
    """Keywords of a pipeline's call on a batch; see :func:`call` for the arguments."""
    import torch

    options |= {
        "num_inference_steps": steps,
        "generator": [torch.Generator().manual_seed(seed) for seed in seeds],
        "output_type": output_type,
    }
    size = {k: v for k, v in {"height": height, "width": width}.items() if v is not None}
    if size and "use_resolution_binning" in inspect.signature(pipe.__call__).parameters:
        options["use_resolution_binning"] = False  # PixArt would make the nearest of its own sizes
    options |= size
    if is_video(pipe):
        least = min(1.0, guidance)
        return {**options, "max_guidance_scale": guidance, "min_guidance_scale": least}
    return {**options, "guidance_scale": guidance}


def is_video(pipe: Any) -> bool:
    """Whether a pipeline is conditioned on images and makes videos (Stable Video Diffusion)."""
    return type(pipe).__name__ == VIDEO


def frames(made: Any) -> list[Image]:
    """The frames of one video that :func:`call` returned, or the one image."""
    return list(made) if isinstance(made, list) else [made]


def default_batch_size(pipe: Any, device: str) -> int:
    """A batch to begin with; on a GPU it is halved until it fits."""
    from attnscope.sites import find_denoiser

    small = sum(p.numel() for p in find_denoiser(pipe).parameters()) < 50e6
    if device == "cpu":
        return 16 if small else 1
    return 64 if small else 8
