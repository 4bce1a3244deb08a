"""How large the output of an attention site is, worked out from the denoiser's configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from torch import nn

from attnscope.errors import InputError
from attnscope.sites import Site, find_denoiser, unwrapped


def output_elements(
    pipe: Any,
    sites: Iterable[Site],
    *,
    height: int | None = None,
    width: int | None = None,
    frames: int = 1,
) -> dict[str, int]:
    """Elements of one site output, per sample and guidance branch, by site name.

    Args:
        pipe: a pipeline.
        sites: of its denoiser.
        height: in pixels; ``None`` is the pipeline's default.
        width: in pixels; ``None`` is the pipeline's default.
        frames: of a video.

    Raises:
        InputError: the denoiser is neither a U-Net nor a transformer with ``patch_size``.
    """
    denoiser = unwrapped(find_denoiser(pipe))
    rows, columns = latent_size(pipe, height=height, width=width)
    modules = dict(denoiser.named_modules())
    return {
        site.name: frames * _tokens(denoiser, site, rows, columns) * _width(modules[site.name])
        for site in sites
    }


def latent_size(
    pipe: Any, *, height: int | None = None, width: int | None = None
) -> tuple[int, int]:
    """Rows and columns of the latents of an image of a size in pixels."""
    denoiser = unwrapped(find_denoiser(pipe))
    config: Any = denoiser.config
    size = getattr(config, "sample_size", None)
    rows, columns = (size, size) if size is None or isinstance(size, int) else size
    scale: int = pipe.vae_scale_factor
    rows, columns = height // scale if height else rows, width // scale if width else columns
    if rows is None or columns is None:
        raise InputError(f"{type(denoiser).__name__} has no default size: give height and width")
    return rows, columns


def _tokens(denoiser: nn.Module, site: Site, rows: int, columns: int) -> int:
    """Positions of the image that a site works on."""
    patch = getattr(denoiser.config, "patch_size", None)
    if isinstance(patch, int):
        return (rows // patch) * (columns // patch)
    if not hasattr(denoiser, "down_blocks"):
        raise InputError(
            f"the layout of {type(denoiser).__name__} is not known: measure a run instead"
        )
    halvings = _halvings(denoiser, site.block)
    factor: int = 2**halvings
    return -(-rows // factor) * -(-columns // factor)


def _halvings(denoiser: nn.Module, block: str) -> int:
    """How often the resolution was halved before a block of a U-Net."""
    downs = [getattr(stage, "downsamplers", None) is not None for stage in denoiser.down_blocks]  # type: ignore[union-attr]
    match = re.match(r"(down|up)_blocks\.(\d+)", block)
    if match is None:
        return sum(downs)
    number = int(match.group(2))
    if match.group(1) == "down":
        return sum(downs[:number])
    ups = [getattr(stage, "upsamplers", None) is not None for stage in denoiser.up_blocks]  # type: ignore[union-attr]
    return sum(downs) - sum(ups[:number])


def _width(module: nn.Module) -> int:
    """Channels of a site's output: those of its output projection."""
    return int(module.to_out[0].out_features)  # type: ignore[index,union-attr]
