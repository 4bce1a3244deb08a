"""How much faster does a plan make a pipeline, what earned it, and what else could a user pick?

All arms take turns in one process, in an order that changes with every repetition, after warm-ups;
every ratio is taken within a repetition, so what slows the machine down for a while slows both
sides. The *ideal* is what the plan's arithmetic says if time were proportional to
multiply-accumulates, the products inside attention included (:mod:`attnscope.cost`). Where the
time goes (the paper's Figure 1a) is measured in a pass of its own, since a stopwatch at every site
costs time itself.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from attnscope.analyses.bench.arms import BY_VALUES, Contender, reason_of, shuffled
from attnscope.analyses.bench.rivals import Call
from attnscope.errors import InputError
from attnscope.runs.progress import SILENT, Progress

if TYPE_CHECKING:
    from attnscope.analyses.bench.instruments import PeakMemory, Stopwatch

_WARM_UP = -1


@dataclass(frozen=True)
class Workload:
    """What every arm is called with.

    Args:
        arguments: makes positional and keyword arguments anew for each call.
        images: that a call makes.
    """

    arguments: Callable[[], tuple[Sequence[Any], dict[str, Any]]]
    images: int = 1

    def of(self, call: Call) -> Callable[[], Any]:
        """A call that takes nothing."""
        args, kwargs = self.arguments()
        return lambda: call(*args, **kwargs)


def measure_rounds(
    pipe: Any,
    arms: Sequence[Contender],
    workload: Workload,
    numbers: Iterable[int],
    *,
    stopwatch: Stopwatch,
    memory: PeakMemory,
    values_matter: bool = True,
    progress: Progress = SILENT,
) -> Iterator[pd.DataFrame]:
    """Run all arms in turns: once to warm up, then round after round.

    A rival that is to leave something out, and leaves out nothing while it warms up, is not timed.

    Args:
        pipe: the pipeline; it is left as it was.
        arms: of :func:`~attnscope.analyses.bench.arms.arms_of`, the baseline first.
        workload: what each is called with.
        numbers: of the rounds; each decides the order of its arms.
        stopwatch: of the pipeline's device.
        memory: of the pipeline's device.
        values_matter: whether the weights are real, so that arms count whose work depends on what
            is computed.
        progress: told of every call.

    Yields:
        A table per round with a row per arm: ``arm``, ``repetition``, ``seconds`` per image,
        ``peak_mb`` of memory, ``reason`` why it did not run (if it is optional), or empty.

    Raises:
        InputError: an arm that is not optional cannot run.
    """
    import torch

    reasons: dict[str, str] = {}
    for number in (_WARM_UP, *numbers):
        rows = []
        for arm in shuffled(arms, number):
            seconds = peak = float("nan")
            by_chance = arm.rival is not None and arm.rival.by_values and not values_matter
            if arm.name not in reasons:
                idling = by_chance or number != _WARM_UP
                try:
                    with torch.inference_mode():
                        seconds, peak = _one_call(pipe, arm, workload, stopwatch, memory, idling)
                except Exception as error:
                    if not arm.optional:
                        _explain_memory(error)
                        raise
                    reasons[arm.name] = reason_of(error)
                if arm.rival is not None:
                    gc.collect()  # its pipeline refers to itself, and must not weigh on the next
                if by_chance:
                    reasons.setdefault(arm.name, BY_VALUES)
            rows.append((arm.name, number, seconds, peak, reasons.get(arm.name, "")))
            progress.advance()
        if number != _WARM_UP:
            columns = ["arm", "repetition", "seconds", "peak_mb", "reason"]
            yield pd.DataFrame(rows, columns=columns)


def _one_call(
    pipe: Any,
    arm: Contender,
    workload: Workload,
    stopwatch: Stopwatch,
    memory: PeakMemory,
    idling: bool,
) -> tuple[float, float]:
    """Seconds per image and the peak of memory."""
    memory.reset()
    with arm.on(pipe, idling=idling) as call:
        _, seconds = stopwatch.time(workload.of(call))
    return seconds / workload.images, memory.megabytes()


def _explain_memory(error: Exception) -> None:
    from accelerate.utils.memory import should_reduce_batch_size

    if should_reduce_batch_size(error):
        raise InputError(
            "out of memory: choose a smaller `batch`, a smaller `height` and `width`, or "
            "`dtype='float16'`"
        ) from error
