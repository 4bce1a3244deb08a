"""From promising plans to the best one: bisection, then small moves, each of them measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import isfinite

from attnscope.analyses.tuning.budget import Budget
from attnscope.analyses.tuning.candidates import Candidates
from attnscope.analyses.tuning.schedules import Move, Schedule, exceptions, moves, shifts
from attnscope.analyses.tuning.search import Damages

_ROUNDS = 4
_IN_VAIN = 6
"""Moves that may fail one after the other before a kind of moves is given up."""
_SAVES = 1.001
"""Ideal speed-up of a plan that saves anything."""
_SAME = 1.005
"""Of two plans whose speeds differ by no more, the better one is taken."""
_BETTER = 1e-6
"""By how much more a plan has to keep to a budget than those that were refuted."""
_NEAREST = 3
"""Schedules around the one that bisection ends at, or that are fast enough, which are measured, too."""


@dataclass
class Search:
    """Finds a plan for a budget, or the best at a speed.

    Args:
        candidates: which measures.
        listed: promising schedules, the cheapest first.
        damages: for the order in which moves are tried.
        most: plans that may be measured for a budget; bisection goes on where they are spent.
        confirming: measures a plan once more, on other captions; ``None`` takes it unconfirmed.
    """

    candidates: Candidates
    listed: Sequence[Schedule]
    damages: Damages
    most: int = 40
    confirming: Candidates | None = None

    def __post_init__(self) -> None:
        speed = self.candidates.speedup
        self.listed = [schedule for schedule in self.listed if speed(schedule) > _SAVES]

    def within(self, budget: Budget) -> Schedule | None:
        """The fastest plan that keeps to a budget; ``None`` if none of those that were measured does.

        A plan keeps to it if its mean does, less one standard error. The fastest of many that do on the same
        captions is among them by luck, too, so it has to do so on others; if it does not, the next is tried
        that is better, and if none is left, the search goes on for better ones.
        """
        left = self.candidates.count + self.most
        wanted = budget
        while True:
            front = self._searched(wanted, left)
            if self.confirming is None or not front:
                return next(iter(front), None)
            for one in front:
                if self.confirming.margin(one, budget) >= 0:
                    return one
            wanted = budget.tightened(self.candidates.margin(front[-1], budget) + _BETTER)

    def _front(self, budget: Budget) -> list[Schedule]:
        """Those that were measured and keep to a budget, the fastest first, each better than all before it."""
        speed = self.candidates.speedup
        kept: list[Schedule] = []
        fastest = 0.0  # of those that the last of them was taken from
        for one in sorted(self.candidates.within(budget), key=speed, reverse=True):
            better = not kept or self._quality(one, budget) > self._quality(kept[-1], budget)
            if better and speed(one) * _SAME >= fastest and kept:
                kept[-1] = one
            elif better:
                kept.append(one)
                fastest = speed(one)
        return kept

    def _searched(self, budget: Budget, left: int) -> list[Schedule]:
        """Search on the captions of the search alone.

        Args:
            budget: that plans keep to.
            left: how many plans may have been asked for before no more moves are tried.

        Returns:
            As of :meth:`_front`; none if no plan keeps to it.
        """
        best = self._bisected(budget)
        if best is None:
            return []
        names = [group.name for group in self.candidates.groups]

        def keeps(other: Schedule) -> bool:
            return self.candidates.margin(other, budget) >= 0

        for _ in range(_ROUNDS):
            before = best
            best = self._faster(best, moves, keeps, left)
            best = self._roomier(best, budget, left, self.candidates.speedup(best))
            if best == before or self.candidates.count >= left:
                break
        self._faster(best, lambda one: exceptions(one, names), keeps, left)
        return self._front(budget)  # with plans of other budgets

    def at_speed(self, speedup: float, budget: Budget) -> Schedule | None:
        """The plan of the best quality whose ideal speed-up is as large as is asked for.

        Args:
            speedup: ideal.
            budget: whose measure says what is good; its bound is not looked at.
        """
        fast = [one for one in self.listed if self.candidates.speedup(one) >= speedup]
        if not fast:
            return None
        best = max(fast[-_NEAREST:], key=lambda one: self._quality(one, budget))
        left = self.candidates.count + self.most
        for _ in range(_ROUNDS):
            found = self._roomier(best, budget, left, speedup)
            if found == best:
                break
            best = found
        return best

    def _quality(self, schedule: Schedule, budget: Budget) -> float:
        return budget.better(self.candidates.measure(schedule)[budget.measure])

    def _bisected(self, budget: Budget) -> Schedule | None:
        """The cheapest of the promising that keeps to the budget, and of those that are about as cheap.

        Quality does not fall with price throughout, so the nearest cheaper ones are looked at, too.
        """
        low, high = 0, len(self.listed) - 1
        found = None
        while low <= high:
            middle = (low + high) // 2
            if self.candidates.margin(self.listed[middle], budget) >= 0:
                found, high = middle, middle - 1
            else:
                low = middle + 1
        if found is None:
            return None
        for place in range(max(0, found - _NEAREST), found):
            if self.candidates.margin(self.listed[place], budget) >= 0:
                return self.listed[place]
        return self.listed[found]

    def _faster(
        self,
        best: Schedule,
        kind: Callable[[Schedule], Iterable[Move]],
        keeps: Callable[[Schedule], bool],
        left: int,
    ) -> Schedule:
        """One move after the other that keeps to the budget, the most promising first."""
        refused: set[str] = set()
        while self.candidates.count < left and len(refused) < _IN_VAIN:
            speed = self.candidates.speedup(best)
            tried = [
                (name, other)
                for name, other in kind(best)
                if name not in refused
                and self.candidates.speedup(other) > speed
                and isfinite(self.damages.of(other))
            ]
            if not tried:
                break
            name, other = min(tried, key=lambda move: self._price_of(move[1], best))
            if keeps(other):
                best = other
            else:
                refused.add(name)
        return best

    def _price_of(self, other: Schedule, best: Schedule) -> tuple[float, str]:
        """What is predicted to be lost for what is gained."""
        gained = self.candidates.speedup(other) / self.candidates.speedup(best) - 1
        lost = self.damages.of(other) ** 0.5 - self.damages.of(best) ** 0.5
        return (lost / gained if lost > 0 else lost * gained), str(other)

    def _roomier(self, best: Schedule, budget: Budget, left: int, speedup: float) -> Schedule:
        """The first shift, the most promising first, that leaves more room."""
        fast = [
            one
            for _, one in shifts(best)
            if self.candidates.speedup(one) >= speedup and isfinite(self.damages.of(one))
        ]
        ordered = sorted(fast, key=lambda one: (self.damages.of(one), str(one)))
        for other in ordered[:_IN_VAIN]:
            if self.candidates.count >= left:
                break
            if self._quality(other, budget) > self._quality(best, budget):
                return other
        return best
