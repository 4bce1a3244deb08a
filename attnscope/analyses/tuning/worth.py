"""What a plan is worth: by multiply-accumulates, or by the time that its modules take on this machine.

A search needs the share of every group of modules, the price of a step and the speed-up of a plan. By
multiply-accumulates (:class:`ByMacs`) they are the same everywhere. Time is another matter: a call on
one row may take nearly as long as one on two, modules differ in how well they fill a machine, and a
module that is left out still costs the call of it. :class:`ByTime` has all of that from a table that
was measured (:mod:`attnscope.analyses.tuning.times`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import pandas as pd

from attnscope.analyses.tuning.modules import Group
from attnscope.analyses.tuning.schedules import GUIDED, Price
from attnscope.cost.counts import Counts
from attnscope.cost.plans import cost_of
from attnscope.errors import InputError
from attnscope.plans.timetable import COMPUTE, Timetable

WHOLE = "denoiser"
"""The row of a whole call among those of its groups."""
COMPUTED, STALE = "computed", "stale"
"""What the modules of a call did."""


class Worth(Protocol):
    """What a search asks."""

    @property
    def shares(self) -> Mapping[str, float]:
        """Of a step that computes everything on all branches, what each group saves when it is stale."""

    def price(self, fresh: Sequence[str]) -> Price:
        """What steps cost if some groups, by name, compute always."""

    def speedup(self, plan: Timetable) -> float:
        """How much faster a plan is over its own steps, if nothing else took time."""


@dataclass(frozen=True)
class ByMacs:
    """By multiply-accumulates, those of attention's products included.

    Args:
        counts: of one call of the denoiser on one row.
        groups: all modules that plans act on.
        guided: whether there is guidance.
    """

    counts: Counts
    groups: Sequence[Group]
    guided: bool

    @cached_property
    def shares(self) -> Mapping[str, float]:
        """Of a step, what each group has."""
        macs = {site.name: site.macs("full") for site in self.counts.acting}
        whole = self.counts.macs()
        return {
            group.name: sum(macs[name] for name in group.names) / whole for group in self.groups
        }

    def price(self, fresh: Sequence[str]) -> Price:
        """What steps cost; one branch costs half of two."""
        left = 1 - sum(share for name, share in self.shares.items() if name not in fresh)
        return Price((1.0, 0.5), (left, left / 2))

    def speedup(self, plan: Timetable) -> float:
        """The ideal speed-up."""
        levels = plan.log_snr
        return cost_of(self.counts, plan, len(levels), guided=self.guided, levels=levels).speedup()


@dataclass(frozen=True)
class ByTime:
    """By the median time of calls of the denoiser in which all is stale, and of modules that are not.

    A call takes what it takes with everything stale, and what the modules take that compute. A whole
    call is added up like this, too: its own median has more of what disturbs a machine than those of
    single modules, which are soon over.

    Args:
        table: of :func:`attnscope.analyses.tuning.times.measure_times`.
        groups: all modules that plans act on.
        guided: whether there is guidance; if so, the table has calls with one and with two branches.

    Raises:
        InputError: the table lacks the time of some group.
    """

    table: pd.DataFrame
    groups: Sequence[Group]
    guided: bool

    def __post_init__(self) -> None:
        wanted = [WHOLE, *(group.name for group in self.groups)]
        for branches in (1, 2) if self.guided else (1,):
            for state in (COMPUTED, STALE):
                for name in wanted:
                    if (name, branches, state) not in self._medians:
                        raise InputError(
                            f"the times of this run lack {name!r} ({state}, branches: {branches}): it was measured "
                            "on another model, so choose another `out`"
                        )

    @cached_property
    def _medians(self) -> dict[tuple[str, int, str], float]:
        """Milliseconds by group, branches and state."""
        keys = zip(self.table["group"], self.table["branches"], self.table["state"], strict=True)
        medians = map(float, self.table["median"])
        return {
            (str(group), int(branches), str(state)): median
            for (group, branches, state), median in zip(keys, medians, strict=True)
        }

    @property
    def _all(self) -> int:
        return 2 if self.guided else 1

    def call(self, branches: int, stale: Sequence[str] = ()) -> float:
        """Milliseconds of a call in which some groups, by name, are stale."""
        names = [group.name for group in self.groups if group.name not in stale]
        return self._medians[WHOLE, branches, STALE] + sum(
            self.saved(name, branches) for name in names
        )

    def saved(self, group: str, branches: int) -> float:
        """Milliseconds that a call takes less where a group is stale."""
        medians = self._medians
        return max(0.0, medians[group, branches, COMPUTED] - medians[group, branches, STALE])

    @cached_property
    def shares(self) -> Mapping[str, float]:
        """Of the time of a call on all branches, what each group saves when it is stale."""
        whole = self.call(self._all)
        return {group.name: self.saved(group.name, self._all) / whole for group in self.groups}

    def price(self, fresh: Sequence[str]) -> Price:
        """What steps cost on all branches, and on one."""
        stale = [group.name for group in self.groups if group.name not in fresh]
        unit = self.call(self._all)
        return Price(
            (1.0, self.call(1) / unit),
            (self.call(self._all, stale) / unit, self.call(1, stale) / unit),
        )

    def speedup(self, plan: Timetable) -> float:
        """Of all calls of the denoiser; what a pipeline does beside them is left out."""
        letters = {name: row for _, name, row in plan.rows}
        spent = 0.0
        for step, branch in enumerate(plan.guidance):
            stale = [
                group.name
                for group in self.groups
                if letters.get(group.names[0], COMPUTE * (step + 1))[step] != COMPUTE
            ]
            spent += self.call(self._all if branch == GUIDED else 1, stale)
        return self.call(self._all) * len(plan.guidance) / spent
