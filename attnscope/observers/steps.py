"""How far does a site's output move from one step to the next?

Measures of distance, for a site's output C_t of one sample and branch, flattened (what the
module returns, one linear map further than equation 3 of "Faster Diffusion via Temporal Attention
Decomposition"):

=========  ==========================================
l2         ||C_{i+1} - C_i||_2
rms        l2 / sqrt(numel)
relative   l2 / ||C_i||_2
cosine     1 - cos(C_i, C_{i+1})
=========  ==========================================

accumulated in float32 whatever the model's dtype. A row stands at step i+1: n steps give n-1 rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from attnscope.errors import InputError
from attnscope.hooks.moments import Denoising, Moment
from attnscope.hooks.observer import SiteObserver
from attnscope.kinds import AROUND
from attnscope.notices import warn
from attnscope.observers.rows import SITE_COLUMNS, distances, joined, labelled, tidy, to_host
from attnscope.sites.attention import Site
from attnscope.sites.denoiser import Denoiser
from attnscope.sites.outputs import output_bytes, output_elements

STEP_DISTANCES = ("l2", "rms", "relative", "cosine")


class StepDistance(SiteObserver):
    """How far a site's output moves from one step to the next: the paper's Figure 2.

    Keeps one previous output per site and two numbers per row and step, nothing else.

    Args:
        kinds: kinds of sites, also ``block``, ``feed-forward`` and ``latent``.
        sites: shell-style pattern of site names, or several.
        store: where the previous outputs are kept: ``"device"``, or ``"cpu"`` to spare a GPU's
            memory at the price of two transfers per site and step, for which the device waits.

    Raises:
        InputError: ``store`` is neither.
    """

    def __init__(
        self,
        kinds: Sequence[str] = ("cross", "self"),
        sites: str | Sequence[str] | None = None,
        *,
        store: Literal["device", "cpu"] = "device",
    ) -> None:
        super().__init__(kinds, sites)
        if store not in ("device", "cpu"):
            raise InputError(f"store={store!r} is not known (choose device or cpu)")
        self.store = store
        self._steps = 0
        self._paces: dict[tuple[str, int], _Pace] = {}
        self._tables: list[pd.DataFrame] = []

    def nbytes(
        self,
        pipe: Any,
        *,
        batch: int = 1,
        height: int | None = None,
        width: int | None = None,
        frames: int = 1,
        guidance: bool = True,
    ) -> int:
        """Bytes of previous outputs that a run will keep, known before it, without autocast.

        Args:
            pipe: the pipeline.
            batch: images or videos that are made at once.
            height: of an image in pixels; ``None`` is the pipeline's default.
            width: of an image in pixels; ``None`` is the pipeline's default.
            frames: of a video.
            guidance: whether an unconditional branch runs along.

        Raises:
            InputError: the denoiser's layout is not known, or more than attention is watched; then
                measure a run.
        """
        beside = [kind for kind in self.kinds if kind in AROUND]
        if beside:
            raise InputError(
                f"how large outputs of kind {beside[0]!r} are is not known: measure a run"
            )
        denoiser = Denoiser.of(pipe)
        chosen = self.choose(denoiser.sites)
        elements = output_elements(
            pipe, denoiser, chosen, height=height, width=width, frames=frames
        )
        rows = batch * (2 if guidance else 1)
        return rows * sum(elements[site.name] * output_bytes(denoiser, site) for site in chosen)

    def start(self, run: Denoising, scheduler: Any) -> None:
        """A run begins."""
        self._steps = run.steps
        self._paces.clear()

    def see(self, site: Site, moment: Moment, output: Tensor) -> None:
        """Compare with the step before."""
        rows = output.detach().reshape(moment.rows, -1)
        pace = self._paces.get((site.name, moment.call))
        if pace is None:
            pace = _Pace(site, moment.batch, rows, self._steps, self.store)
            self._paces[site.name, moment.call] = pace
        pace.take(moment, rows)

    def finish(self, run: Denoising) -> None:
        """Bring the run's numbers to the host in one transfer and derive the measures."""
        if self._paces and run.steps_done > 1:
            paces = list(self._paces.items())
            values = to_host([pace.values for _, pace in paces])
            parts = [
                _distance_rows(run, call, pace, numbers)
                for ((_, call), pace), numbers in zip(paces, values, strict=True)
            ]
            table = tidy(pd.concat(parts, ignore_index=True))
            _warn_of_non_finite(table)
            self._tables.append(table)
        self._paces.clear()

    def table(self) -> pd.DataFrame:
        """Columns ``run, sample, branch, step, timestep, site, kind, block`` and the distances."""
        return joined(self._tables, [*SITE_COLUMNS, *STEP_DISTANCES])


def _warn_of_non_finite(table: pd.DataFrame) -> None:
    broken = table.loc[~np.isfinite(table["l2"]), "site"].unique()
    if len(broken):
        warn(
            f"{len(broken)} sites returned NaN or infinity, such as {broken[0]}: their distances are "
            "not numbers (float16 may overflow; try bfloat16 or float32)"
        )


class _Pace:
    """The previous output of one site and the numbers of all steps so far."""

    def __init__(self, site: Site, batch: int, rows: Tensor, steps: int, store: str) -> None:
        self.site, self.batch, self.numel = site, batch, rows.shape[1]
        place = rows.device if store == "device" else torch.device("cpu")
        self.previous = torch.empty((batch, self.numel), dtype=rows.dtype, device=place)
        self.last: Moment | None = None
        self.measured: list[tuple[int, slice]] = []
        # Per step and row: the distance to the step before, and the output's own norm.
        self.values = torch.full(
            (steps, 2, batch), float("nan"), dtype=torch.float32, device=rows.device
        )

    def take(self, moment: Moment, rows: Tensor) -> None:
        step, held, last = moment.step, moment.held, self.last
        if moment.batch != self.batch or rows.shape[1] != self.numel:
            raise RuntimeError(
                f"{self.site.name} returned {(moment.batch, *rows.shape[1:])} at step {step} and "
                f"{(self.batch, self.numel)} before: the batch or size changed within a run"
            )
        if last is not None and last.step == step:
            raise RuntimeError(
                f"{self.site.name} is called several times in a step: its outputs have no one "
                "place in it, so its distances cannot be measured; leave it out by sites=…"
            )
        if last is not None and last.step == step - 1 and last.held in (held, slice(0, self.batch)):
            self.measured.append((step, held))
            change = rows.float() - self.previous[held].to(rows.device)
            torch.linalg.vector_norm(change, dim=1, out=self.values[step, 0, held])
        torch.linalg.vector_norm(rows, dim=1, dtype=torch.float32, out=self.values[step, 1, held])
        self.previous[held].copy_(rows)
        self.last = moment


def _distance_rows(
    run: Denoising, call: int, pace: _Pace, values: NDArray[np.float32]
) -> pd.DataFrame:
    """Rows of one site, from distances and norms ``[steps, 2, batch]``."""
    values = values.astype(np.float64)
    measured = [(step, held) for step, held in pace.measured if step < run.steps_done]
    steps = np.array([step for step, _ in measured], dtype=np.int64)
    l2, after, before = values[steps, 0], values[steps, 1], values[steps - 1, 1]
    table = labelled(run, call, pace.site, steps, pace.batch)
    for name, measured_by in distances(l2, after, before, pace.numel).items():
        table[name] = measured_by.ravel()
    there = np.zeros((len(steps), pace.batch), dtype=bool)
    for index, (_, held) in enumerate(measured):
        there[index, held] = True
    return table[there.ravel()]
