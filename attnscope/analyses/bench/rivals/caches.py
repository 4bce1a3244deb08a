"""The caches that diffusers brings."""

from __future__ import annotations

import contextlib
import inspect
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from attnscope import versions
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
    versions.forget_child_registries(denoiser)  # of calls before, which lack what was hooked now
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
        if not any(words in str(error) for words in ("cache context", "No context is set")):
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


@registered(
    "taylorseer", "TaylorSeer", None, caches=True,
    about="every fifth step after the first 3, order 1",
)  # fmt: skip
@cached
def taylor_seer(pipe: Any, task: Task) -> Any:
    """Attention is carried on along its first derivative between steps that compute it.

    With the settings of its reference. Unless it is told names, it looks for modules that are
    called ``attn``, as in Flux; where they are ``attn1`` and ``attn2`` it finds none.
    """
    import diffusers

    return diffusers.TaylorSeerCacheConfig()


@registered(
    "magcache", "MagCache", None, by_values=True, caches=True,
    about="threshold 0.06, up to 3 steps in a row after the first fifth; ratios of a first run",
)  # fmt: skip
@contextlib.contextmanager
def mag_cache(pipe: Any, task: Task) -> Iterator[Call]:
    """All blocks are left out while the magnitude of what they add is foreseen.

    It is foreseen by ratios that belong to a checkpoint, a scheduler and a number of steps. They are
    measured in the first call, as its guide says, by a run that leaves nothing out; calls after it
    are not held up.
    """
    import diffusers

    def settings(**more: Any) -> Any:
        return diffusers.MagCacheConfig(**more)

    def call(*args: Any, **kwargs: Any) -> Any:
        steps = kwargs.get("num_inference_steps") or _usual_steps(pipe)
        key = f"{steps} steps"
        if key not in task.learned:
            with _switched_on(pipe, settings(calibrate=True, num_inference_steps=steps)):
                task.learned[key] = _measured_ratios(pipe, steps, args, kwargs)
        ratios = task.learned[key]
        with _switched_on(pipe, settings(mag_ratios=ratios, num_inference_steps=steps)):
            return pipe(*args, **kwargs)

    with _switched_on(pipe, settings(calibrate=True)) as denoiser:
        if hasattr(denoiser, "temporal_transformer_blocks"):
            raise InputError(
                "it takes blocks to follow one another, and those over space and over time of "
                f"{type(denoiser).__name__} take turns"
            )
    yield call


@contextlib.contextmanager
def _switched_on(pipe: Any, config: Any) -> Iterator[Any]:
    denoiser = _enable(pipe, config)
    try:
        yield denoiser
    finally:
        denoiser.disable_cache()


def _usual_steps(pipe: Any) -> int:
    return int(inspect.signature(type(pipe).__call__).parameters["num_inference_steps"].default)


def _measured_ratios(
    pipe: Any, steps: int, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[float]:
    """What a run prints that measures the ratios, which diffusers tells in no other way.

    Where there is a call for each guidance branch, there are ratios of each: the guide takes the first.

    Raises:
        InputError: the scheduler makes other steps than it was asked for.
    """
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        pipe(*args, **{name: _copied(value) for name, value in kwargs.items()})
    lines = [line for line in printed.getvalue().splitlines() if line.startswith("[1.0")]
    if not lines or len(pipe.scheduler.timesteps) != steps:
        raise InputError(
            f"with {type(pipe.scheduler).__name__} MagCache counts other steps than the scheduler "
            "makes: choose another `scheduler`"
        )
    return [float(ratio) for ratio in lines[0].strip("[]").split(",")]


def _copied(value: Any) -> Any:
    """A generator that goes on from where one is, so that this one stays there."""
    import torch

    if isinstance(value, list | tuple):
        return [_copied(each) for each in value]
    return value.clone_state() if isinstance(value, torch.Generator) else value
