"""The outputs of attention themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from attnscope.hooks.moments import Denoising, Moment
from attnscope.hooks.observer import SiteObserver
from attnscope.kinds import KINDS
from attnscope.notices import warn
from attnscope.observers.rows import SITE_COLUMNS, check_steps_of, joined, labelled, tidy
from attnscope.sites.attention import Site


class FeatureMaps(SiteObserver):
    """The outputs themselves, of a few sites at a few steps: the paper's Figure A4.

    Args:
        sites: shell-style pattern of site names, or several.
        steps: 0-based steps to keep.
        kinds: kinds of sites.
    """

    def __init__(
        self,
        sites: str | Sequence[str],
        steps: Iterable[int],
        *,
        kinds: Sequence[str] = KINDS,
    ) -> None:
        super().__init__(kinds, sites)
        self.steps = frozenset(steps)
        self._kept: list[tuple[Site, Moment, Tensor]] = []
        self._tables: list[pd.DataFrame] = []

    def start(self, run: Denoising, scheduler: Any) -> None:
        """A run begins.

        Raises:
            InputError: a step that this run does not have.
        """
        check_steps_of(run, self.steps)
        self._kept.clear()

    def see(self, site: Site, moment: Moment, output: Tensor) -> None:
        """Keep a copy at the chosen steps."""
        if moment.step in self.steps:
            self._kept.append((site, moment, output.detach().clone()))

    def finish(self, run: Denoising) -> None:
        """Bring the copies to the host, in float32."""
        missed = sorted(step for step in self.steps if step >= run.steps_done)
        if missed and run.steps_done:
            warn(f"the run ended after {run.steps_done} steps: no feature maps of steps {missed}")
        for site, moment, output in self._kept:
            if moment.step >= run.steps_done:
                continue
            table = labelled(run, moment.call, site, np.array([moment.step]), moment.batch)
            table = table.iloc[moment.held].copy()
            maps = output.float().cpu().numpy()
            if len(maps) != moment.rows:  # video: frames or positions stand inside a sample
                maps = maps.reshape(moment.rows, -1, *maps.shape[1:])
            table["output"] = list(maps)
            self._tables.append(tidy(table))
        self._kept.clear()

    def table(self) -> pd.DataFrame:
        """The columns of a site's row and ``output``: float32 arrays ``[tokens, channels]``."""
        return joined(self._tables, [*SITE_COLUMNS, "output"])
