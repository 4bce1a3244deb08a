"""What a benchmark compares: the plan, its parts alone, and what a user could pick instead."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from attnscope.analyses.bench.rivals import RIVALS, Call, Rival, Task
from attnscope.cost.plans import Cost, cost_of, savings
from attnscope.errors import InputError
from attnscope.plans.base import Baseline, Plan
from attnscope.plans.guidance import GuidanceCutoff
from attnscope.plans.parts import Alone, Saving
from attnscope.plans.reuse import TGate
from attnscope.plans.text_form import parse
from attnscope.plans.timetable import Timetable
from attnscope.runs.folder import key_of
from attnscope.runs.sampling import Sampling

BASELINE, INACTIVE, WATCHED = "baseline", "inactive Trace", "StepDistance on all sites"
"""Arms that change nothing in the images."""
ONLY_WATCH = (INACTIVE, WATCHED)
"""Those of them that cost time."""
BY_VALUES = "what it skips depends on the values, which are random here"


@dataclass(frozen=True, kw_only=True)
class BenchSettings(Sampling):
    """What decides the times, besides how images are sampled.

    Args:
        plan: in its text form.
        batch: images at a time.
        repeats: repetitions after the warm-up.
        rivals: what the plan is measured against, each with its version.
        watched: whether watching is measured too.
        decoded: whether the autoencoder's part counts.
        device: its name.
        threads: of the CPU.
        versions: of what computes.
        against: further plans in their text forms, and ``steps=15`` for fewer steps; ``None`` is none.
    """

    height: int
    width: int
    plan: str
    batch: int
    repeats: int
    rivals: tuple[tuple[str, str | None], ...]
    watched: bool
    decoded: bool
    device: str
    threads: int
    versions: tuple[tuple[str, str], ...]
    against: tuple[str, ...] | None = field(default=None, metadata={"later": True})
    seed: int = 0


@dataclass(frozen=True)
class Contender:
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
        steps: that the pipeline is asked for instead of those of the others.
        made: how many its scheduler makes of them.
        learned: what the rival found out about the pipeline, for all its calls.
    """

    name: str
    plan: Plan
    part: Saving | None = None
    rival: Rival | None = None
    guided: bool = True
    optional: bool = False
    traced: bool = True
    observed: bool = False
    steps: int | None = None
    made: int = 0
    learned: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def key(self) -> str:
        """A name for folders."""
        return key_of(self.name)

    @property
    def only_watches(self) -> bool:
        """Whether it costs time and changes nothing."""
        return self.name in ONLY_WATCH

    @contextlib.contextmanager
    def on(self, pipe: Any, *, idling: bool = True) -> Iterator[Call]:
        """The arm at work.

        Args:
            pipe: the pipeline.
            idling: whether a rival that caches may leave nothing out; if not, it is an error at the
                end, and its time is not to be taken.

        Raises:
            InputError: it cannot run on the pipeline, or idled.
        """
        from attnscope.hooks.trace import Trace
        from attnscope.observers.steps import StepDistance

        if self.steps is not None:
            yield partial(_with_steps, pipe, self.steps)
        elif self.rival is not None:
            task = Task(self.plan, self.guided, self.learned)
            with self.rival.on(pipe, task, idling=idling) as call:
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
        return float("nan") if own is None else tested.baseline.macs() / own.macs()

    def cost(self, tested: Cost) -> Cost | None:
        """What it costs; ``None`` if that is not known.

        Args:
            tested: cost of the plan under test.
        """
        if self.rival is not None and not self.rival.by_plan:
            return None
        if self.steps is not None:
            return cost_of(
                tested.counts, Baseline(), self.made, guided=tested.guided, batch=tested.batch
            )
        steps = tested.trajectory.steps
        return cost_of(
            tested.counts, self.plan, steps,
            guided=tested.guided, batch=tested.batch, levels=tested.trajectory.levels,
        )  # fmt: skip


def _with_steps(pipe: Any, steps: int, *args: Any, **kwargs: Any) -> Any:
    return pipe(*args, **{**kwargs, "num_inference_steps": steps})


def arms_of(
    cost: Cost,
    *,
    rivals: Sequence[str] = (),
    watched: bool = False,
    against: Sequence[str] = (),
    steps_made: Callable[[int], int] = int,
) -> list[Contender]:
    """All arms, the baseline first. Parts of the plan that save nothing over its steps are left out.

    Args:
        cost: of the plan under test.
        rivals: names of :data:`attnscope.analyses.bench.rivals.RIVALS`.
        watched: with a ``Trace`` that does nothing, and with one that watches everything.
        against: further plans in their text forms, and ``steps=15`` for fewer steps. Rivals that carry
            out T-GATE are told the first of them that is one, if the plan under test is none.
        steps_made: how many steps the scheduler makes of those it is asked for.

    Raises:
        InputError: there is no such plan, or a number of steps is none.
    """
    plan = cost.trajectory.plan
    made = [Contender(BASELINE, Baseline(), traced=False)]
    if watched:
        made += [Contender(INACTIVE, Baseline()), Contender(WATCHED, Baseline(), observed=True)]
    if not isinstance(plan, Baseline):
        made.append(Contender(str(plan), plan))
    # A timetable saves in too many ways to time them all: attnscope cost tells them.
    apart = not isinstance(plan, Timetable)
    ways = savings(plan, cost.counts, guided=cost.guided) if apart else ()
    parts = [Contender(f"{way} alone", Alone(plan, way), part=way) for way in ways]
    saving = [part for part in parts if part.ideal(cost) > 1]
    made += saving if len(saving) > 1 else []
    others = [_against(text, steps_made) for text in against]
    made += others
    t_gate = next((arm.plan for arm in others if isinstance(arm.plan, TGate)), plan)
    told = plan if isinstance(plan, TGate) else t_gate
    gate = getattr(cost.trajectory.plan, "gate", 0)
    if cost.guided and gate and not isinstance(plan, GuidanceCutoff):
        adaptive = GuidanceCutoff(gate)
        made.append(Contender(str(adaptive), adaptive, optional=True))
    made += [
        Contender(RIVALS[name].name, told, rival=RIVALS[name], guided=cost.guided, optional=True)
        for name in rivals
    ]
    names = [arm.name for arm in made]
    return [arm for place, arm in enumerate(made) if arm.name not in names[:place]]


def _against(text: str, steps_made: Callable[[int], int]) -> Contender:
    """A further arm: a plan, or the pipeline as it is with another number of steps."""
    name, _, number = text.partition("=")
    if name.strip() != "steps":
        plan = parse(text)
        return Contender(str(plan), plan)
    if not number.strip().isdecimal() or int(number) < 1:
        raise InputError(f"{text!r} is no number of steps: write steps=15")
    asked = int(number)
    return Contender(
        f"{asked} steps", Baseline(), traced=False, steps=asked, made=steps_made(asked)
    )


def reason_of(error: Exception) -> str:
    """What an optional arm failed by, in one line: others' code may fail in any way."""
    if isinstance(error, InputError):
        return str(error)
    return f"{type(error).__name__}: {error}".splitlines()[0]


def shuffled(arms: Sequence[Contender], number: int) -> list[Contender]:
    """An order of the arms for a round."""
    order = list(arms)
    random.Random(number).shuffle(order)
    return order
