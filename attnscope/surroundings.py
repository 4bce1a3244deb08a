"""What stands around attention in a denoiser: what the curves of attention are compared with.

- ``block``: the module that an attention site belongs to, which is a transformer block in all but
  the oldest U-Nets. Its output is the residual stream behind it: attention, feed-forward and what
  came in.
- ``feed-forward``: the feed-forwards of these blocks, before they are added to the stream.
- ``latent``: x_t, as the denoiser is given it, that is after the scheduler's ``scale_model_input``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from attnscope.errors import InputError
from attnscope.sites import Site, unwrapped

LATENTS = Site("x_t", "latent", "latents", -1)
"""Stands for the latents, which no module returns."""

_FEED_FORWARDS = ("ff", "ff_in", "ff_i", "ffn", "mlp", "feed_forward")


def find_surroundings(denoiser: nn.Module, sites: Sequence[Site]) -> tuple[Site, ...]:
    """Blocks with attention, their feed-forwards, and the latents.

    Args:
        denoiser: a U-Net or transformer of diffusers, compiled or not.
        sites: its attention sites.

    Returns:
        In the order of data flow; the block and the index of each are those of the attention site
        before it. A feed-forward of the text stream alone (``ff_context``) is left out.
    """
    modules = dict(unwrapped(denoiser).named_modules())
    found: dict[str, Site] = {}
    for site in sites:
        name = _owner(site.name, modules)
        if not name or name in found:
            continue
        for leaf, child in modules[name].named_children():
            named = "FeedForward" in type(child).__name__ and not leaf.endswith(("_context", "_t"))
            if leaf in _FEED_FORWARDS or named:
                path = f"{name}.{leaf}"
                found[path] = Site(path, "feed-forward", site.block, site.index)
        found[name] = Site(name, "block", site.block, site.index)
    return (*found.values(), LATENTS)


def stream(site: Site, output: Any) -> Tensor:
    """The image's part of what a module returns.

    Where text takes part, a block returns both streams, in an order that differs between models
    (Flux: text first, CogVideoX: video first). The image's is the larger.

    Raises:
        RuntimeError: there is no tensor in it.
    """
    parts = output if isinstance(output, tuple) else (output,)
    tensors = [part for part in parts if isinstance(part, Tensor)]
    if not tensors:
        raise RuntimeError(f"{site.name} returned no tensor but a {type(output).__name__}")
    return max(tensors, key=Tensor.numel)


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
