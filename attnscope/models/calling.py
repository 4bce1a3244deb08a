"""Calling a pipeline on a batch, whichever family it is of."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from PIL.Image import Image

from attnscope.errors import InputError
from attnscope.families import of_pipeline
from attnscope.models.image_sizes import size_asked, size_made
from attnscope.models.schedulers import steps_of


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
        seeds: one per input, from :func:`attnscope.runs.prompts.image_seed`.
        steps: denoising steps.
        guidance: guidance scale; the largest one for Stable Video Diffusion.
        height: in pixels; without a width a square, without both the pipeline's default.
        width: in pixels; without a height a square.
        output_type: as in diffusers.
        options: further keywords of the pipeline.

    Returns:
        What the pipeline returns under ``images`` or ``frames``.

    Raises:
        InputError: the pipeline does not take the size, or made another one.
    """
    options = call_options(
        pipe, seeds=seeds, steps=steps, guidance=guidance, height=height, width=width,
        output_type=output_type, **options,
    )  # fmt: skip
    result = pipe(list(inputs), **options)
    images = images_of(result)
    check_made(pipe, images, options)
    return images


def check_made(pipe: Any, images: Any, options: Mapping[str, Any]) -> None:
    """Refuse images of another size than was asked for, since that is the size that is recorded.

    Args:
        pipe: the pipeline.
        images: what it returned.
        options: the keywords of its call, from :func:`call_options`.

    Raises:
        InputError: they are of another size.
    """
    wanted = options.get("height"), options.get("width")
    found = size_made(pipe, images, options["output_type"])
    if found is None or None in wanted or found == wanted:
        return
    raise InputError(
        f"{type(pipe).__name__} made {found[1]}x{found[0]} where {wanted[1]}x{wanted[0]} was asked "
        "for: choose a `height` and `width` that it takes, such as what it made"
    )


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
    """Keywords of a pipeline's call on a batch; see :func:`call` for the arguments.

    Raises:
        InputError: the pipeline does not take the size or the number of steps.
    """
    import torch

    family = of_pipeline(pipe)
    family.check_steps(pipe, steps)
    options |= {
        "num_inference_steps": steps,
        "generator": [torch.Generator().manual_seed(seed) for seed in seeds],
        "output_type": output_type,
    }
    size = {}
    if height is not None or width is not None:
        size = dict(zip(("height", "width"), size_asked(pipe, height, width), strict=True))
    if "use_resolution_binning" in inspect.signature(pipe.__call__).parameters:
        # PixArt would make the nearest of its own sizes, and knows none for latents of 16x16; where
        # no size is asked for, its default is one of them.
        options["use_resolution_binning"] = False
    return options | size | family.guidance_keywords(guidance)


def check_steps(pipe: Any, steps: int) -> None:
    """Refuse a number of steps before any image is made.

    Raises:
        InputError: the pipeline or its scheduler cannot make so many or so few.
    """
    of_pipeline(pipe).check_steps(pipe, steps)
    steps_of(pipe.scheduler, steps)


def images_of(result: Any) -> Any:
    """What a pipeline returned under ``images``, or of videos under ``frames``: one item a prompt."""
    return result.images if hasattr(result, "images") else result.frames


def frames(made: Any) -> list[Image]:
    """The frames of one video that :func:`call` returned, or the one image."""
    return list(made) if isinstance(made, list) else [made]


def default_batch_size(pipe: Any, device: str) -> int:
    """A batch to begin with; on a GPU it is halved until it fits."""
    from attnscope.sites.attention import find_denoiser

    small = sum(p.numel() for p in find_denoiser(pipe).parameters()) < 50e6
    if device == "cpu":
        return 16 if small else 1
    return 64 if small else 8
