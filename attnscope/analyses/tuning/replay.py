"""Runs that compute some of their steps alone: at the others, the denoiser answers as it once did.

So what a plan does to single steps of a long run costs no more than these steps, whatever the pipeline
and its scheduler do between them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pandas as pd
from torch import Tensor

from attnscope.hooks.moments import Denoising, Moment
from attnscope.hooks.observer import Observer
from attnscope.sites.attention import find_denoiser


class Trajectory(Observer):
    """The latents before every step: ``seen[step]``, ``[samples, ...]`` in the scheduler's scale."""

    watches_noise = True  # the scheduler's step has them

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def start(self, run: Denoising, scheduler: Any) -> None:
        """A run begins."""
        self.seen.clear()

    def end_step(
        self,
        step: int,
        predictions: Sequence[tuple[Moment, Tensor]],
        guided: Tensor,
        sample: Tensor,
    ) -> None:
        """A step ended."""
        self.seen.append(sample.detach().clone())

    def finish(self, run: Denoising) -> None:
        """The run is over; what was seen stays where it is."""

    def table(self) -> pd.DataFrame:
        """Nothing: this one hands out tensors."""
        return pd.DataFrame()


@contextlib.contextmanager
def answers_kept(pipe: Any, kept: list[Any]) -> Iterator[None]:
    """Append what the denoiser returns to ``kept``, call by call, on the device.

    Args:
        pipe: the pipeline.
        kept: for :func:`answers_replayed`.
    """

    def keep(denoiser: Any, args: Any, output: Any) -> None:
        kept.append(_copied(output))

    handle = find_denoiser(pipe).register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def answers_replayed(
    pipe: Any, kept: Sequence[Any], steps: int, computed: Collection[int]
) -> Iterator[None]:
    """Let the denoiser compute some steps alone, and answer at the others as it once did.

    Args:
        pipe: the pipeline; it must be called with the same prompts, seeds and steps.
        kept: of :func:`answers_kept`.
        steps: that the run has.
        computed: which of them compute.

    Raises:
        RuntimeError: the denoiser is called more often than it was.
    """
    denoiser = find_denoiser(pipe)
    had_own, original, calls = "forward" in vars(denoiser), denoiser.forward, 0

    def forward(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        if calls >= len(kept):
            raise RuntimeError(
                f"the denoiser is called more than the {len(kept)} times of the run that is replayed"
            )
        number, calls = calls, calls + 1
        if number * steps // len(kept) in computed:
            return original(*args, **kwargs)
        return _copied(kept[number])

    denoiser.forward = forward
    try:
        yield
    finally:
        if had_own:
            denoiser.forward = original
        else:
            del denoiser.forward


def _copied(output: Any) -> Any:
    """A denoiser's output in memory of its own: pipelines may go on in place."""
    if isinstance(output, Tensor):
        return output.detach().clone()
    if isinstance(output, dict):
        return type(output)(**{name: _copied(part) for name, part in output.items()})
    return type(output)(_copied(part) for part in output)


def relative_error(after: Tensor, before: Tensor) -> Tensor:
    """|after - before|² / |before|² of every sample: float64 ``[samples]`` on the host."""
    flat, base = after.double().flatten(1), before.double().flatten(1)
    return ((flat - base).square().sum(1) / base.square().sum(1).clamp_min(1e-30)).cpu()
