"""How large the output of an attention site is, worked out from the denoiser and its configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from torch import nn

from attnscope.errors import InputError
from attnscope.sites.attention import Site
from attnscope.sites.denoiser import Denoiser


def output_elements(
    pipe: Any,
    denoiser: Denoiser,
    sites: Iterable[Site],
    *,
    height: int | None = None,
    width: int | None = None,
    frames: int = 1,
) -> dict[str, int]:
    """Elements of one site output, per sample and guidance branch, by site name.

    Args:
        pipe: a pipeline.
        denoiser: of the pipeline.
        sites: of the denoiser.
        height: in pixels; ``None`` is the pipeline's default.
        width: in pixels; ``None`` is the pipeline's default.
        frames: of a video.

    Raises:
        InputError: the denoiser is neither a U-Net nor a transformer with ``patch_size``, or text
            takes part in what a site returns.
    """
    sites = tuple(sites)
    joint = next((site.name for site in sites if site.kind == "joint"), None)
    if joint is not None:
        raise InputError(f"how much text takes part in {joint} is not known: measure a run instead")
    rows, columns = latent_size(pipe, denoiser, height=height, width=width)
    return {
        site.name: frames * _tokens(denoiser.module, site, rows, columns) * _width(denoiser, site)
        for site in sites
    }


def tokens_of(
    pipe: Any,
    denoiser: Denoiser,
    sites: Iterable[Site],
    *,
    height: int | None = None,
    width: int | None = None,
) -> dict[str, int]:
    """Positions of the image at every site, by its name.

    Args:
        pipe: a pipeline of images.
        denoiser: of the pipeline.
        sites: of the denoiser.
        height: in pixels; ``None`` is the pipeline's default.
        width: in pixels; ``None`` is the pipeline's default.

    Raises:
        InputError: the denoiser is neither a U-Net nor a transformer with ``patch_size``.
    """
    rows, columns = latent_size(pipe, denoiser, height=height, width=width)
    config: Any = denoiser.module.config
    patch = denoiser.family.latents_a_side(config)
    if hasattr(denoiser.module, "down_blocks"):
        return {site.name: _tokens(denoiser.module, site, rows, columns) for site in sites}
    return {site.name: (rows // patch) * (columns // patch) for site in sites}


def latent_size(
    pipe: Any, denoiser: Denoiser, *, height: int | None = None, width: int | None = None
) -> tuple[int, int]:
    """Rows and columns of the latents of an image of a size in pixels."""
    config: Any = denoiser.module.config
    size = getattr(config, "sample_size", None)
    rows, columns = (size, size) if size is None or isinstance(size, int) else size
    scale = int(getattr(pipe, "vae_scale_factor", 1))  # DeepFloyd IF denoises pixels
    rows, columns = height // scale if height else rows, width // scale if width else columns
    if rows is None or columns is None:
        raise InputError(f"{denoiser.class_name} has no default size: give height and width")
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


def output_bytes(denoiser: Denoiser, site: Site) -> int:
    """Bytes of one number that a site returns, without autocast.

    What a projection is stored in is not what it computes in under layerwise casting and where its
    weights are quantised; and norms or embeddings may be kept in float32 beside it.

    Args:
        denoiser: of diffusers.
        site: one of its attention sites.

    Raises:
        InputError: the weights do not tell.
    """
    projection = _projection(denoiser, site)
    for module in projection.modules():
        registry = getattr(module, "_diffusers_hook", None)
        casting = None if registry is None else registry.get_hook("layerwise_casting")
        if casting is not None:
            return int(casting.compute_dtype.itemsize)
    dtypes: tuple[Any, Any] = projection.weight.dtype, denoiser.module.dtype
    for dtype in dtypes:
        if dtype.is_floating_point and dtype.itemsize > 1:  # one byte is for storage alone
            return int(dtype.itemsize)
    raise InputError(
        f"what {site.name} computes in is not known, as its weights are {projection.weight.dtype}: "
        "measure a run instead"
    )


def _width(denoiser: Denoiser, site: Site) -> int:
    """Channels of a site's output: those of its output projection."""
    return int(_projection(denoiser, site).out_features)


def _projection(denoiser: Denoiser, site: Site) -> Any:
    """The last linear map of a site; in Lumina's, which leaves it to its block, that of queries."""
    module = denoiser.submodule(site)
    found = getattr(module, "to_out", None)
    if isinstance(found, (nn.ModuleList, nn.Sequential)):
        found = found[0]
    if isinstance(found, nn.Identity):
        found = getattr(module, "to_q", None)
    if not hasattr(found, "out_features"):
        raise InputError(
            f"how large the output of {site.name}, a {type(module).__name__}, is is not known: "
            "measure a run instead"
        )
    return found
