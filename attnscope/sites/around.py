"""What stands around attention in a denoiser: it is compared with that, and plans may act on it too.

- ``block``: the module that an attention site belongs to, which is a transformer block in all but
  the oldest U-Nets. Its output is the residual stream behind it: attention, feed-forward and what
  came in. Where text and image are two streams it is the image's; where they are one sequence
  (AuraFlow's, Chroma's and Lumina 2's single blocks) it is all of it, text included.
- ``feed-forward``: the feed-forwards of these blocks, before they are added to the stream.
- ``resnet``: the residual blocks of a U-Net (``ResnetBlock2D``) that leave the resolution alone.
- ``transformer``: the whole transformers of a U-Net (``Transformer2DModel``), projections included.
- ``sampler``: what halves and doubles the resolution of a U-Net by a convolution.
- ``latent``: x_t, as the denoiser is given it, that is after the scheduler's ``scale_model_input``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from attnscope import versions
from attnscope.errors import InputError
from attnscope.families import Stream, stream_of_block
from attnscope.kinds import Kind
from attnscope.sites.attention import Site, block_of, unwrapped

LATENTS = Site("x_t", "latent", "latents", -1)
"""Stands for the latents, which no module returns."""

_FEED_FORWARDS = ("ff", "ff_in", "ff_i", "ffn", "mlp", "img_mlp", "mlp_moe_gen", "feed_forward")
_OF_THE_TEXT = ("_context", "_t", "txt_mlp", "txt_ff")
"""How the names of feed-forwards of the text stream alone end."""


def find_around(denoiser: nn.Module, sites: Sequence[Site]) -> tuple[Site, ...]:
    """Blocks with attention, their feed-forwards, the other parts of a U-Net, and the latents.

    Args:
        denoiser: a U-Net or transformer of diffusers, compiled or not.
        sites: its attention sites.

    Returns:
        In the order of data flow; the index of each is that of the attention site before it, and
        so is the block of those that belong to one. A feed-forward of the text stream alone
        (``ff_context``, ``txt_mlp``) is left out.
    """
    modules = dict(unwrapped(denoiser).named_modules())
    found: dict[str, Site] = {}
    for site in sites:
        name = _owner(site.name, modules)
        if not name or name in found:
            continue
        for leaf, child in modules[name].named_children():
            named = leaf in _FEED_FORWARDS or "FeedForward" in type(child).__name__
            of_two = f"{leaf}_moe_gen" in dict(modules[name].named_children())  # Cosmos 3's text
            if named and not of_two and not leaf.endswith(_OF_THE_TEXT):
                path = f"{name}.{leaf}"
                found[path] = Site(path, "feed-forward", site.block, site.index)
        found[name] = Site(name, "block", site.block, site.index)
    return (*found.values(), *_of_a_unet(modules, sites), LATENTS)


def _of_a_unet(modules: dict[str, nn.Module], sites: Sequence[Site]) -> list[Site]:
    """Residual blocks, whole transformers and samplers of the stages of a U-Net."""
    places = sorted(
        (match, name, kind)
        for name, module in modules.items()
        if (match := _stage(name)) and (kind := _kind_in_a_unet(module))
    )
    attended = [(_stage(site.name), site.index) for site in sites]
    return [
        Site(name, kind, block_of(name), max((i for at, i in attended if at <= place), default=0))
        for place, name, kind in places
    ]


def _kind_in_a_unet(module: nn.Module) -> Kind | None:
    if isinstance(module, ResnetBlock2D):
        return "resnet" if module.upsample is None and module.downsample is None else None
    if isinstance(module, Transformer2DModel):
        return "transformer" if module.is_input_continuous else None
    if isinstance(module, (Downsample2D, Upsample2D)):
        return "sampler" if module.use_conv else None
    return None


def _stage(name: str) -> tuple[int, ...]:
    """Where a module of a U-Net's stages stands in the order of data flow; empty elsewhere."""
    match = re.match(
        r"(down|mid|up)_blocks?\.(?:(\d+)\.)?(resnets|attentions|downsamplers|upsamplers)\.(\d+)",
        name,
    )
    if match is None:
        return ()
    way, stage, part, number = match.groups()
    rank = ("resnets", "attentions").index(part) if part in ("resnets", "attentions") else 2
    place = 99 if rank == 2 else int(number)
    # In the middle a residual block stands before the first transformer, and one behind each.
    return ("down", "mid", "up").index(way), int(stage or 0), place, rank


def stream(
    site: Site, output: Any, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor:
    """The image's part of what a module returns.

    Where text takes part, a module may return both streams, in an order that differs between models
    (Flux: text first, CogVideoX: video first). The image's has the shape of the image's stream that
    the module was called on; where the text is as long as the image, the order is known by class.
    Which of them is larger says nothing: at 512 tokens of text, Flux has more text up to 352 x 352
    pixels.

    Args:
        site: the module's, for the error.
        output: what the module returned. A single tensor is taken as it is: where text and image
            are one sequence to the module (the attention of Flux's single blocks), so are they in
            what is watched.
        module: a block, a feed-forward or an attention module.
        args: positional arguments that it was called with.
        kwargs: keyword arguments that it was called with.

    Raises:
        RuntimeError: there is no tensor in it.
    """
    if isinstance(output, Tensor):
        return output
    parts = output if isinstance(output, tuple) else ()
    tensors = [part for part in parts if isinstance(part, Tensor)]
    if not tensors:
        raise RuntimeError(f"{site.name} returned no tensor but a {type(output).__name__}")
    if len(tensors) == 1:
        return tensors[0]
    kind: Any = type(module)
    name, place = stream_of(kind)
    given = argument(name, module, args, kwargs)
    known = parts[place] if place < len(parts) else None
    fitting = [part for part in tensors if isinstance(given, Tensor) and part.shape == given.shape]
    if isinstance(known, Tensor) and (not fitting or known.shape == fitting[0].shape):
        return known
    return fitting[0] if fitting else tensors[0]


@lru_cache(maxsize=256)
def stream_of(kind: type[nn.Module]) -> Stream:
    """Where a module has the image's stream: as recorded of its class or a base, here or in diffusers."""
    for base in kind.__mro__:
        if (ours := stream_of_block(base)) is not None:
            return ours
        if (theirs := versions.recorded_stream(base)) is not None:
            return Stream(*theirs)
    return Stream()


def argument(name: str, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """An argument of a call by its name; else the first one."""
    if name in kwargs:
        return kwargs[name]
    kind: Any = type(module)
    names = _parameters(kind)
    place = names.index(name) if name in names else 0
    return args[place] if place < len(args) else next(iter(kwargs.values()), None)


@lru_cache(maxsize=256)
def _parameters(kind: type[nn.Module]) -> tuple[str, ...]:
    """The names of what a module is called with; looking them up takes longer than a small module."""
    return tuple(inspect.signature(kind.forward).parameters)[1:]


def given_latents(given: Any, sample: Tensor) -> Tensor:
    """The latents within what the denoiser was given.

    Args:
        given: its first argument, ``[branches * samples, ...]``: latents, and along any dimension
            conditions may follow them (inpainting, Stable Video Diffusion).
        sample: the latents as the scheduler holds them, ``[samples, ...]``, in its own scale.

    Raises:
        InputError: there is no place for the latents in it.
    """
    fits = isinstance(given, Tensor) and given.ndim == sample.ndim
    if not fits or any(a < b for a, b in zip(given.shape, sample.shape, strict=True)):
        raise InputError(
            "this denoiser is not given its latents as the scheduler holds them, so they cannot be "
            "watched: leave 'latent' out of kinds"
        )
    latents: Tensor = given[tuple(slice(size) for size in sample.shape)]
    return latents


def _owner(name: str, modules: dict[str, nn.Module]) -> str:
    """The module that a site belongs to, lists of modules left aside."""
    parent = name.rpartition(".")[0]
    while isinstance(modules.get(parent), (nn.ModuleList, nn.ModuleDict, nn.Sequential)):
        parent = parent.rpartition(".")[0]
    return parent
