"""Several runs from one command: one for every combination of what was asked for in lists.

Each is an ordinary run in a directory of its own, named as if it had been asked for alone, so that any
of the commands that would make it goes on with it. A command of one combination is no special case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnscope.cli.options import OneSampling
from attnscope.errors import InputError
from attnscope.metrics.adjusting import ADJUSTMENTS

if TYPE_CHECKING:
    from attnscope.cli.options import OutputOptions, PlanOptions, SeveralRuns
    from attnscope.models.chosen import ChosenModel, RandomModel
    from attnscope.plans.base import Plan
    from attnscope.plans.options import Nats
    from attnscope.runs.folder import Run


@dataclass(frozen=True)
class Way:
    """One of the combinations.

    Args:
        sampling: how images are sampled.
        plan: what is done; ``None`` if nothing was said.
        name: what tells it from the others, such as ``steps-15,seed-1``; empty if it is alone.
    """

    sampling: OneSampling
    plan: Plan | None
    name: str


class Models:
    """The model of every way: one and the same as long as the scheduler is."""

    def __init__(self, output: OutputOptions) -> None:
        self._output = output
        self._known: dict[str | None, ChosenModel] = {}

    def of(self, sampling: OneSampling) -> ChosenModel:
        """The model, with the scheduler that it is sampled by."""
        from attnscope.cli.parsing import chosen_model

        if sampling.scheduler not in self._known:
            self._known[sampling.scheduler] = chosen_model(sampling, self._output)
        return self._known[sampling.scheduler]


@dataclass(frozen=True)
class Job:
    """A run that is to be made.

    Args:
        command: whose run it is.
        way: which of the combinations.
        chosen: the model.
        settings: that decide the result.
        start: makes what is missing of it in a directory, and says what was made.
    """

    command: str
    way: Way
    chosen: ChosenModel | RandomModel
    settings: Any
    start: Callable[[Path], Run]

    @cached_property
    def own_path(self) -> Path:
        """Where the run goes if no place was said."""
        from attnscope.runs.folder import default_path

        return default_path(self.command, self.way.sampling.model, self.settings)


def ways(
    sampling: SeveralRuns, plans: Mapping[str, Plan | None] | None = None, *, least: int = 1
) -> list[Way]:
    """Every combination; runs that have the same scheduler follow each other.

    Args:
        sampling: with one value or several of steps, scheduler and seed.
        plans: by what tells them apart; one without a name is alone.
        least: of the steps.

    Raises:
        InputError: a value is none that can be, such as a scheduler that there is not.
    """
    from attnscope.cli.parsing import names, whole_numbers
    from attnscope.models.schedulers import known_scheduler

    lists: dict[str, Sequence[Any]] = {"scheduler": [None], "steps": [None]}
    if sampling.schedulers is not None:
        kinds = names("--scheduler", sampling.schedulers)
        lists["scheduler"] = [known_scheduler(kind) for kind in kinds]
    if sampling.steps is not None:
        lists["steps"] = whole_numbers("--steps", sampling.steps, least=least)
    lists["seed"] = whole_numbers("--seed", sampling.seeds, least=0)
    common = {
        field.name: getattr(sampling, field.name)
        for field in fields(OneSampling)
        if hasattr(sampling, field.name) and field.name not in lists
    }
    found = []
    for *values, (planned, plan) in product(*lists.values(), (plans or {"": None}).items()):
        own = dict(zip(lists, values, strict=True))
        told = [f"{name}-{own[name]}" for name, listed in lists.items() if len(listed) > 1]
        name = ",".join([*told, *filter(None, [planned])])
        found.append(Way(OneSampling(**common, **own), plan, name))
    return found


def chosen_plans(asked: PlanOptions) -> dict[str, Plan | None]:
    """The plans of ``--tgate``, ``--plan`` and ``--gate``, by what tells them apart.

    Raises:
        InputError: there is no such plan, or its m is said twice.
    """
    from attnscope.cli.parsing import chosen_plan, steps_or_nats

    if asked.gates is None:
        return {"": chosen_plan(asked.tgate, asked.other)}
    gates = steps_or_nats("--gate", asked.gates)
    plans = {f"gate-{gate}": chosen_plan(*_gated(asked.tgate, asked.other, gate)) for gate in gates}
    return plans if len(plans) > 1 else {"": next(iter(plans.values()))}


def _gated(tgate: str | None, other: str | None, gate: int | Nats) -> tuple[str | None, str | None]:
    """What ``--tgate`` and ``--plan`` say, with an m."""
    import re

    from attnscope.plans.timetable import is_file

    for text in filter(None, (tgate, other)):
        if re.search(r"(?:^|[:,])\s*(?:m|gate)\s*=", text):
            raise InputError(f"{text!r} has its own m: leave it out there, or leave --gate out")
    if other is not None and is_file(other):
        raise InputError(f"--gate: {other!r} is no rule with an m, but says what every step does")
    if other is not None:
        parts = re.split(r"\+(?=[A-Za-z_])", other)
        joined = (
            f"{part},m={gate}" if "=" in part else f"{part.rstrip(':')}:m={gate}" for part in parts
        )
        return tgate, "+".join(joined)
    values = (tgate or "").removeprefix("tgate:")
    return ",".join(filter(None, [values, f"m={gate}"])), None


def carry_out(jobs: Sequence[Job], out: Path | None) -> list[Run]:
    """Make the runs one after the other, once none of them is refused by its directory.

    Args:
        jobs: one per run.
        out: the run directory; of several runs, the folder in which they have one each.

    Raises:
        InputError: a directory holds another run.
    """
    from attnscope.runs.folder import Run

    paths = list(_paths(jobs, out))
    for job, path in zip(jobs, paths, strict=True):
        Run.check(path, job.command, job.settings)
    made = []
    for job, path, following in zip(jobs, paths, [*jobs[1:], None], strict=True):
        made.append(job.start(path))
        if following is not None and following.chosen is not job.chosen:
            job.chosen.forget()  # the next one needs its memory
    return made


def _paths(jobs: Sequence[Job], out: Path | None) -> Iterator[Path]:
    if out is not None and len(jobs) > 1:
        if out.is_file() or (out / "run.json").exists():
            raise InputError(
                f"--out {str(out)!r} is to hold {len(jobs)} runs: choose a folder that is none itself"
            )
        yield from (out / job.way.name for job in jobs)
        return
    yield from (out or job.own_path for job in jobs)


def tell(
    runs: Sequence[Run],
    output: OutputOptions,
    report: Callable[..., None],
    document: Callable[[Run], dict[str, Any]],
    *,
    adjust: str = ADJUSTMENTS[0],
) -> None:
    """Print what came out of every run, and of several a comparison; as JSON, a list of them.

    Args:
        runs: that were made.
        output: how it is to be printed.
        report: prints one of them; it takes ``quiet`` and ``as_json``.
        document: what it prints as JSON.
        adjust: how p-values of the comparison allow for its many differences.
    """
    if len(runs) > 1 and output.as_json:
        from attnscope.cli.console import show_json

        show_json([document(run) for run in runs])
        return
    for run in runs:
        report(run, quiet=output.quiet, as_json=output.as_json)
    if len(runs) > 1 and not output.quiet:
        from attnscope.cli.reports.comparison import show_comparison

        show_comparison(runs, adjust=adjust)
