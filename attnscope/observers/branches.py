"""Do the guidance branches see the same? The distance between their outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from attnscope.errors import InputError
from attnscope.hooks.moments import Denoising, Moment
from attnscope.hooks.observer import SiteObserver
from attnscope.notices import warn
from attnscope.observers.pairs import PairNorms, branch_layout, norms_for
from attnscope.observers.rows import SITE_COLUMNS, joined, labelled, tidy, to_host
from attnscope.observers.steps import STEP_DISTANCES
from attnscope.sites.attention import Site


class BranchDistance(SiteObserver):
    """How far apart a site's outputs of the two guidance branches are, at every step.

    ``l2`` is ||C_cond - C_uncond||, ``relative`` is relative to ||C_cond||. Nothing is measured
    where one branch runs: without guidance, and from where a plan drops a branch.

    Args:
        kinds: kinds of sites, also ``block`` and ``feed-forward``.
        sites: shell-style pattern of site names, or several.

    Raises:
        InputError: ``latent`` is among the kinds: both branches are given the same.
    """

    def __init__(
        self, kinds: Sequence[str] = ("cross", "self"), sites: str | Sequence[str] | None = None
    ) -> None:
        super().__init__(kinds, sites)
        if "latent" in self.kinds:
            raise InputError(
                "both guidance branches are given the same latents: leave 'latent' out"
            )
        self._run: Denoising | None = None
        self._other_call: dict[str, tuple[Moment, Tensor]] = {}
        # How the branches are laid out is known after the first step, so both ways are followed
        # through it: two halves of a batch, and two calls of the denoiser.
        self._halves: dict[tuple[str, int], PairNorms] = {}
        self._calls: dict[str, PairNorms] = {}
        self._tables: list[pd.DataFrame] = []

    def start(self, run: Denoising, scheduler: Any) -> None:
        """A run begins."""
        self._run = run
        self._other_call.clear()
        self._halves.clear()
        self._calls.clear()

    def see(self, site: Site, moment: Moment, output: Tensor) -> None:
        """Compare the halves of a batch, or with the call before in this step."""
        run = self._run
        assert run is not None, "a run starts before any site is seen"
        if moment.rows != moment.batch:
            return
        rows = output.detach().reshape(moment.rows, -1)
        if moment.rows % 2 == 0 and run.samples in (None, moment.batch // 2):
            first, second = rows.chunk(2)
            key = site.name, moment.call
            if key not in self._halves:
                self._halves[key] = norms_for(site, first, run.steps)
            self._halves[key].take(moment.step, slice(len(first)), first, second)
        if moment.call == 0:
            self._other_call.pop(site.name, None)
            if moment.step == 0 or run.calls_per_step > 1:
                self._other_call[site.name] = moment, rows.clone()
            return
        before, other = self._other_call.pop(site.name, (None, None))
        if before is None or other is None or before.step != moment.step:
            return
        if other.shape == rows.shape:
            if site.name not in self._calls:
                self._calls[site.name] = norms_for(site, rows, run.steps)
            self._calls[site.name].take(moment.step, slice(len(rows)), other, rows)

    def finish(self, run: Denoising) -> None:
        """Bring the numbers of the layout that it was to the host."""
        halves, calls = dict(self._halves), dict(self._calls)
        self._other_call.clear()
        self._halves.clear()
        self._calls.clear()
        if not run.steps_done or run.samples is None:
            return
        layout = branch_layout(run)
        if layout is None:
            if run.guided_steps:
                warn(
                    "BranchDistance knows two guidance branches, and here are others: nothing "
                    "was measured"
                )
            return
        reversed_, in_one_batch = layout
        numbers = [number for (_, call), number in halves.items() if call == 0]
        numbers = numbers if in_one_batch else list(calls.values())
        parts = []
        steps = np.arange(run.steps_done)
        for number, values in zip(numbers, to_host([n.values for n in numbers]), strict=True):
            if reversed_:
                values = values[:, [0, 2, 1]]
            # Norms: of the difference, of the unconditional branch, of the conditional one.
            table = labelled(run, 0, number.site, steps, run.batch(0))
            table = table[table["branch"] == table["branch"].iloc[0]].drop(columns="branch")
            number.there[run.steps_done :] = False
            table = table[number.there[: run.steps_done].ravel()]
            parts.append(table.assign(**number.measures(values)))
        if parts:
            self._tables.append(tidy(pd.concat(parts, ignore_index=True)))

    def table(self) -> pd.DataFrame:
        """The columns of ``StepDistance`` without ``branch``."""
        columns = [name for name in SITE_COLUMNS if name != "branch"]
        return joined(self._tables, [*columns, *STEP_DISTANCES])
