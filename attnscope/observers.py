"""What to measure while a pipeline denoises.

An observer writes into tensors on the device and never reads from them before the run is over,
so it adds no synchronisation to the denoising loop. Its table is tidy: one row per run, sample,
guidance branch, step and site.

Measures of convergence, for a site's output C_t of one sample and branch, flattened (what the
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

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from attnscope.clock import Moment, Run
from attnscope.errors import InputError
from attnscope.layout import output_bytes, output_elements
from attnscope.predictions import check_prediction, noise_weights, places
from attnscope.rows import SITE_COLUMNS, distances, joined, labelled, tidy, to_host
from attnscope.signs import products, sign_of
from attnscope.sites import (
    KINDS,
    SURROUNDINGS,
    Site,
    find_denoiser,
    find_sites,
    matches,
    select_sites,
)

STEP_DISTANCES = ("l2", "rms", "relative", "cosine")


class Observer(ABC):
    """Base of everything that can be put into ``Trace(observers=...)``.

    A ``Trace`` calls :meth:`engage` once, :meth:`start` and :meth:`finish` around every run,
    :meth:`see` with every output of a site that it :meth:`wants`, and :meth:`end_step` after every
    step if :attr:`watches_noise`, and :meth:`release` once at the end.
    """

    watches_sites = False
    watches_noise = False
    _engaged = False

    def engage(self, sites: Sequence[Site]) -> None:
        """A ``Trace`` over these sites begins.

        Raises:
            RuntimeError: the observer served another ``Trace``; its runs would be mixed.
        """
        if self._engaged:
            raise RuntimeError(
                f"this {type(self).__name__} served a Trace before: make a new one for each"
            )
        self._engaged = True

    def wants(self, site: Site) -> bool:
        """Whether to be shown the outputs of a site."""
        return False

    def start(self, run: Run, scheduler: Any) -> None:  # noqa: B027
        """A run begins."""

    def see(self, site: Site, moment: Moment, output: Tensor) -> None:  # noqa: B027
        """A chosen site returned ``output``: ``[moment.rows * positions, ...]``, branch-major."""

    def end_step(  # noqa: B027
        self,
        step: int,
        predictions: Sequence[tuple[Moment, Tensor]],
        guided: Tensor,
        sample: Tensor,
    ) -> None:
        """A step ended: the denoiser's outputs, the guided prediction, and the latents before."""

    def release(self) -> None:  # noqa: B027
        """The ``Trace`` is over: free what is still kept on the device."""

    @abstractmethod
    def finish(self, run: Run) -> None:
        """The run is over: bring what was measured to the host."""

    @abstractmethod
    def table(self) -> pd.DataFrame:
        """All that was measured, one row each."""


class SiteObserver(Observer):
    """An observer of sites of some kinds, their names matching a pattern.

    Args:
        kinds: any of ``cross``, ``self``, ``joint``, and, to compare attention with, of ``block``,
            ``feed-forward`` and ``latent`` (:mod:`attnscope.surroundings`).
        sites: shell-style pattern of site names, or several; ``None`` is all.
    """

    def __init__(
        self, kinds: Sequence[str] = ("cross", "self"), sites: str | Sequence[str] | None = None
    ) -> None:
        self.kinds, self.sites = tuple(kinds), sites

    watches_sites = True

    def choose(self, sites: Sequence[Site]) -> tuple[Site, ...]:
        """The sites of the observer's kinds that match its pattern.

        Raises:
            InputError: there are none.
        """
        return select_sites(sites, kinds=self.kinds, pattern=self.sites)

    def engage(self, sites: Sequence[Site]) -> None:
        """A ``Trace`` over these sites begins.

        Raises:
            InputError: none of them is of the observer's kinds and matches its pattern.
        """
        self.choose(sites)
        super().engage(sites)

    def wants(self, site: Site) -> bool:
        """Whether a site is of the observer's kinds and matches its pattern."""
        return matches(site, self.kinds, self.sites)


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
        beside = [kind for kind in self.kinds if kind in SURROUNDINGS]
        if beside:
            raise InputError(
                f"how large outputs of kind {beside[0]!r} are is not known: measure a run"
            )
        denoiser = find_denoiser(pipe)
        chosen = self.choose(find_sites(denoiser))
        elements = output_elements(pipe, chosen, height=height, width=width, frames=frames)
        rows = batch * (2 if guidance else 1)
        return rows * sum(elements[site.name] * output_bytes(denoiser, site) for site in chosen)

    def start(self, run: Run, scheduler: Any) -> None:
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

    def finish(self, run: Run) -> None:
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
        warnings.warn(
            f"{len(broken)} sites returned NaN or infinity, such as {broken[0]}: their distances are "
            "not numbers (float16 may overflow; try bfloat16 or float32)",
            stacklevel=2,
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


def _distance_rows(run: Run, call: int, pace: _Pace, values: NDArray[np.float32]) -> pd.DataFrame:
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


class FeatureMaps(SiteObserver):
    """The outputs themselves, of a few sites at a few steps: the paper's Figure A5.

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

    def start(self, run: Run, scheduler: Any) -> None:
        """A run begins.

        Raises:
            InputError: a step that this run does not have.
        """
        beyond = sorted(step for step in self.steps if not 0 <= step < run.steps)
        if beyond:
            raise InputError(
                f"steps={beyond} are not steps of this run (choose 0..{run.steps - 1})"
            )
        self._kept.clear()

    def see(self, site: Site, moment: Moment, output: Tensor) -> None:
        """Keep a copy at the chosen steps."""
        if moment.step in self.steps:
            self._kept.append((site, moment, output.detach().clone()))

    def finish(self, run: Run) -> None:
        """Bring the copies to the host, in float32."""
        missed = sorted(step for step in self.steps if step >= run.steps_done)
        if missed and run.steps_done:
            warnings.warn(
                f"the run ended after {run.steps_done} steps: no feature maps of steps {missed}",
                stacklevel=2,
            )
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


class NoiseMean(Observer):
    """Mean and norm of the predicted noise per step: the paper's Figure 3a.

    One row per sample, step and branch, where the branch ``guided`` is what the scheduler is
    given. A model that predicts velocity, the clean sample or a flow is converted to noise, and so
    is one whose pipeline turns the sign for its scheduler (:mod:`attnscope.signs`). Where a
    pipeline makes another quantity of what its denoiser says, only ``guided`` has rows.
    """

    watches_noise = True

    def __init__(self) -> None:
        self._scheduler: Any = None
        self._moments: list[tuple[int, Moment | None, Tensor]] = []
        self._products: list[Tensor] = []
        self._unread = ""
        self._tables: list[pd.DataFrame] = []

    def start(self, run: Run, scheduler: Any) -> None:
        """A run begins.

        Raises:
            InputError: there is no known way from this scheduler's predictions to noise.
        """
        check_prediction(scheduler)
        self._scheduler = scheduler
        self._moments.clear()
        self._products.clear()
        self._unread = ""

    def end_step(
        self,
        step: int,
        predictions: Sequence[tuple[Moment, Tensor]],
        guided: Tensor,
        sample: Tensor,
    ) -> None:
        """Reduce every prediction and the latents it was made from.

        Raises:
            InputError: what the scheduler is given is not laid out like the latents.
        """
        given, latents = flat_prediction(guided, sample), sample.detach().float().flatten(1)
        try:
            flat = [flat_prediction(prediction, sample) for _, prediction in predictions]
        except InputError as error:
            self._unread = str(error)
        else:
            for (moment, _), rows in zip(predictions, flat, strict=True):
                self._moments.append((step, moment, _second_moments(rows, latents)))
            self._products.append(products(flat, given, latents))
        self._moments.append((step, None, _second_moments(given, latents)))

    def finish(self, run: Run) -> None:
        """Bring the moments to the host and combine them to noise.

        Noise is a times the prediction plus b times the latents, so its mean and norm follow from
        the moments of both, and no coefficient has to be known inside the loop.
        """
        if not self._moments:
            return
        count = len(self._moments)
        host = to_host([*(moments for _, _, moments in self._moments), *self._products])
        sign = known_sign(host[count:], self._unread)
        timesteps = run.timesteps()
        where = places(self._scheduler, timesteps)
        parts = []
        for (step, moment, _), moments in zip(self._moments, host[:count], strict=True):
            if step >= run.steps_done or (moment is not None and np.isnan(sign)):
                continue
            a, b = noise_weights(self._scheduler, float(timesteps[step]), place=int(where[step]))
            mean_p, mean_x, pp, px, xx, numel = moments.astype(np.float64)
            if moment is None:
                samples: NDArray[Any] = np.arange(moments.shape[1])
                branches: NDArray[Any] = np.repeat(np.array(["guided"]), moments.shape[1])
            else:
                labels = run.label(moment.call, moment.batch)
                samples, branches = (label[moment.held] for label in labels)
                a *= sign
            square = a**2 * pp + 2 * a * b * px + b**2 * xx
            parts.append(
                pd.DataFrame(
                    {
                        "run": run.index,
                        "sample": samples,
                        "branch": branches,
                        "step": step,
                        "timestep": timesteps[step],
                        "mean": a * mean_p + b * mean_x,
                        "norm": np.sqrt(np.maximum(square, 0)),
                        "rms": np.sqrt(np.maximum(square, 0) / numel),
                    }
                )
            )
        if parts:
            self._tables.append(tidy(pd.concat(parts, ignore_index=True)))
        self._moments.clear()
        self._products.clear()

    def table(self) -> pd.DataFrame:
        """Columns ``run, sample, branch, step, timestep, mean, norm, rms``."""
        columns = ["run", "sample", "branch", "step", "timestep", "mean", "norm", "rms"]
        return joined(self._tables, columns)


def known_sign(steps: Sequence[NDArray[np.float32]], unread: str) -> float:
    """The sign of the denoiser's predictions as the scheduler reads them; a warning if there is none.

    Args:
        steps: from :func:`attnscope.signs.products`.
        unread: why a prediction could not be read, if so.

    Returns:
        1, -1, or NaN for predictions that nothing can be said of.
    """
    sign = float("nan") if unread else sign_of(steps)
    if np.isnan(sign):
        reason = unread or (
            "this pipeline makes another quantity of what its denoiser predicts before the "
            "scheduler is given it"
        )
        warnings.warn(
            f"nothing is said of the noise that single guidance branches predict: {reason}",
            stacklevel=2,
        )
    return sign


def flat_prediction(prediction: Any, sample: Tensor) -> Tensor:
    """What a denoiser predicts, a row per sample and branch: float32 ``[rows, numel]``.

    Variances that a model predicts along with the noise (PixArt) are left out.

    Args:
        prediction: ``[rows, channels, ...]``, or as many tensors (Z-Image).
        sample: the latents.

    Raises:
        InputError: the denoiser's output is not laid out like the latents.
    """
    if isinstance(prediction, (list, tuple)) and all(isinstance(p, Tensor) for p in prediction):
        stacked = torch.stack(list(prediction))
        one_frame = stacked.ndim == sample.ndim + 1 and stacked.shape[2] == 1
        prediction = stacked[:, :, 0] if one_frame else stacked
    if not isinstance(prediction, Tensor) or prediction.ndim != sample.ndim:
        raise InputError("the layout of this denoiser's predictions is not known")
    if prediction.shape[1] == 2 * sample.shape[1]:
        prediction = prediction[:, : sample.shape[1]]
    if prediction.shape[1:] != sample.shape[1:] or len(prediction) % len(sample):
        raise InputError(
            f"the layout of this denoiser's predictions is not known: {list(prediction.shape)} "
            f"for latents of {list(sample.shape)}"
        )
    flat: Tensor = prediction.detach().float().flatten(1)
    return flat


def _second_moments(p: Tensor, latents: Tensor) -> Tensor:
    """Mean of p, mean of x, p.p, p.x, x.x and numel, per row: float32 ``[6, rows]``.

    Args:
        p: from :func:`flat_prediction`.
        latents: float32 ``[samples, numel]``, which repeat over guidance branches.
    """
    x = latents.repeat(len(p) // len(latents), 1)
    numel = torch.full((len(p),), float(p.shape[1]), device=p.device)
    return torch.stack(
        [p.mean(1), x.mean(1), (p * p).sum(1), (p * x).sum(1), (x * x).sum(1), numel]
    )
