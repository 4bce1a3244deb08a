"""What an ablation compares: its arms, from its settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

from attnscope.errors import InputError
from attnscope.models.schedulers import step_count
from attnscope.plans.base import Baseline, Plan
from attnscope.plans.guidance import GuidanceCutoff
from attnscope.plans.null_text import NullTextEarly, NullTextLate
from attnscope.plans.options import USUAL, Levels, nats_of
from attnscope.plans.reuse import CrossReuse, SelfReuseEarly, SelfReuseLate, TGate
from attnscope.plans.text_form import Combined, parse
from attnscope.plans.trajectory import made
from attnscope.runs.columns import FULL, GATED, OWN, UNGUIDED
from attnscope.runs.folder import key_of
from attnscope.runs.sampling import ModelUse, Sampling

PICTURED = 4
"""Of how many prompts the images on the way are kept."""
_PICTURED_PARTS = (0.0, 0.1, 0.2, 0.4, 0.6, 1.0)


@dataclass(frozen=True, kw_only=True)
class Subject(ModelUse):
    """A model to ablate, the guidance scale of its guided arms, and how else it is sampled.

    Args:
        steps: numbers of denoising steps.
        schedulers: short names; ``None`` is the model's own.
        own_steps: how many steps the model's own scheduler makes of each of ``steps``; empty for as
            many.
        height: in pixels; ``None`` is that of :class:`AblationSettings`.
        width: in pixels; ``None`` is that of :class:`AblationSettings`.
    """

    steps: tuple[int, ...]
    schedulers: tuple[str | None, ...]
    own_steps: tuple[int, ...] = ()
    height: int | None = None
    width: int | None = None

    def made(self, scheduler: str | None, steps: int) -> int:
        """How many steps a scheduler makes of those it is asked for."""
        if scheduler is None and self.own_steps:
            return self.own_steps[self.steps.index(steps)]
        return step_count(scheduler, steps)


@dataclass(frozen=True)
class AblationSettings:
    """What decides an ablation's images.

    Args:
        subjects: the models.
        captions: where they come from.
        prompts_digest: of the captions.
        limit: how many.
        attention: ``cross`` or ``self``.
        gates: m, in steps (``10``) or as a part of them (``40%``).
        intervals: k; of self-attention alone.
        seeds: of the noise.
        noise_scales: factors on the noise levels that a scheduler visits.
        height: in pixels, of all subjects; ``None`` where theirs differ, or is each model's own.
        width: in pixels, likewise. One of the two alone means a square.
    """

    subjects: tuple[Subject, ...]
    captions: str
    prompts_digest: str
    limit: int
    attention: str
    gates: tuple[str, ...]
    intervals: tuple[int, ...]
    seeds: tuple[int, ...] = (0,)
    noise_scales: tuple[float, ...] = (1.0,)
    height: int | None = None
    width: int | None = None

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> AblationSettings:
        """Settings as they stand in ``run.json``."""
        subjects = tuple(Subject(**_tuples(subject)) for subject in plain["subjects"])
        return cls(**_tuples(plain) | {"subjects": subjects})

    def size(self, model: str) -> tuple[int | None, int | None]:
        """Height and width in pixels of a subject's images; ``None`` is its pipeline's own."""
        subject = self.subject(model)
        own = subject.height, subject.width
        return (self.height, self.width) if own == (None, None) else own

    def subject(self, model: str) -> Subject:
        """The subject of a name."""
        return next(subject for subject in self.subjects if subject.model == model)

    def sampling(self, arm: Arm) -> Sampling:
        """How an arm's images are sampled; its scheduler is the pipeline's."""
        subject, (height, width) = self.subject(arm.cell.model), self.size(arm.cell.model)
        use = {field.name: getattr(subject, field.name) for field in fields(ModelUse)}
        use |= {"guidance": arm.guidance, "height": height, "width": width}
        scheduler = None if arm.cell.scheduler == OWN else arm.cell.scheduler
        return Sampling(**use, steps=arm.asked, scheduler=scheduler, seed=arm.cell.seed)


def _tuples(plain: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists for tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()}


@dataclass(frozen=True)
class Cell:
    """What arms have in common that may be compared with each other.

    Args:
        model: as it was named.
        scheduler: short name; ``own`` is the model's own.
        steps: denoising steps, as many as the scheduler makes.
        noise_scale: factor on the noise levels that the scheduler visits.
        seed: of the noise.
    """

    model: str
    scheduler: str
    steps: int
    noise_scale: float
    seed: int


@dataclass(frozen=True)
class Arm:
    """One trajectory of an ablation.

    Args:
        cell: what it shares with the arms it is compared with.
        asked: the number of steps that the pipeline is asked for; Heun's and PNDM's are more.
        trajectory: ``S``, ``S^F``, ``S^L``, with ``+gate`` where cross-attention is gated too,
            ``gate`` where it alone is, and ``no guidance``.
        gate: m; ``None`` where there is none.
        interval: k; ``None`` where there is none.
        plan: in its text form.
        guidance: guidance scale.
    """

    cell: Cell
    asked: int
    trajectory: str
    gate: int | None
    interval: int | None
    plan: str
    guidance: float

    @property
    def name(self) -> str:
        """What to call it among the arms of its cell: ``S^F m=10 k=5``."""
        letters = {"m": self.gate, "k": self.interval}
        values = [f"{letter}={value}" for letter, value in letters.items() if value is not None]
        return " ".join([self.trajectory, *values])

    @property
    def reused_steps(self) -> int:
        """Steps in which self-attention reuses what it returned before."""
        table = made(parse(self.plan), self.cell.steps).table(["self"])
        return int(((table["row"] == "self") & (table["what"] == "reuse")).sum())

    @property
    def is_idle(self) -> bool:
        """Whether it is to reuse and finds nothing to reuse."""
        return self.interval is not None and not self.reused_steps

    @property
    def key(self) -> str:
        """A name for folders, unique in a run."""
        cell = self.cell
        parts = [Path(cell.model).name, cell.scheduler, f"n{cell.steps}", f"seed{cell.seed}"]
        parts += [] if cell.noise_scale == 1 else [f"noise{cell.noise_scale:g}"]
        return key_of("-".join([*parts, self.name.replace("^", "")]))


def arms_of(settings: AblationSettings) -> list[Arm]:
    """Every arm; those of one cell stand together, ``S`` first.

    Arms that are to reuse and find nothing to reuse are left out (see :func:`idle`): they would be S
    under another name.

    Raises:
        InputError: a gate lies beyond the last step, nothing is ever reused, two arms are the same, or
            two models have the same folder name.
    """
    made = [arm for arm in _all_arms(settings) if not arm.is_idle]
    if settings.attention == "self" and all(arm.interval is None for arm in made):
        raise InputError(
            f"{idle(settings)[0]} reuses nothing: choose `intervals` of 2 or more, and gates from 4 on"
        )
    if len({arm.key for arm in made}) < len(made):
        raise InputError(
            "two arms are the same: give every model, gate, interval, number of steps, scheduler, "
            "noise scale and seed once, and folders different names"
        )
    return made


def idle(settings: AblationSettings) -> list[str]:
    """Names of arms that would reuse nothing, such as S^L with a gate before its warm-up is over."""
    return list(dict.fromkeys(arm.name for arm in _all_arms(settings) if arm.is_idle))


def _all_arms(settings: AblationSettings) -> Iterator[Arm]:
    for subject in settings.subjects:
        for scheduler, steps, scale, seed in product(
            subject.schedulers, subject.steps, settings.noise_scales, settings.seeds
        ):
            real = subject.made(scheduler, steps)
            cell = Cell(subject.model, scheduler or OWN, real, scale, seed)
            for trajectory, plan, gate, interval in _trajectories(settings, subject, real):
                made(plan, real)
                guidance = 1.0 if trajectory == UNGUIDED else subject.guidance
                yield Arm(cell, steps, trajectory, gate, interval, str(plan), guidance)


def _trajectories(
    settings: AblationSettings, subject: Subject, steps: int
) -> Iterator[tuple[str, Plan, int | None, int | None]]:
    """Name, plan, gate and interval."""
    guided = subject.guidance > 1
    yield FULL, Baseline(), None, None
    if settings.attention == "cross":
        if guided:
            yield UNGUIDED, Baseline(), None, None
        for gate in [gate_of(text, steps) for text in settings.gates]:
            yield "S^F", NullTextLate(gate), gate, None
            yield "S^L", NullTextEarly(gate), gate, None
        return
    for gate in [gate_of(text, steps) for text in settings.gates]:
        gated = (CrossReuse(gate), *([GuidanceCutoff(gate, "model's")] if guided else []))
        yield GATED, TGate(gate), gate, None
        for interval in settings.intervals:
            late = SelfReuseLate(gate, interval)
            yield "S^F", late, gate, interval
            yield "S^L", SelfReuseEarly(gate, interval), gate, interval
            yield "S^F+gate", Combined((*gated, late)), gate, interval
            yield "S^L+gate", TGate(gate, interval), gate, interval


def gate_of(text: str, steps: int) -> int:
    """The step of a gate that is given as ``10`` or as ``40%`` of the steps.

    Raises:
        InputError: it is neither.
    """
    number = text.removesuffix("%")
    try:
        value = float(number) if text.endswith("%") else int(number)
    except ValueError as error:
        raise InputError(
            f"gate {text!r} is no step: give a number such as 10, a part of the steps such as 40%, or a "
            "noise level such as -1nat"
        ) from error
    if not text.endswith("%"):
        return int(value)
    if not 0 < value <= 100:
        raise InputError(f"gate {text!r} is out of range: choose a part from 1% to 100%")
    return max(1, round(value / 100 * steps))


def gates_in_steps(
    gates: Sequence[str],
    subjects: Sequence[Subject],
    noise_scales: Sequence[float],
    levels: Callable[[int], Levels],
) -> tuple[str, ...]:
    """Gates that are given as noise levels, ``-1nat``, as steps.

    Args:
        gates: as of :class:`AblationSettings`.
        subjects: the models.
        noise_scales: as of :class:`AblationSettings`.
        levels: log-SNR at every step that the scheduler makes of those it is asked for, where there
            is one model and scheduler.

    Returns:
        All others as they were.

    Raises:
        InputError: one is a noise level and lies before the first step, the levels are not known,
            or it would be another step of another model, scheduler, number of steps or noise scale.
    """
    found = {text: level for text in gates if (level := nats_of(text)) is not None}
    if not found:
        return tuple(gates)
    ways = [steps for subject in subjects for _ in subject.schedulers for steps in subject.steps]
    if len(ways) > 1 or tuple(noise_scales) != (1.0,):
        raise InputError(
            f"gate {next(iter(found))!r} is another step of another model, scheduler, number of steps "
            "or noise scale: ablate one at a time, or give a part of the steps such as 40%"
        )
    known, gate = levels(ways[0]), USUAL["gate"]
    placed = {text: gate.placed("gate", level, known) for text, level in found.items()}
    return tuple(str(placed.get(text, text)) for text in gates)


def pictured_steps(steps: int) -> list[int]:
    """The steps whose images on the way are kept, the last one among them."""
    return sorted({round(part * (steps - 1)) for part in _PICTURED_PARTS})
