"""Observers that compare an output with something other than that of the step before.

Distances between consecutive steps fall for a reason that has nothing to do with attention: the
steps of a scheduler shrink. Whether an output has converged is seen in its distance to what it will
be at the end; whether that is little, in its distance to what another caption would give; and
whether the guidance branches come to one result, in the distance between them. Measures are those
of :mod:`attnscope.observers`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from attnscope.clock import Moment, Run
from attnscope.errors import InputError
from attnscope.observers import (
    STEP_DISTANCES,
    Observer,
    SiteObserver,
    flat_prediction,
    known_sign,
)
from attnscope.predictions import (
    check_noise_levels,
    check_prediction,
    clean_weights,
    noise_weights,
    places,
)
from attnscope.rows import SITE_COLUMNS, distances, joined, labelled, tidy, to_host
from attnscope.signs import products
from attnscope.sites import Site

_SAME = 1e-2
"""Two passes are the same if their last outputs differ by less than this part: float16 on a GPU
need not repeat itself to the bit."""


class _Numbers:
    """Norms of a difference and of what differs, of one site, at every step and row."""

    def __init__(self, site: Site, rows: int, numel: int, steps: int, device: torch.device) -> None:
        self.site, self.numel, self.rows = site, numel, rows
        self.there = np.zeros((steps, rows), dtype=bool)
        self.values = torch.full((steps, 3, rows), float("nan"), dtype=torch.float32, device=device)

    def take(self, step: int, place: slice, output: Tensor, reference: Tensor) -> None:
        """Compare rows ``[rows, numel]`` that stand at ``place``.

        Raises:
            RuntimeError: these were compared before.
        """
        if self.there[step, place].any():
            raise RuntimeError(
                f"{self.site.name} is called several times in a step: its outputs have no one "
                "place in it, so its distances cannot be measured; leave it out by sites=…"
            )
        self.there[step, place] = True
        values = self.values[step, :, place]
        torch.linalg.vector_norm(output.float() - reference.float(), dim=1, out=values[0])
        torch.linalg.vector_norm(output, dim=1, dtype=torch.float32, out=values[1])
        torch.linalg.vector_norm(reference, dim=1, dtype=torch.float32, out=values[2])

    def measures(self, values: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        """Every measure of what was compared, step-major."""
        difference, norm, reference = values.astype(np.float64).transpose(1, 0, 2)
        found = distances(difference, norm, reference, self.numel)
        return {name: measure[self.there] for name, measure in found.items()}


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
        self._numbers: dict[tuple[str, int], _Numbers] = {}
        self._tables: list[pd.DataFrame] = []

    def start(self, run: Run, scheduler: Any) -> None:
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
            numbers = _Numbers(site, moment.batch, rows.shape[1], self._steps, rows.device)
            self._numbers[key] = numbers
        low, high = max(moment.first, last.first), min(moment.held.stop, last.held.stop)
        if low < high:
            own = rows[low - moment.first : high - moment.first]
            reference = final[low - last.first : high - last.first]
            numbers.take(moment.step, slice(low, high), own, reference)

    def finish(self, run: Run) -> None:
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
            warnings.warn(
                "FinalDistance has seen the first of two passes only: call the pipeline again "
                "with the same prompts and seeds",
                stacklevel=2,
            )
        return joined(self._tables, [*SITE_COLUMNS, *STEP_DISTANCES])


def _other_pass(reason: str) -> InputError:
    return InputError(
        f"FinalDistance compares with a first pass that was another one: {reason} (call the "
        "pipeline twice, with the same prompts and generators seeded alike)"
    )


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
        self._run: Run | None = None
        self._other_call: dict[str, tuple[Moment, Tensor]] = {}
        # How the branches are laid out is known after the first step, so both ways are followed
        # through it: two halves of a batch, and two calls of the denoiser.
        self._halves: dict[tuple[str, int], _Numbers] = {}
        self._calls: dict[str, _Numbers] = {}
        self._tables: list[pd.DataFrame] = []

    def start(self, run: Run, scheduler: Any) -> None:
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
                self._halves[key] = _numbers_for(site, first, run.steps)
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
                self._calls[site.name] = _numbers_for(site, rows, run.steps)
            self._calls[site.name].take(moment.step, slice(len(rows)), other, rows)

    def finish(self, run: Run) -> None:
        """Bring the numbers of the layout that it was to the host."""
        halves, calls = dict(self._halves), dict(self._calls)
        self._other_call.clear()
        self._halves.clear()
        self._calls.clear()
        if not run.steps_done or run.samples is None:
            return
        layout = _layout(run)
        if layout is None:
            if run.guided_steps:
                warnings.warn(
                    "BranchDistance knows two guidance branches, and here are others: nothing "
                    "was measured",
                    stacklevel=2,
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


def _numbers_for(site: Site, rows: Tensor, steps: int) -> _Numbers:
    return _Numbers(site, len(rows), rows.shape[1], steps, rows.device)


def _in_one_batch(run: Run) -> bool | None:
    """Whether one batch holds both guidance branches; ``None`` if there are not two."""
    if run.calls_per_step == 1 and run.samples and run.batch(0) == 2 * run.samples:
        return True
    if run.calls_per_step == 2 and run.batch(0) == run.batch(1) == run.samples:
        return False
    return None


def _layout(run: Run) -> tuple[bool, bool] | None:
    """Whether the conditional branch comes first and whether one batch holds both, if there are two.

    To be asked when a run is over: the text that tells branches apart is read from the device.
    """
    together = _in_one_batch(run)
    if together is None:
        return None
    if together:
        halves = run.halves()
        return None if halves is None else (halves[0] == "cond", True)
    names = [run.label(call, run.batch(call))[1][0] for call in (0, 1)]
    return (names[0] == "cond", False) if set(names) == {"cond", "uncond"} else None


class CaptionDistance(SiteObserver):
    """How far apart a site's outputs for two captions are, at the same step and the same latents.

    The pipeline is called on the captions of n images and then, in the same batch, on n other ones,
    inside :func:`attnscope.counterfactuals.same_latents`, which gives the denoiser the latents of
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
        self._run: Run | None = None
        self._numbers: dict[tuple[str, int], _Numbers] = {}
        self._tables: list[pd.DataFrame] = []

    def start(self, run: Run, scheduler: Any) -> None:
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
            self._numbers[key] = _numbers_for(site, own.flatten(0, 1), run.steps)
        everything = slice(self._numbers[key].rows)
        self._numbers[key].take(moment.step, everything, other.flatten(0, 1), own.flatten(0, 1))

    def finish(self, run: Run) -> None:
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


class PredictionDistance(Observer):
    """How far apart the predictions of the two guidance branches are: cos(eps_c, eps_u) per step.

    Adaptive Guidance ("Adaptive Guidance: Training-free Acceleration of Conditional Diffusion
    Models", Castillo et al. 2023) ends guidance where the cosine of the two noise predictions comes
    near 1. Early steps are near 1 for a reason of their own: the latents are nearly all noise, and
    so are both predictions of it. Beside the noise therefore stands what it implies for the image,
    the estimate of x_0.

    One row per sample, step and ``prediction``, which is ``noise`` or ``x_0``. ``cosine`` is
    1 - cos, ``relative`` is relative to the conditional branch. Nothing is measured where one
    branch runs, and nothing can be where the scheduler is given another quantity than the
    denoiser predicts. Missing is x_0 from a prediction of noise where all is noise.
    """

    watches_noise = True

    def __init__(self) -> None:
        self._scheduler: Any = None
        self._run: Run | None = None
        self._moments: list[tuple[int, Tensor]] = []
        self._products: list[Tensor] = []
        self._unread = ""
        self._tables: list[pd.DataFrame] = []

    def start(self, run: Run, scheduler: Any) -> None:
        """A run begins.

        Raises:
            InputError: there is no known way from this scheduler's predictions to noise and x_0.
        """
        check_prediction(scheduler)
        check_noise_levels(scheduler)
        self._scheduler, self._run = scheduler, run
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
        """Reduce the two predictions and the latents they were made from."""
        together = None if self._run is None else _in_one_batch(self._run)
        if together is None or any(moment.rows != moment.batch for moment, _ in predictions):
            return
        try:
            flat = [flat_prediction(prediction, sample) for _, prediction in predictions]
        except InputError as error:
            self._unread = str(error)
            return
        first, second = flat[0].chunk(2) if together else flat
        x = sample.detach().float().flatten(1)
        squares = [
            (first - second).square(), first * first, first * x, second * second, second * x, x * x,
        ]  # fmt: skip
        numel = torch.full((len(x),), float(x.shape[1]), device=x.device)
        self._moments.append((step, torch.stack([*(p.sum(1) for p in squares), numel])))
        self._products.append(products(flat, flat_prediction(guided, sample), x))

    def finish(self, run: Run) -> None:
        """Bring the moments to the host and combine them to distances."""
        if not (self._moments or self._unread):
            return
        layout = _layout(run)
        if layout is None and self._moments:
            warnings.warn(
                "PredictionDistance does not know which of two guidance branches is the "
                "conditional one: nothing was measured",
                stacklevel=2,
            )
        if layout is None:
            self._moments.clear()
            self._products.clear()
            return
        cond_first, _ = layout
        count = len(self._moments)
        host = to_host([*(moments for _, moments in self._moments), *self._products])
        sign = known_sign(host[count:], self._unread)
        timesteps = run.timesteps()
        where = places(self._scheduler, timesteps)
        parts = []
        for (step, _), moments in zip(self._moments, host[:count], strict=True):
            if step >= run.steps_done or np.isnan(sign):
                continue
            moments = moments if cond_first else moments[[0, 3, 4, 1, 2, 5, 6]]
            apart, cc, cx, uu, ux, xx, numel = moments.astype(np.float64)
            for name, weights in (("noise", noise_weights), ("x_0", clean_weights)):
                a, b = weights(self._scheduler, float(timesteps[step]), place=int(where[step]))
                a *= sign
                cond, uncond = (
                    np.sqrt(np.maximum(a**2 * pp + 2 * a * b * px + b**2 * xx, 0))
                    for pp, px in ((cc, cx), (uu, ux))
                )
                table = pd.DataFrame(
                    {
                        "run": run.index,
                        "sample": np.arange(len(xx)),
                        "step": step,
                        "timestep": timesteps[step],
                        "prediction": name,
                    }
                )
                measured = distances(abs(a) * np.sqrt(apart), uncond, cond, int(numel[0]))
                parts.append(table.assign(**measured))
        if parts:
            self._tables.append(pd.concat(parts, ignore_index=True))
        self._moments.clear()
        self._products.clear()

    def table(self) -> pd.DataFrame:
        """Columns ``run, sample, step, timestep, prediction`` and the distances."""
        columns = ["run", "sample", "step", "timestep", "prediction", *STEP_DISTANCES]
        return joined(self._tables, columns).astype({"prediction": "category"})
