"""How much faster does a plan make a pipeline, what earned it, and what else could a user pick?

All arms take turns in one process, in an order that changes with every repetition, after warm-ups;
every ratio is taken within a repetition, so what slows the machine down for a while slows both
sides. The *ideal* is what the plan's arithmetic says if time were proportional to
multiply-accumulates, the products inside attention included (:mod:`attnscope.cost`). Where the
time goes (the paper's Figure 1a) is measured in a pass of its own, since a stopwatch at every site
costs time itself.
"""

from __future__ import annotations

import contextlib
import gc
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from attnscope.cost import Alone, Cost, Saving, cost_of, savings
from attnscope.errors import InputError
from attnscope.plan import Baseline, GuidanceCutoff, Plan, parse
from attnscope.rivals import RIVALS, Call, Rival, Task

if TYPE_CHECKING:
    from attnscope.instruments import PeakMemory, Stopwatch

BASELINE, INACTIVE, WATCHED = "baseline", "inactive Trace", "StepDistance on all sites"
"""Arms that change nothing in the images."""
TIME_PARTS = ("cross", "self", "joint", "other", "outside")
"""Where the time goes: attention by kind, the rest of the denoiser, and what is outside of it."""
_WARM_UP = -1
_BY_VALUES = "what it skips depends on the values, which are random here"


@dataclass(frozen=True)
class Settings:
    """What decides the times.

    Args:
        model: short name, hub id or folder.
        weights: fingerprint of its weights, or ``random``.
        plan: in its text form.
        steps: denoising steps.
        guidance: guidance scale.
        height: in pixels.
        width: in pixels.
        batch: images at a time.
        repeats: repetitions after the warm-up.
        rivals: what the plan is measured against, each with its version.
        watched: whether watching is measured too.
        decoded: whether the autoencoder's part counts.
        scheduler: short name; ``None`` is the model's own.
        dtype: of the weights.
        device: its name.
        threads: of the CPU.
        versions: of what computes.
        seed: of noise and values.
    """

    model: str
    weights: str | None
    plan: str
    steps: int
    guidance: float
    height: int
    width: int
    batch: int
    repeats: int
    rivals: tuple[tuple[str, str | None], ...]
    watched: bool
    decoded: bool
    scheduler: str | None
    dtype: str
    device: str
    threads: int
    versions: tuple[tuple[str, str], ...]
    seed: int = 0


@dataclass(frozen=True)
class Arm:
    """One way to run the pipeline.

    Args:
        name: what to call it.
        plan: what is carried out; of a rival, what it is told of a plan.
        part: the part of the plan under test that this is, alone.
        rival: who does it, if not we.
        guided: whether the model runs with guidance.
        optional: whether nobody asked for it, so that others go on where it cannot run.
        traced: whether a ``Trace`` is on the pipeline.
        observed: whether it watches all sites.
    """

    name: str
    plan: Plan
    part: Saving | None = None
    rival: Rival | None = None
    guided: bool = True
    optional: bool = False
    traced: bool = True
    observed: bool = False

    @property
    def key(self) -> str:
        """A name for folders."""
        return re.sub(r"[^\w.+=-]+", "-", self.name)

    @property
    def only_watches(self) -> bool:
        """Whether it costs time and changes nothing."""
        return self.name in (INACTIVE, WATCHED)

    @contextlib.contextmanager
    def on(self, pipe: Any) -> Iterator[Call]:
        """The arm at work.

        Raises:
            InputError: it cannot run on the pipeline.
        """
        from attnscope.observers import StepDistance
        from attnscope.trace import Trace

        if self.rival is not None:
            with self.rival.on(pipe, Task(self.plan, self.guided)) as call:
                yield call
        elif self.traced:
            with Trace(pipe, plan=self.plan, observers=[StepDistance()] if self.observed else []):
                yield pipe
        else:
            yield pipe

    def ideal(self, tested: Cost) -> float:
        """The speed-up if time were proportional to multiply-accumulates; NaN if not known.

        Args:
            tested: cost of the plan under test.
        """
        own = self.cost(tested)
        return float("nan") if own is None else own.speedup()

    def cost(self, tested: Cost) -> Cost | None:
        """What it costs; ``None`` if that is not known.

        Args:
            tested: cost of the plan under test.
        """
        if self.rival is not None and not self.rival.by_plan:
            return None
        steps = tested.trajectory.steps
        return cost_of(tested.counts, self.plan, steps, guided=tested.guided, batch=tested.batch)


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


def arms_of(cost: Cost, *, rivals: Sequence[str] = (), watched: bool = False) -> list[Arm]:
    """All arms, the baseline first. Parts of the plan that save nothing over its steps are left out.

    Args:
        cost: of the plan under test.
        rivals: names of :data:`attnscope.rivals.RIVALS`.
        watched: with a ``Trace`` that does nothing, and with one that watches everything.
    """
    plan = cost.trajectory.plan
    made = [Arm(BASELINE, Baseline(), traced=False)]
    if watched:
        made += [Arm(INACTIVE, Baseline()), Arm(WATCHED, Baseline(), observed=True)]
    if not isinstance(plan, Baseline):
        made.append(Arm(str(plan), plan))
    ways = savings(plan, cost.counts, guided=cost.guided)
    parts = [Arm(f"{way} alone", Alone(plan, way), part=way) for way in ways]
    saving = [part for part in parts if part.ideal(cost) > 1]
    made += saving if len(saving) > 1 else []
    gate = getattr(plan, "gate", 0)
    if cost.guided and gate and not isinstance(plan, GuidanceCutoff):
        adaptive = GuidanceCutoff(gate)
        made.append(Arm(str(adaptive), adaptive, optional=True))
    made += [
        Arm(RIVALS[name].name, plan, rival=RIVALS[name], guided=cost.guided, optional=True)
        for name in rivals
    ]
    return made


def measure_rounds(
    pipe: Any,
    arms: Sequence[Arm],
    workload: Workload,
    numbers: Iterable[int],
    *,
    stopwatch: Stopwatch,
    memory: PeakMemory,
    values_matter: bool = True,
    on_call: Callable[[int], None] = lambda count: None,
) -> Iterator[pd.DataFrame]:
    """Run all arms in turns: once to warm up, then round after round.

    Args:
        pipe: the pipeline; it is left as it was.
        arms: of :func:`arms`, the baseline first.
        workload: what each is called with.
        numbers: of the rounds; each decides the order of its arms.
        stopwatch: of the pipeline's device.
        memory: of the pipeline's device.
        values_matter: whether the weights are real, so that arms count whose work depends on what
            is computed.
        on_call: called with 1 after every call.

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
        for arm in _shuffled(arms, number):
            seconds = peak = float("nan")
            if arm.name not in reasons:
                try:
                    with torch.inference_mode():
                        seconds, peak = _one_call(pipe, arm, workload, stopwatch, memory)
                except Exception as error:
                    if not arm.optional:
                        _explain_memory(error)
                        raise
                    reasons[arm.name] = reason_of(error)
                if arm.rival is not None:
                    gc.collect()  # its pipeline refers to itself, and must not weigh on the next
                if arm.rival is not None and arm.rival.by_values and not values_matter:
                    reasons.setdefault(arm.name, _BY_VALUES)
            rows.append((arm.name, number, seconds, peak, reasons.get(arm.name, "")))
            on_call(1)
        if number != _WARM_UP:
            columns = ["arm", "repetition", "seconds", "peak_mb", "reason"]
            yield pd.DataFrame(rows, columns=columns)


def _one_call(
    pipe: Any, arm: Arm, workload: Workload, stopwatch: Stopwatch, memory: PeakMemory
) -> tuple[float, float]:
    """Seconds per image and the peak of memory."""
    memory.reset()
    with arm.on(pipe) as call:
        _, seconds = stopwatch.time(workload.of(call))
    return seconds / workload.images, memory.megabytes()


def _explain_memory(error: Exception) -> None:
    from accelerate.utils.memory import should_reduce_batch_size

    if should_reduce_batch_size(error):
        raise InputError(
            "out of memory: choose a smaller --batch, a smaller --height and --width, or --dtype "
            "float16"
        ) from error


def reason_of(error: Exception) -> str:
    """What an optional arm failed by, in one line: others' code may fail in any way."""
    if isinstance(error, InputError):
        return str(error)
    return f"{type(error).__name__}: {error}".splitlines()[0]


def measure_breakdown(
    pipe: Any,
    arms: Sequence[Arm],
    workload: Workload,
    *,
    passes: int,
    stopwatch: Stopwatch,
    on_call: Callable[[int], None] = lambda count: None,
) -> pd.DataFrame:
    """Where the time goes: means of several rounds with a stopwatch at every site, after one call.

    Args:
        pipe: the pipeline; it is left as it was.
        arms: without rivals, whose modules are their own.
        workload: what each is called with.
        passes: calls of each.
        stopwatch: of the pipeline's device.
        on_call: called with 1 after every call.

    Returns:
        A row per arm and part of :data:`TIME_PARTS`: ``seconds`` per image and its ``share``.
    """
    import torch

    from attnscope.instruments import ModuleTimes
    from attnscope.sites import find_denoiser, find_sites, unwrapped

    denoiser = find_denoiser(pipe)
    modules: dict[str, list[Any]] = {"denoiser": [denoiser]}
    for site in find_sites(denoiser):
        modules.setdefault(site.kind, []).append(unwrapped(denoiser).get_submodule(site.name))
    times = {arm.name: ModuleTimes(modules, stopwatch) for arm in arms}
    totals = dict.fromkeys(times, 0.0)
    with torch.inference_mode():
        workload.of(pipe)()
    for number in range(passes):
        for arm in _shuffled(arms, number):
            with torch.inference_mode(), arm.on(pipe) as call, times[arm.name].on():
                totals[arm.name] += stopwatch.time(workload.of(call))[1]
            on_call(1)
    tables = []
    for name, total in totals.items():
        found = times[name].seconds()
        inside = found.pop("denoiser")
        found |= {"other": inside - sum(found.values()), "outside": total - inside}
        seconds = {
            part: found[part] / passes / workload.images for part in TIME_PARTS if part in found
        }
        table = pd.DataFrame(seconds.items(), columns=["part", "seconds"])
        table.insert(0, "arm", name)
        tables.append(table.assign(share=table["seconds"] / table["seconds"].sum()))
    return pd.concat(tables, ignore_index=True)


def _shuffled(arms: Sequence[Arm], number: int) -> list[Arm]:
    """An order of the arms for a round."""
    order = list(arms)
    random.Random(number).shuffle(order)
    return order


def default_plan(steps: int) -> Plan:
    """The paper's m=10, k=5 of 25 steps, or the same part of others."""
    return parse(f"m={max(1, round(0.4 * steps))},k=5")
