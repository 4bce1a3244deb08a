"""The size of what a pipeline makes: what it is asked for, what it takes, what came out.

diffusers makes a picture of a pipeline's own size where height or width is missing, and some of its
pipelines round what does not fit their patches. Here one of the two alone means a square, as
``attnscope cost`` has it, and what would be rounded is refused.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

from PIL.Image import Image

from attnscope.errors import InputError
from attnscope.families import of_denoiser

_SCALES = (
    "vae_scale_factor_spatial",
    "vae_spatial_scale_factor",
    "vae_spatial_compression_ratio",
    "vae_scale_factor",
)
"""Where pipelines keep how many pixels a latent is wide; those of videos before those of images."""
_LEAST_MULTIPLE = 8  # which pipelines of diffusers insist on, whatever their autoencoder


def square(height: int | None, width: int | None) -> tuple[int | None, int | None]:
    """Height and width, where one given means a square; both ``None`` if neither is given."""
    return width if height is None else height, height if width is None else width


def size_asked(pipe: Any, height: int | None, width: int | None) -> tuple[int, int]:
    """Height and width in pixels to ask a pipeline for, if one or both are given.

    Raises:
        InputError: the pipeline does not take the size.
    """
    tall, wide = square(height, width)
    if tall is None or wide is None:
        raise ValueError("a height or a width is needed")
    multiple = math.lcm(_LEAST_MULTIPLE, _multiple(pipe))
    check_multiple(type(pipe).__name__, tall, wide, multiple)
    return tall, wide


def check_multiple(name: str, height: int, width: int, multiple: int) -> None:
    """Refuse a size that does not fit a model's patches.

    Args:
        name: of the model.
        height: in pixels.
        width: in pixels.
        multiple: what both must be multiples of.

    Raises:
        InputError: one of them is not.
    """
    for side, value in (("height", height), ("width", width)):
        if value < 1 or value % multiple:
            below = max(value // multiple, 1) * multiple
            raise InputError(
                f"{side}={value} is not a multiple of {multiple}, which {name} needs "
                f"(choose {below} or {below + multiple})"
            )


def own_size(pipe: Any) -> tuple[int, int] | None:
    """Height and width in pixels that a pipeline makes when told nothing, as far as it shows."""
    parameters = inspect.signature(pipe.__call__).parameters
    tall, wide = (getattr(parameters.get(side), "default", None) for side in ("height", "width"))
    if isinstance(tall, int) and isinstance(wide, int):
        return tall, wide
    if isinstance(fixed := getattr(pipe, "default_height", None), int):  # as Mochi's
        return fixed, int(pipe.default_width)
    side = getattr(pipe, "default_sample_size", None) or _of_denoiser(_config(pipe))
    if side is None:
        return None
    height, width = side if isinstance(side, list | tuple) else (side, side)
    return int(height * _scale(pipe)), int(width * _scale(pipe))


def size_made(pipe: Any, images: Any, output_type: str) -> tuple[int, int] | None:
    """Height and width in pixels of what a pipeline returned; ``None`` if it does not show.

    Args:
        pipe: the pipeline.
        images: PIL images, videos of them, or latents ``[batch, ..., height, width]``.
        output_type: as in diffusers: which of them they are.
    """
    if output_type == "latent":
        if images.ndim < 4:  # packed into patches
            return None
        return int(images.shape[-2] * _scale(pipe)), int(images.shape[-1] * _scale(pipe))
    first = images[0] if output_type == "pil" and len(images) else None
    first = first[0] if isinstance(first, list) else first
    return (first.height, first.width) if isinstance(first, Image) else None


def _multiple(pipe: Any) -> int:
    return _scale(pipe) * of_denoiser(_denoiser(pipe)).latents_a_side(_config(pipe))


def _scale(pipe: Any) -> int:
    """Pixels to a latent."""
    return int(next((value for name in _SCALES if (value := getattr(pipe, name, None))), 1))


def _denoiser(pipe: Any) -> Any:
    """The first denoiser, behind ``torch.compile``; two of a pipeline take the same sizes."""
    parts = (getattr(pipe, name, None) for name in ("unet", "transformer", "transformer_2"))
    denoiser = next((part for part in parts if part is not None), None)
    return getattr(denoiser, "_orig_mod", denoiser)


def _config(pipe: Any) -> Mapping[str, Any]:
    config: Mapping[str, Any] = getattr(_denoiser(pipe), "config", {})
    return config


def _of_denoiser(config: Mapping[str, Any]) -> Any:
    """Height and width of the latents, or their one side."""
    if config.get("sample_height") and config.get("sample_width"):
        return config["sample_height"], config["sample_width"]
    return config.get("sample_size")
