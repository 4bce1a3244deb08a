"""Has an output converged? Its distance to what it will be at the last step."""

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
from attnscope.observers.pairs import PairNorms
from attnscope.observers.rows import SITE_COLUMNS, joined, labelled, tidy, to_host
from attnscope.observers.steps import STEP_DISTANCES
from attnscope.sites.attention import Site

_SAME = 1e-2
"""Two passes are the same if their last outputs differ by less than this part: float16 on a GPU
need not repeat itself to the bit."""


class FinalDistance(SiteObserver):
    """How far a site's output is from its own output at the last step.

    It takes two passes: call the pipeline twice inside one ``Trace``, with the same prompts and
    generators seeded alike. The first pass keeps the last output of every site and nothing else,
    the second compares. ``relative`` is relative to the last output. The row of the last step
    itself is left out.

    Args:
        kinds: kinds of sites, also ``block``, ``feed-forward`` and ``latent``.
        sites: shell-style pattern of site names, or several.
    """

    def __init__(
        self, kinds: Sequence[str] = ("cross", "self"), sites: str | Sequence[str] | None = None
    ) -> None:
        super().__init__(kinds, sites)
        self._steps = 0
        self._steps_done: int | None = None
        self._last: dict[tuple[str, int], tuple[Moment, Tensor]] = {}
        self._numbers: dict[tuple[str, int], PairNorms] = {}
        self._tables: list[pd.DataFrame] = []

    def start(self, run: Denoising, scheduler: Any) -> None:
        """A pass begins."""
        self._steps = run.steps
        self._numbers.clear()

    def see(self, site: Site, moment: Moment, output: Tensor) -> None:
        """Keep what may be the last output, or compare with it."""
        rows = output.detach().reshape(moment.rows, -1)
        key = site.name, moment.call
        kept = self._last.get(key)
        if self._steps_done is None:
            if kept is not None and kept[1].shape == rows.shape:
                kept[1].copy_(rows)
                self._last[key] = moment, kept[1]
            else:
                self._last[key] = moment, rows.clone()
            return
        if kept is None or kept[0].batch != moment.batch or kept[1].shape[1] != rows.shape[1]:
            raise _other_pass(f"{site.name} was called otherwise")
        last, final = kept
        numbers = self._numbers.get(key)
        if numbers is None:
            numbers = PairNorms(site, moment.batch, rows.shape[1], self._steps, rows.device)
            self._numbers[key] = numbers
        low, high = max(moment.first, last.first), min(moment.held.stop, last.held.stop)
        if low < high:
            own = rows[low - moment.first : high - moment.first]
            reference = final[low - last.first : high - last.first]
            numbers.take(moment.step, slice(low, high), own, reference)

    def finish(self, run: Denoising) -> None:
        """End a pass; after the second, bring its numbers to the host.

        Raises:
            InputError: the second pass did not end where the first one did.
        """
        if self._steps_done is None:
            self._steps_done = run.steps_done
            return
        first, self._steps_done = self._steps_done, None
        numbers = list(self._numbers.items())
        self._last.clear()
        self._numbers.clear()
        if not numbers or not run.steps_done:
            return
        if first != run.steps_done:
            raise _other_pass(f"it had {first} steps, and this one has {run.steps_done}")
        steps = np.arange(run.steps_done)
        parts = []
        host = to_host([number.values for _, number in numbers])
        for ((_, call), number), values in zip(numbers, host, strict=True):
            difference, _, reference = values[run.steps_done - 1]
            if np.any(difference > _SAME * reference + 1e-6):
                raise _other_pass(f"the last outputs of {number.site.name} differ")
            number.there[run.steps_done - 1 :] = False
            table = labelled(run, call, number.site, steps, number.rows)
            table = table[number.there[: run.steps_done].ravel()]
            parts.append(table.assign(**number.measures(values)))
        self._tables.append(tidy(pd.concat(parts, ignore_index=True)))

    def release(self) -> None:
        """Free the outputs of a first pass that no second one followed."""
        self._last.clear()

    def table(self) -> pd.DataFrame:
        """The columns of ``StepDistance``; ``run`` is that of the second pass."""
        if self._steps_done is not None:
            warn(
                "FinalDistance has seen the first of two passes only: call the pipeline again "
                "with the same prompts and seeds"
            )
        return joined(self._tables, [*SITE_COLUMNS, *STEP_DISTANCES])


def _other_pass(reason: str) -> InputError:
    return InputError(
        f"FinalDistance compares with a first pass that was another one: {reason} (call the "
        "pipeline twice, with the same prompts and generators seeded alike)"
    )
