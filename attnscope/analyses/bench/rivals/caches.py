"""The caches that diffusers brings."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from attnscope.analyses.bench.rivals.base import Call, Start, Task, registered
from attnscope.errors import InputError


def cached(config: Callable[[Any, Task], Any]) -> Start:
    """One of the caches of diffusers.

    Args:
        config: makes its settings for a pipeline and what is to be done.
    """

    @contextlib.contextmanager
    def start(pipe: Any, task: Task) -> Iterator[Call]:
        with _explained(pipe):
            _enable(pipe, config(pipe, task))
            yield pipe

    return start


def _enable(pipe: Any, config: Any) -> Any:
    """Switch a cache on.

    Returns:
        The denoiser.

    Raises:
        InputError: diffusers does not know its blocks, or finds nothing in it to cache.
    """
    from attnscope.sites.attention import find_denoiser

    denoiser: Any = find_denoiser(pipe)
    kind = type(denoiser).__name__
    if not hasattr(denoiser, "enable_cache"):
        raise InputError(f"diffusers offers no caches for {kind}")
    try:
        denoiser.enable_cache(config)
    except ValueError as error:
        raise InputError(f"diffusers cannot cache {kind}: {error}") from error
    registries = [getattr(module, "_diffusers_hook", None) for module in denoiser.modules()]
    if not any(registry.hooks for registry in registries if registry is not None):
        raise InputError(f"it finds no module in {kind} by the names that it looks for")
    return denoiser


@contextlib.contextmanager
def _explained(pipe: Any) -> Iterator[None]:
    """Say what it means that a cache that goes by the guidance branch was told of none."""
    try:
        yield
    except ValueError as error:
        if "cache context" not in str(error):
            raise
        raise InputError(
            f"it goes by the guidance branch, which {type(pipe).__name__} does not name "
            "(by a `cache_context`)"
        ) from error


@registered(
    "pab", "Pyramid Attention Broadcast", None, caches=True,
    about="spatial 2, temporal 4, cross 6, at timesteps 100 to 800",
)  # fmt: skip
@cached
def broadcast(pipe: Any, task: Task) -> Any:
    """Attention is computed at every second to sixth step, the rarer the less it changes."""
    import diffusers

    return diffusers.PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2,
        temporal_attention_block_skip_range=4,
        cross_attention_block_skip_range=6,
        current_timestep_callback=lambda: pipe.current_timestep,
    )


@registered(
    "fastercache", "FasterCache", None, caches=True,
    about="spatial and temporal 2, the unconditional branch in 1 of 5 steps, below timestep 681 and 641",
)  # fmt: skip
@cached
def faster(pipe: Any, task: Task) -> Any:
    """Attention and the unconditional branch are taken from steps before."""
    import diffusers

    from attnscope.sites.attention import find_denoiser

    video = "3D" in type(find_denoiser(pipe)).__name__
    return diffusers.FasterCacheConfig(
        spatial_attention_block_skip_range=2,
        temporal_attention_block_skip_range=2 if video else None,
        tensor_format="BCFHW" if video else "BCHW",
        attention_weight_callback=lambda _: 0.3,
        current_timestep_callback=lambda: pipe.current_timestep,
        is_guidance_distilled=not task.guided,
    )


@registered(
    "firstblock", "first-block cache", None, by_values=True, caches=True, about="threshold 0.05"
)  # fmt: skip
@cached
def first_block(pipe: Any, task: Task) -> Any:
    """All blocks are left out where the first one changes little."""
    import diffusers

    return diffusers.FirstBlockCacheConfig(threshold=0.05)
