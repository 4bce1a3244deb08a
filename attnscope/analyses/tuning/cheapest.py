"""The schedules that cost least, damage counted at a price: dynamic programming, for all prices at once.

A path goes from one step that computes to the next. What its end has to know is how far the step that
computed before is away, for forecasts, and which step had both guidance branches last, since the damage of
a window in which guidance goes on is known where it comes back. Guidance comes back at steps that compute,
and may stay for the stale ones behind them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attnscope.analyses.tuning.parts import LONGEST
from attnscope.analyses.tuning.schedules import (
    CONTINUED,
    DROPPED,
    GUIDED,
    Price,
    Schedule,
    family_name,
)
from attnscope.plans.timetable import COMPUTE

if TYPE_CHECKING:
    from attnscope.analyses.tuning.search import Damages


@dataclass(frozen=True)
class _State:
    """Where a path stands, behind a step that computed.

    Args:
        step: it, or the number of steps at the end of a run.
        gap: how long before it the one before computed.
        guided: the last step that had both branches; -1 if none will any more.
    """

    step: int
    gap: int
    guided: int


@dataclass(frozen=True)
class _Way:
    """From one step that computes to behind the next.

    Args:
        letters: of the stale steps in between.
        spent: by them, and by the next, in steps that compute everything.
        lost: damage that is known by then, as an amplitude.
        guidance: letters of guidance that are known by then, and the step that they begin at.
    """

    letters: str
    spent: float
    lost: float
    guidance: tuple[tuple[int, str], ...]


_Floats = NDArray[np.float64]


@dataclass
class _Cheapest:
    """Arguments as of :func:`cheapest_schedules`."""

    damages: Damages
    price: Price
    worths: _Floats
    fresh: tuple[str, ...]

    def __post_init__(self) -> None:
        self.steps = self.damages.steps
        self.costs: dict[_State, _Floats] = {}
        self.origins: dict[_State, tuple[list[tuple[_State, _Way]], NDArray[np.intp]]] = {}
        start = _State(0, 1, 0)
        self.at: dict[int, list[_State]] = defaultdict(list, {0: [start]})
        self.costs[start] = np.full(len(self.worths), self.price.computed[0])

    def found(self) -> list[Schedule]:
        """A schedule a price."""
        for step in range(1, self.steps + 1):
            self._reach(step)
        last = self.at[self.steps]
        best = np.argmin(np.stack([self.costs[state] for state in last]), axis=0)
        return [self._back(last[choice], number) for number, choice in enumerate(best)]

    def _reach(self, there: int) -> None:
        """Find the best way to every state of a step."""
        reached = defaultdict(list)
        for here in range(max(0, there - LONGEST - 1), there):
            for state in self.at[here]:
                for after, way in self._ways(state, there):
                    cost = self.costs[state] + (way.spent + self.worths * way.lost)
                    reached[after].append((cost, state, way))
        for after, ways in reached.items():
            costs = np.stack([cost for cost, *_ in ways])
            best = np.argmin(costs, axis=0)
            self.costs[after] = costs[best, np.arange(len(self.worths))]
            self.origins[after] = [(state, way) for _, state, way in ways], best
            self.at[there].append(after)

    def _ways(self, state: _State, there: int) -> Iterator[tuple[_State, _Way]]:
        """All ways from a state to the next step that computes, or to the end."""
        here, length = state.step, there - state.step - 1
        letter, lost = self._windows[here + 1, length, state.gap] if length else ("", 0.0)
        for both in self._stale_branches(state, length):
            last = there - 1 if both else state.guided
            stale = length * self.price.stale[not both]
            known = ((here + 1, GUIDED * length),) if both else ()
            for guided, more, guidance in self._guidance(here, there, last):
                computed = self.price.computed[guided != there] if there < self.steps else 0.0
                way = _Way(letter * length, stale + computed, lost + more, known + guidance)
                yield _State(there, there - here, guided), way

    def _stale_branches(self, state: _State, length: int) -> Sequence[bool]:
        """Whether stale steps may have both branches: only right behind a step that had."""
        if not self.damages.guided:
            return (True,)
        if state.guided != state.step:
            return (False,)
        return (True, False) if length else (True,)

    def _guidance(
        self, here: int, there: int, last: int
    ) -> Iterator[tuple[int, float, tuple[tuple[int, str], ...]]]:
        """What a step may do about guidance.

        Args:
            here: the step that computed before.
            there: this one.
            last: the last that had both branches; -1 if none will any more.

        Yields:
            The same behind it, damage that is known now, and letters that are.
        """
        if (there == self.steps and last == there - 1) or last < 0:
            yield -1, 0.0, ()
        else:
            if there < self.steps:
                fill, damage = self._returns[last, there]
                yield there, damage, ((last + 1, fill * (there - 1 - last)), (there, GUIDED))
                if self.damages.guided and there - last < LONGEST:
                    yield last, 0.0, ()
            if self.damages.guided and last >= here:  # else it ended before
                left = self.steps - last - 1
                for fill in (DROPPED, CONTINUED):
                    damage = self.damages.without_guidance(fill, last + 1, left)
                    yield -1, damage, ((last + 1, fill * left),)

    @cached_property
    def _windows(self) -> dict[tuple[int, int, int], tuple[str, float]]:
        return self.damages.cheapest(family_name(self.fresh))

    @cached_property
    def _returns(self) -> dict[tuple[int, int], tuple[str, float]]:
        """The better way without guidance between two steps that have it, and its amplitude."""
        found = {}
        for last in range(self.steps):
            for there in range(last + 1, self.steps):
                length = there - last - 1
                ways = {
                    letter: self.damages.without_guidance(letter, last + 1, length)
                    for letter in (CONTINUED, DROPPED)
                    if length
                }
                letter = min(ways, key=lambda one: ways[one], default="")
                found[last, there] = letter, ways.get(letter, 0.0)
        return found

    def _back(self, state: _State, number: int) -> Schedule:
        """The schedule that a path is, at the price of this number."""
        letters, guidance = "", [CONTINUED] * self.steps
        guidance[0] = GUIDED
        while state.step:
            ways, best = self.origins[state]
            before, way = ways[best[number]]
            letters = way.letters + (COMPUTE if state.step < self.steps else "") + letters
            for first, known in way.guidance:
                guidance[first : first + len(known)] = known
            state = before
        return Schedule(COMPUTE + letters, "".join(guidance), self.fresh)


def cheapest_schedules(
    damages: Damages, price: Price, worths: Sequence[float] | _Floats, fresh: tuple[str, ...] = ()
) -> list[Schedule]:
    """The schedule that costs least at every price of damage.

    Args:
        damages: as measured.
        price: of steps.
        worths: prices of damage as an amplitude, in steps that compute everything.
        fresh: groups of modules that compute always, by name.

    Returns:
        As many as there are prices. Every stale step is repeated or forecast as all of its window; guidance
        comes back at steps that compute, goes on or is dropped in between as is better, and in the end.
    """
    return _Cheapest(damages, price, np.asarray(worths, dtype=np.float64), tuple(fresh)).found()
