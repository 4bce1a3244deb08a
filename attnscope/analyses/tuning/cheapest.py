"""The schedules that cost least, damage counted at a price: dynamic programming, for all prices at once.

A path goes from one step that computes to the next. What its end has to know is how long before it the step
before computed, for forecasts, and which step computed both guidance branches last, for guidance that goes on
along what that one found.
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

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _State:
    """Where a path stands.

    Args:
        step: that computes, or the number of steps at the end of a run.
        gap: how long before it the one before computed.
        guided: the last that computed both branches.
    """

    step: int
    gap: int
    guided: int


@dataclass(frozen=True)
class _Way:
    """From a step that computes to before the next.

    Args:
        letters: of the stale steps in between.
        guidance: of it and these.
        spent: by these and by the next, in steps that compute everything.
        lost: damage as an amplitude.
    """

    letters: str
    guidance: str
    spent: float
    lost: float


@dataclass
class _Cheapest:
    """Arguments as of :func:`cheapest_schedules`."""

    damages: Damages
    price: Price
    worths: _Floats
    fresh: tuple[str, ...]

    def __post_init__(self) -> None:
        self.steps = self.damages.steps
        start = _State(0, 1, 0)
        self.at: dict[int, list[_State]] = defaultdict(list, {0: [start]})
        self.costs = {start: np.full(len(self.worths), self.price.computed[0])}
        self.origins: dict[_State, tuple[list[tuple[_State, _Way]], NDArray[np.intp]]] = {}

    def found(self) -> list[Schedule]:
        """A schedule a price."""
        for step in range(1, self.steps + 1):
            self._reach(step)
        ends = self.at[self.steps]
        best = np.argmin(np.stack([self.costs[state] for state in ends]), axis=0)
        return [self._back(ends[choice], number) for number, choice in enumerate(best)]

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
        letter, stale = self._windows[here + 1, length, state.gap] if length else ("", 0.0)
        ended = there == self.steps
        for branches, lost in self._guidance(here, there, state.guided):
            spent = sum(self.price.stale[branch != GUIDED] for branch in branches[1:])
            for both in (True, False) if self.damages.guided and not ended else (True,):
                computed = 0.0 if ended else self.price.computed[not both]
                way = _Way(letter * length, branches, spent + computed, stale + lost)
                yield _State(there, there - here, there if both else state.guided), way

    def _guidance(self, here: int, there: int, guided: int) -> Iterator[tuple[str, float]]:
        """Letters from one step that computes to before the next, and damage beside that of stale modules.

        Args:
            here: the one.
            there: the next.
            guided: the last that computed both branches.
        """
        length = there - here
        saves = self.damages.guided and self.price.stale[1] < self.price.stale[0]
        if guided < here:
            yield self._alone(guided, here, there)
        elif length == 1 or not saves:
            yield GUIDED * length, 0.0
        elif not self.fresh:
            yield GUIDED + CONTINUED * (length - 1), 0.0
        else:
            yield GUIDED * length, 0.0
            letters, lost = self._alone(here, here + 1, there)
            yield GUIDED + letters, lost

    def _alone(self, guided: int, first: int, end: int) -> tuple[str, float]:
        """The better way through steps without guidance; arguments as of ``Damages.without_guidance``."""
        ways = {x: self._without[x, guided, first, end] for x in (CONTINUED, DROPPED)}
        letter = min(ways, key=lambda one: ways[one])
        return letter * (end - first), ways[letter]

    @cached_property
    def _without(self) -> dict[tuple[str, int, int, int], float]:
        steps = self.steps
        return {
            (letter, guided, first, end): self.damages.without_guidance(letter, guided, first, end)
            for letter in (CONTINUED, DROPPED)
            for guided in range(steps)
            for first in range(guided + 1, steps)
            for end in range(first + 1, min(first + LONGEST + 1, steps) + 1)
        }

    @cached_property
    def _windows(self) -> dict[tuple[int, int, int], tuple[str, float]]:
        return self.damages.cheapest(family_name(self.fresh))

    def _back(self, state: _State, number: int) -> Schedule:
        """The schedule that a path is, at the price of this number."""
        letters = guidance = ""
        while state.step:
            ways, best = self.origins[state]
            state, way = ways[best[number]]
            letters, guidance = COMPUTE + way.letters + letters, way.guidance + guidance
        return Schedule(letters, guidance, self.fresh)


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
        As many as there are prices. Every window of stale steps is repeated or forecast as a whole; a step that
        computes has both guidance branches, or goes on along what was found by the last that had, or drops it.
    """
    return _Cheapest(damages, price, np.asarray(worths, dtype=np.float64), tuple(fresh)).found()
