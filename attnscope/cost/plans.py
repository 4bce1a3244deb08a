"""What a plan saves, in multiply-accumulates, and which of its parts saves it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from attnscope.cost.counts import CONVENTIONS, Convention, Counts, PartCost, SiteCost, summed
from attnscope.errors import InputError
from attnscope.plans.base import Action, Baseline, Plan, check_kinds
from attnscope.plans.options import Levels
from attnscope.plans.parts import SAVINGS, Alone, Saving
from attnscope.plans.text_form import parse
from attnscope.plans.timetable import ancestors
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
    def left_out(self) -> tuple[tuple[SiteCost | PartCost, ...], ...]:
        """What every step reuses; of what stands within another that it reuses, the outermost."""
        acting = [site for site in self.counts.acting if site.kind in self.trajectory.plan.kinds]
        names = {site.name for site in acting}
        within = {site.name: names.intersection(ancestors(site.name)) for site in acting}
        actions = {site.name: self.trajectory.actions(site) for site in acting}
        found = []
        for step in range(self.trajectory.steps):
            out = {name for name in names if not actions[name][step].computes}
            found.append(tuple(s for s in acting if s.name in out and not within[s.name] & out))
        return tuple(found)

    @cached_property
    def anew(self) -> tuple[tuple[PartCost, ...], ...]:
        """What computes its shortcut a second time at every step, to store what it adds alone."""
        parts = [part for part in self.counts.around if part.shortcut]
        actions = {part.name: self.trajectory.actions(part) for part in parts}
        return tuple(
            tuple(part for part in parts if actions[part.name][step] is Action.STORE)
            for step in range(self.trajectory.steps)
        )

    @cached_property
    def steps(self) -> tuple[dict[str, int], ...]:
        """MACs by part at every step."""
        found = []
        for step, left_out in enumerate(self.left_out):
            parts = Counter(self.counts.parts)
            for site in left_out:
                parts.subtract(site.parts)
            parts["convolution"] += sum(part.shortcut for part in self.anew[step])
            found.append({part: self.rows(step) * parts[part] for part in self.counts.parts})
        return tuple(found)

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
        for site in self.counts.acting:
            depth, last = self.trajectory.depth(site), self.trajectory.last_reuses(site)
            rows: list[int] = []  # of every output that is kept, the newest last
            for step, action in enumerate(self.trajectory.actions(site)):
                if action is Action.STORE:
                    rows = [*rows, self.rows(step)][-depth:]
                elif not action.computes:  # of one branch, once the other was dropped
                    now = self.rows(step)
                    rows = [] if step in last else [min(number, now) for number in rows]
                kept[step] += sum(rows) * site.outputs
        return tuple(kept)

    @cached_property
    def baseline(self) -> Cost:
        """The same run with everything computed."""
        everything = Trajectory(Baseline(), self.trajectory.steps, levels=self.trajectory.levels)
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
    counts: Counts,
    plan: Plan | str,
    steps: int,
    *,
    guided: bool = True,
    batch: int = 1,
    levels: Levels = None,
) -> Cost:
    """What a plan costs over a number of steps.

    Args:
        counts: of one call on one row.
        plan: as a plan or in its text form.
        steps: how often the denoiser is called.
        guided: whether the model runs with guidance.
        batch: images at a time.
        levels: log-SNR of x_t at every step, for plans that go by it.

    Raises:
        InputError: there is no such plan, it is longer than the steps or names modules that were not
            counted, or one of one's own answers something that is no action, branch or text.
    """
    trajectory = made(parse(plan), steps, levels=levels)
    named = trajectory.plan.modules
    if missing := set(named) - {site.name for site in counts.acting}:
        raise InputError(
            f"{plan} names {len(missing)} of {len(named)} modules that this denoiser does not have, "
            f"such as {min(missing)!r}: it was made for another model"
        )
    for site in counts.acting:
        trajectory.actions(site)  # what is wrong is said here and not where a number is asked for
    return Cost(counts, trajectory, guided, batch)


def savings(plan: Plan, counts: Counts, *, guided: bool = True) -> tuple[Saving, ...]:
    """The ways in which a plan may save on a denoiser.

    Raises:
        InputError: its kinds, or what it answers of guidance, are none.
    """
    check_kinds(plan)
    here = {site.kind for site in counts.acting}.intersection(plan.kinds)
    dropped = {"guidance"} if guided and plan.ever_drops() else set()
    return tuple(saving for saving in SAVINGS if saving in here | dropped)


def attribution(cost: Cost) -> pd.DataFrame:
    """What saves how much: guidance cut-off, reuse of cross-attention, of self-attention, of other modules.

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
        way: cost_of(
            cost.counts, Alone(plan, way), steps,
            guided=cost.guided, batch=cost.batch, levels=cost.trajectory.levels,
        )
        for way in ways
    }  # fmt: skip
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
        cost.rows(step)
        * (
            sum(site.macs(convention) for site in cost.left_out[step] if site.kind == saving)
            - sum(part.shortcut for part in cost.anew[step] if part.kind == saving)
        )
        for step in steps
    )
