"""Plans made of what was measured of windows and single steps, by arithmetic alone.

All modules of a family share the steps at which they compute; the others, which are dear for what they
save, compute always. At some of these steps both guidance branches compute, at the others guidance goes on
along the direction that the last of them found, or is dropped. What a window of stale steps does to the final
latents is what it does to the latents behind it times what is left of that in the end; what several windows do
is added up as amplitudes, since they push the latents the same way. A direction grows old with the modules
that it was found by: where all of them are stale, guidance goes on for nothing, and does damage of its own from
where the conditional branch computes alone. Where some compute always, it does so from the first step on. For every price of damage, dynamic programming (:mod:`attnscope.analyses.tuning.cheapest`) finds the
schedule that costs least.
The outcome is a list of promising plans, not of good ones: each of them is measured afterwards
(:mod:`attnscope.analyses.tuning.candidates`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from attnscope.analyses.tuning.cheapest import cheapest_schedules
from attnscope.analyses.tuning.parts import LONGEST
from attnscope.analyses.tuning.schedules import (
    CONTINUED,
    DROPPED,
    GUIDED,
    Price,
    Schedule,
    family_name,
)
from attnscope.plans.timetable import COMPUTE, FORECAST, REUSE

_LEFT = (1 / 3, 1 / 10)
"""Of the damage of all modules, what families are to leave."""
_PRICES = np.geomspace(1e-2, 3e4, 96)
"""Of damage as an amplitude, in steps that compute everything."""


class Damages:
    """What was measured, as amplitudes of the final latents.

    Args:
        table: of :meth:`attnscope.analyses.tuning.calibration.Calibration.measured`.
        levels: log-SNR of x_t at every step.
    """

    def __init__(self, table: pd.DataFrame, levels: Sequence[float]) -> None:
        self.steps, self.levels = len(levels), np.asarray(levels)
        means = table.groupby(["what", "group", "letter", "step", "length"])["damage"].mean()
        keys = (tuple(key) for key in means.index)
        self._mean: dict[Any, float] = dict(zip(keys, map(float, means), strict=True))
        self._cheapest: dict[str, dict[tuple[int, int, int], tuple[str, float]]] = {}
        self.guided = any(key[0] == "guidance" for key in self._mean)

    @cached_property
    def left(self) -> NDArray[np.float64]:
        """What is left in the end of damage to the latents before a step: ``[steps + 1]``, as amplitude.

        Between the steps at which it was measured, by its logarithm.
        """
        measured = sorted(key[3] for key in self._mean if key[0] == "final" and key[4] == 0)
        ratios = [
            self._mean["final", "", REUSE, step, 0]
            / max(self._mean["final", "", REUSE, step, 1], 1e-30)
            for step in measured
        ]
        at = np.arange(self.steps + 1)
        logs = np.interp(at, np.array(measured) + 1, np.log(np.maximum(ratios, 1e-30)))
        found: NDArray[np.float64] = np.exp(logs / 2)
        found[-1] = 1.0
        return found

    def window(self, family: str, letter: str, first: int, length: int, gap: int) -> float:
        """Of a window of stale steps.

        Args:
            family: whose modules are stale.
            letter: repeated or forecast.
            first: its first step.
            length: how many there are.
            gap: steps between the last two that were computed, from which a forecast is made: it was
                measured with 1, and what a line misses grows with how far it is drawn.
        """
        if letter == FORECAST and first < 2:
            return np.inf
        damage = self._mean.get(("window", family, letter, first, length))
        if damage is None:
            return np.inf
        amplitude = float(np.sqrt(damage) * self.left[first + length])
        if letter == FORECAST and gap > 1:
            here = self.levels[first - 1]
            end = self.levels[min(first + length - 1, self.steps - 1)]
            near, far = self.levels[first - 2], self.levels[max(first - 1 - gap, 0)]
            grown = (end - far) / (end - near)
            if np.isfinite(grown) and np.isfinite(here):
                amplitude *= float(grown)
        return amplitude

    def cheapest(self, family: str) -> dict[tuple[int, int, int], tuple[str, float]]:
        """The better way through every window, and its amplitude, by first step, length and gap."""
        if family not in self._cheapest:
            found = {}
            for first in range(1, self.steps):
                for length in range(1, min(LONGEST, self.steps - first) + 1):
                    for gap in range(1, LONGEST + 2):
                        ways = {
                            x: self.window(family, x, first, length, gap) for x in (REUSE, FORECAST)
                        }
                        way = min(ways, key=lambda letter: ways[letter])
                        found[first, length, gap] = way, ways[way]
            self._cheapest[family] = found
        return self._cheapest[family]

    def guidance(self, schedule: Schedule) -> float:
        """Of the guidance of a whole run."""
        if not self.guided:
            return 0.0
        total, guided = 0.0, -1
        free = not schedule.fresh
        for here, there in pairwise([*schedule.refreshes, self.steps]):
            if schedule.guidance[here] == GUIDED:
                guided = here
            step = here
            for letter, run in groupby(schedule.guidance[here:there]):
                end = step + len(list(run))
                if letter == DROPPED or (letter == CONTINUED and not (free and guided == here)):
                    total += self.without_guidance(letter, guided, step, end)
                step = end
        return total

    def without_guidance(self, letter: str, guided: int, first: int, end: int) -> float:
        """Of steps that have none.

        Args:
            letter: :data:`DROPPED`, whose steps add up, since none goes on with what another leaves, or
                :data:`CONTINUED`, which from the start of these steps on does what it has not done before.
            guided: the last step that computed both branches.
            first: the first of these steps.
            end: behind the last of them.
        """
        if letter == DROPPED:
            return sum(self._going(letter, step, step + 1) for step in range(first, end))
        before = self._going(letter, guided + 1, first) if first > guided + 1 else 0.0
        whole = self._going(letter, guided + 1, end)
        return whole if np.isinf(whole) else max(0.0, whole - before)

    def _going(self, letter: str, first: int, end: int) -> float:
        damage = self._mean.get(("guidance", "", letter, first, end - first))
        return np.inf if damage is None else float(np.sqrt(damage) * self.left[end])

    def of(self, schedule: Schedule) -> float:
        """Of a whole schedule, |x' - x|² / |x|², if amplitudes add up."""
        total = sum(self._windows(schedule)) + self.guidance(schedule)
        return float((total + self._exceptions(schedule)) ** 2)

    def _exceptions(self, schedule: Schedule) -> float:
        """Of groups that are stale where the others are not: each by itself, one step old."""
        steps = self.steps
        return sum(
            self.alone(name, step)
            for name, letters in schedule.apart
            for step in range(1, steps)
            if letters[step] != COMPUTE and schedule.letters[step] == COMPUTE
        )

    def alone(self, group: str, step: int) -> float:
        """Of the modules of a group that are stale by one step, nothing else is."""
        at, logs = self._alone.get(group, ([], []))
        if not len(at):
            return 0.0
        return float(np.exp(np.interp(step, at, logs)) * self.left[step + 1])

    @cached_property
    def _alone(self) -> dict[str, tuple[list[int], list[float]]]:
        found: dict[str, tuple[list[int], list[float]]] = {}
        for (what, group, _, step, _), damage in sorted(self._mean.items()):
            if what == "module":
                at, logs = found.setdefault(group, ([], []))
                at.append(step)
                logs.append(float(np.log(max(damage, 1e-30)) / 2))
        return found

    def _windows(self, schedule: Schedule) -> Iterator[float]:
        at = [*schedule.refreshes, self.steps]
        family, gap = family_name(schedule.fresh), 1
        for here, there in pairwise(at):
            if there - here > 1:
                stale = schedule.letters[here + 1 : there]
                letter = max(
                    sorted({*stale}), key=stale.count
                )  # of a mixed window, what most of it is
                yield self.window(family, letter, here + 1, there - here - 1, gap)
            gap = there - here


def families(damages: Damages, shares: Mapping[str, float]) -> list[tuple[str, ...]]:
    """Groups of modules that compute always while the others are stale, in all ways that are tried.

    None at all; and those that do most damage for what they save, until what is left does a third, and a
    tenth, of the damage of all.

    Args:
        damages: with those of single groups.
        shares: of the multiply-accumulates of a step, by the names of all groups.
    """
    means = {
        name: float(np.mean([damages.alone(name, step) for step in range(1, damages.steps)]))
        for name in shares
    }
    dear = sorted(shares, key=lambda name: (-means[name] / max(shares[name], 1e-9), name))
    found: list[tuple[str, ...]] = [()]
    for part in _LEFT:
        for count in range(1, len(dear)):
            if sum(means[name] for name in dear[count:]) <= part * sum(means.values()):
                fresh = tuple(sorted(dear[:count]))
                if fresh not in found:
                    found.append(fresh)
                break
    return found


def promising(damages: Damages, prices: Mapping[tuple[str, ...], Price]) -> list[Schedule]:
    """Schedules none of which is predicted to be worse and dearer than another, the cheapest first.

    Args:
        damages: as measured.
        prices: of steps, by the groups that compute always.
    """
    found: dict[Schedule, tuple[float, float]] = {}
    for fresh, price in prices.items():
        for schedule in cheapest_schedules(damages, price, _PRICES, fresh):
            found[schedule] = price.of(schedule), damages.of(schedule)
    kept: list[Schedule] = []
    lowest = np.inf
    for schedule, (_, damage) in sorted(found.items(), key=lambda item: (item[1], str(item[0]))):
        if damage < lowest:
            kept.append(schedule)
            lowest = damage
    return kept
