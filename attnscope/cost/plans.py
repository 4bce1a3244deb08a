"""What a plan saves, in multiply-accumulates, and which of its parts saves it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from attnscope.cost.counts import CONVENTIONS, Convention, Counts, SiteCost, summed
from attnscope.plans.base import Action, Baseline, Plan, check_kinds
from attnscope.plans.parts import SAVINGS, Alone, Saving
from attnscope.plans.text_form import parse
from attnscope.plans.trajectory import Trajectory, made

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Cost:
    """What a plan costs for a number of steps.

    Args:
        counts: of one call on one row.
        trajectory: the plan made for the steps.
        guided: whether the model runs with guidance, so two branches where the plan keeps both.
        batch: images at a time.
    """

    counts: Counts
    trajectory: Trajectory
    guided: bool = True
    batch: int = 1

    def rows(self, step: int) -> int:
        """Rows of the denoiser's batch at a step."""
        return self.batch * (len(self.trajectory.branches(step)) if self.guided else 1)

    @cached_property
    def steps(self) -> tuple[dict[str, int], ...]:
        """MACs by part at every step."""
        computed = [Counter(self.counts.elsewhere) for _ in range(self.trajectory.steps)]
        for site in self.counts.sites:
            for parts, action in zip(computed, self.trajectory.actions(site), strict=True):
                if action is not Action.REUSE:
                    parts.update(site.parts)
        return tuple(
            {part: self.rows(step) * parts[part] for part in self.counts.parts}
            for step, parts in enumerate(computed)
        )

    @cached_property
    def parts(self) -> dict[str, int]:
        """MACs by part over all steps."""
        return {part: sum(step[part] for step in self.steps) for part in self.counts.parts}

    def macs(self, convention: Convention = "full") -> int:
        """All of the run."""
        return summed(self.parts, convention)

    @cached_property
    def kept(self) -> tuple[int, ...]:
        """Elements that are kept for reuse when a step is over, for every step (Table A13)."""
        kept = [0] * self.trajectory.steps
        for site in self.counts.sites:
            rows, last = 0, self.trajectory.last_reuses(site)
            for step, action in enumerate(self.trajectory.actions(site)):
                if action is Action.STORE:
                    rows = self.rows(step)
                elif action is Action.REUSE:  # the mean over branches, once one was dropped
                    rows = 0 if step in last else min(rows, self.rows(step))
                kept[step] += rows * site.outputs
        return tuple(kept)

    @cached_property
    def baseline(self) -> Cost:
        """The same run with everything computed."""
        everything = Trajectory(Baseline(), self.trajectory.steps)
        return Cost(self.counts, everything, self.guided, self.batch)

    def speedup(self, convention: Convention = "full") -> float:
        """How much faster the plan is if time is proportional to MACs."""
        return self.baseline.macs(convention) / self.macs(convention)

    def table(self) -> pd.DataFrame:
        """Columns ``step``, ``rows``, ``part``, ``macs``."""
        import pandas as pd

        rows = [
            (step, self.rows(step), part, macs)
            for step, parts in enumerate(self.steps)
            for part, macs in parts.items()
        ]
        return pd.DataFrame(rows, columns=["step", "rows", "part", "macs"])


def cost_of(
    counts: Counts, plan: Plan | str, steps: int, *, guided: bool = True, batch: int = 1
) -> Cost:
    """What a plan costs over a number of steps.

    Args:
        counts: of one call on one row.
        plan: as a plan or in its text form.
        steps: how often the denoiser is called.
        guided: whether the model runs with guidance.
        batch: images at a time.

    Raises:
        InputError: there is no such plan, it is longer than the steps, or one of one's own answers
            something that is no action, branch or text.
    """
    trajectory = made(parse(plan), steps)
    for site in counts.sites:
        trajectory.actions(site)  # what is wrong is said here and not where a number is asked for
    return Cost(counts, trajectory, guided, batch)


def savings(plan: Plan, counts: Counts, *, guided: bool = True) -> tuple[Saving, ...]:
    """The ways in which a plan may save on a denoiser.

    Raises:
        InputError: its kinds, or what it answers of guidance, are none.
    """
    check_kinds(plan)
    here = {site.kind for site in counts.sites}.intersection(plan.kinds)
    dropped = {"guidance"} if guided and plan.ever_drops() else set()
    return tuple(saving for saving in SAVINGS if saving in here | dropped)


def attribution(cost: Cost) -> pd.DataFrame:
    """What saves how much: guidance cut-off, cross-attention reuse, self-attention reuse.

    A branch that is dropped saves all that it would have computed; reuse saves what the branches
    that still run would have computed. Counted so, the parts sum to what the plan saves, unlike those
    of ``attnscope bench``, whose ``attribution`` is what each part saves of the time when it runs alone.

    Returns:
        Columns ``convention``, ``saving`` (the last row is ``all``), ``saved`` (MACs),
        ``of_baseline`` (part of what the run costs without the plan), ``share`` (of all that is
        saved), ``speedup`` (ideal, of this part alone on the whole run).
    """
    import pandas as pd

    plan, steps = cost.trajectory.plan, cost.trajectory.steps
    ways = savings(plan, cost.counts, guided=cost.guided)
    alone = {
        way: cost_of(cost.counts, Alone(plan, way), steps, guided=cost.guided, batch=cost.batch)
        for way in ways
    }
    rows = []
    for convention in CONVENTIONS:
        whole = cost.baseline.macs(convention)
        total = whole - cost.macs(convention)
        for way in ways:
            saved = _saved(cost, way, convention)
            share, speedup = saved / total if total else 0.0, alone[way].speedup(convention)
            rows.append((convention, SAVINGS[way], saved, saved / whole, share, speedup))
        share, speedup = 1.0 if total else 0.0, cost.speedup(convention)
        rows.append((convention, "all", total, total / whole, share, speedup))
    columns = ["convention", "saving", "saved", "of_baseline", "share", "speedup"]
    return pd.DataFrame(rows, columns=columns)


def _saved(cost: Cost, saving: Saving, convention: Convention) -> int:
    """MACs that a plan saves in one of its ways; those of all ways sum to what it saves."""
    steps = range(cost.trajectory.steps)
    if saving == "guidance":
        dropped = sum(cost.baseline.rows(step) - cost.rows(step) for step in steps)
        return dropped * cost.counts.macs(convention)
    return sum(
        cost.rows(step) * site.macs(convention)
        for site, step in _reused(cost)
        if site.kind == saving
    )


def _reused(cost: Cost) -> Iterator[tuple[SiteCost, int]]:
    for site in cost.counts.sites:
        for step, action in enumerate(cost.trajectory.actions(site)):
            if action is Action.REUSE:
                yield site, step
