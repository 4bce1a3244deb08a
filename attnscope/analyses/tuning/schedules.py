"""What plans are in a search, and the small steps from one to another.

A schedule is what all modules share. Its neighbours are found here, what they are worth elsewhere
(:mod:`attnscope.analyses.tuning.search`, :mod:`attnscope.analyses.tuning.candidates`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from attnscope.plans.timetable import COMPUTE, FORECAST, REUSE
from attnscope.plans.timetable import fresh as computing

GUIDED, DROPPED, CONTINUED = "b", "c", "d"
"""A step with both branches; the conditional one alone; the same along the last direction."""


@dataclass(frozen=True)
class Schedule:
    """What all modules share.

    Args:
        letters: a letter a step, of :mod:`attnscope.plans.timetable`.
        guidance: a letter a step: :data:`GUIDED`, :data:`DROPPED` or :data:`CONTINUED`.
        fresh: groups of modules that compute always, by name.
        apart: groups of modules with letters of their own, by name.
    """

    letters: str
    guidance: str
    fresh: tuple[str, ...] = ()
    apart: tuple[tuple[str, str], ...] = ()

    @property
    def branches(self) -> str:
        """The guidance letters of a timetable."""
        return self.guidance.replace(CONTINUED, DROPPED)

    @property
    def directions(self) -> tuple[float, ...]:
        """How much of the last guidance counts at every step."""
        return tuple(float(letter == CONTINUED) for letter in self.guidance)

    @property
    def refreshes(self) -> list[int]:
        """The steps that compute."""
        return [step for step, letter in enumerate(self.letters) if letter == COMPUTE]


def family_name(fresh: Sequence[str]) -> str:
    """What the modules are called that some groups are no part of."""
    return f"all but {', '.join(sorted(fresh))}" if fresh else "all"


@dataclass(frozen=True)
class Price:
    """What a step costs, in parts of one that computes everything on both branches.

    Args:
        computed: with both branches and with one.
        stale: the same of a step at which all modules are stale.
    """

    computed: tuple[float, float] = (1.0, 0.5)
    stale: tuple[float, float] = (0.1, 0.05)

    def of(self, schedule: Schedule) -> float:
        """Of all steps of a schedule, groups apart left aside."""
        return sum(
            (self.computed if letter == COMPUTE else self.stale)[branch != GUIDED]
            for letter, branch in zip(schedule.letters, schedule.guidance, strict=True)
        )


Move = tuple[str, Schedule]
"""What is done to a schedule, in words, and what it is then."""


def moves(schedule: Schedule) -> Iterator[Move]:
    """Schedules that differ from one by little and cost less: a refresh fewer, of modules or of guidance."""
    for step in reversed(schedule.refreshes[1:]):
        for letter in (FORECAST, REUSE):
            yield from _consistent(
                f"{letter} {step}",
                replace(schedule, letters=_with(schedule.letters, step, letter)),
            )
    steps = len(schedule.letters)
    for first, end in _guided(schedule):
        for letter in (CONTINUED, DROPPED):
            for start, stop in dict.fromkeys([(first + 1, end), (first, end), (first, steps)]):
                other = _without(schedule, letter, start, stop)
                if start < stop and other != schedule:
                    yield from _consistent(f"{letter} {start} to {stop}", other)


def _guided(schedule: Schedule) -> Iterator[tuple[int, int]]:
    """Where guidance is refreshed: steps that compute both branches, and where stale ones with both behind them end."""
    at = [*schedule.refreshes, len(schedule.letters)]
    for here, there in pairwise(at):
        if schedule.guidance[here] == GUIDED:
            behind = schedule.guidance[here:there]
            yield here, here + len(behind) - len(behind.lstrip(GUIDED))


def _without(schedule: Schedule, letter: str, start: int, stop: int) -> Schedule:
    """A schedule without guidance in steps that had it."""
    own = schedule.guidance
    changed = own[start:stop].replace(GUIDED, letter)
    return replace(schedule, guidance=own[:start] + changed + own[stop:])


def _consistent(name: str, schedule: Schedule) -> Iterator[Move]:
    """It, if guidance goes on along one that was, and modules compute where it comes back."""
    if _goes_on(schedule.guidance) and schedule.letters == computing(
        schedule.letters, schedule.branches
    ):
        yield name, schedule


def exceptions(schedule: Schedule, groups: Sequence[str]) -> Iterator[Move]:
    """Schedules in which modules of one group leave out a refresh of the others.

    Args:
        schedule: to begin with.
        groups: by name.
    """
    apart = dict(schedule.apart)
    for group in [name for name in groups if name not in schedule.fresh]:
        own = apart.get(group, schedule.letters)
        for step in [step for step in range(1, len(own)) if own[step] == COMPUTE]:
            letters = _with(own, step, FORECAST if FORECAST in own[:step] else REUSE)
            yield (
                f"{group} {step}",
                replace(schedule, apart=tuple(sorted((apart | {group: letters}).items()))),
            )


def shifts(schedule: Schedule) -> Iterator[Move]:
    """Schedules of as many refreshes: one a step earlier or later, or a window done the other way.

    Where guidance is refreshed at a step, it is so with it, or at the refresh before or behind.
    """
    letters, guidance = schedule.letters, schedule.guidance
    for step in schedule.refreshes[1:]:
        for other in (step - 1, step + 1):
            if 0 < other < len(letters) and letters[other] != COMPUTE:
                moved = _with(_with(letters, step, letters[other]), other, COMPUTE)
                with_it = _with(_with(guidance, step, guidance[other]), other, guidance[step])
                for branches in dict.fromkeys((guidance, with_it)):
                    name = f"{step} to {other}" + (
                        "" if branches == guidance else ", guidance, too"
                    )
                    yield from _consistent(
                        name, replace(schedule, letters=moved, guidance=branches)
                    )
    at = [*schedule.refreshes, len(letters)]
    for here, there in pairwise(at):
        if there - here > 1:
            letter = REUSE if letters[here + 1] == FORECAST else FORECAST
            turned = letters[: here + 1] + letter * (there - here - 1) + letters[there:]
            yield from _consistent(f"{letter} from {here + 1}", replace(schedule, letters=turned))
    refreshes = schedule.refreshes
    for first, end in _guided(schedule):
        place = refreshes.index(first)
        for beside in refreshes[max(1, place - 1) : place + 2]:
            if first and guidance[beside] != GUIDED:
                without = _without(schedule, CONTINUED, first, end)
                moved_to = replace(without, guidance=_with(without.guidance, beside, GUIDED))
                yield from _consistent(f"guidance {first} to {beside}", moved_to)
    turned = guidance.translate(str.maketrans(CONTINUED + DROPPED, DROPPED + CONTINUED))
    if turned != guidance:
        yield from _consistent("guidance", replace(schedule, guidance=turned))


def _goes_on(guidance: str) -> bool:
    """Whether guidance is continued only where some step before had both branches."""
    return CONTINUED not in guidance or GUIDED in guidance.partition(CONTINUED)[0]


def uniform(steps: int, start: int, every: int, gate: int) -> Schedule:
    """Everything to a step, then every few steps; guidance to a gate: what is set by hand."""
    letters = "".join(
        COMPUTE if step < start or (step - start) % every == 0 else REUSE for step in range(steps)
    )
    return Schedule(letters, GUIDED * gate + DROPPED * (steps - gate))


def _with(row: str, step: int, letter: str) -> str:
    return row[:step] + letter + row[step + 1 :]


def as_row(schedule: Schedule) -> dict[str, Any]:
    """A schedule as the cells of a table."""
    return {
        "letters": schedule.letters,
        "guidance": schedule.guidance,
        "fresh": ";".join(schedule.fresh),
        "apart": ";".join(f"{name}={letters}" for name, letters in schedule.apart),
    }
