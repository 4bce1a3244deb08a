"""Does the text matter? The distance between outputs under two captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from attnscope.errors import InputError
from attnscope.hooks.moments import Denoising, Moment
from attnscope.hooks.observer import SiteObserver
from attnscope.observers.pairs import PairNorms, norms_for
from attnscope.observers.rows import SITE_COLUMNS, joined, labelled, tidy, to_host
from attnscope.observers.steps import STEP_DISTANCES
from attnscope.sites.attention import Site


class CaptionDistance(SiteObserver):
    """How far apart a site's outputs for two captions are, at the same step and the same latents.

    The pipeline is called on the captions of n images and then, in the same batch, on n other ones,
    inside :func:`attnscope.analyses.convergence.interventions.same_latents`, which gives the denoiser the latents of
    the first n images for both. What differs is the text alone. A row stands at the image's own
    caption; ``relative`` is relative to the output for it.

    Args:
        pairs: n.
        kinds: kinds of sites, also ``block`` and ``feed-forward``.
        sites: shell-style pattern of site names, or several.

    Raises:
        InputError: ``latent`` is among the kinds.
    """

    def __init__(
        self,
        pairs: int,
        kinds: Sequence[str] = ("cross", "self"),
        sites: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(kinds, sites)
        if "latent" in self.kinds:
            raise InputError(
                "both captions are given the same latents: leave 'latent' out of kinds"
            )
        self.pairs = pairs
        self._run: Denoising | None = None
        self._numbers: dict[tuple[str, int], PairNorms] = {}
        self._tables: list[pd.DataFrame] = []

    def start(self, run: Denoising, scheduler: Any) -> None:
        """A run begins."""
        self._run = run
        self._numbers.clear()

    def see(self, site: Site, moment: Moment, output: Tensor) -> None:
        """Compare the two halves of every guidance branch.

        Raises:
            InputError: the samples are not 2n, or a plan dropped a branch.
        """
        run = self._run
        assert run is not None, "a run starts before any site is seen"
        wanted = 2 * self.pairs  # how many there are is known after the first step
        if moment.rows % wanted or moment.rows != moment.batch or run.samples not in (None, wanted):
            raise InputError(
                f"CaptionDistance of {self.pairs} pairs was shown {moment.rows} of {moment.batch} "
                f"rows of {run.samples or 'some'} samples: call the pipeline on {wanted} prompts, "
                "without a plan that drops a branch"
            )
        by_caption = output.detach().reshape(-1, 2, self.pairs, output.numel() // moment.rows)
        own, other = by_caption.unbind(1)
        key = site.name, moment.call
        if key not in self._numbers:
            self._numbers[key] = norms_for(site, own.flatten(0, 1), run.steps)
        everything = slice(self._numbers[key].rows)
        self._numbers[key].take(moment.step, everything, other.flatten(0, 1), own.flatten(0, 1))

    def finish(self, run: Denoising) -> None:
        """Bring the numbers to the host."""
        numbers = list(self._numbers.items())
        self._numbers.clear()
        if not numbers or run.samples != 2 * self.pairs:
            return
        parts = []
        steps = np.arange(run.steps_done)
        host = to_host([number.values for _, number in numbers])
        for ((_, call), number), values in zip(numbers, host, strict=True):
            table = labelled(run, call, number.site, steps, 2 * number.rows)
            table = table[table["sample"] < self.pairs]
            number.there[run.steps_done :] = False
            table = table[number.there[: run.steps_done].ravel()]
            parts.append(table.assign(**number.measures(values)))
        self._tables.append(tidy(pd.concat(parts, ignore_index=True)))

    def table(self) -> pd.DataFrame:
        """The columns of ``StepDistance``."""
        return joined(self._tables, [*SITE_COLUMNS, *STEP_DISTANCES])
