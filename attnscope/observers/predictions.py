"""Do the guidance branches come to one prediction? See section 3.1 of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attnscope.hooks.moments import Denoising, Moment
from attnscope.hooks.observer import Observer
from attnscope.models.predictions import (
    check_noise_levels,
    check_prediction,
    clean_weights,
    noise_weights,
    places,
)
from attnscope.notices import warn
from attnscope.observers.pairs import branch_layout, in_one_batch
from attnscope.observers.reductions import Reductions, flat_prediction, latents
from attnscope.observers.rows import distances, joined
from attnscope.observers.steps import STEP_DISTANCES


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
        self._run: Denoising | None = None
        self._reduced: Reductions[int] = Reductions()
        self._tables: list[pd.DataFrame] = []

    def start(self, run: Denoising, scheduler: Any) -> None:
        """A run begins.

        Raises:
            InputError: there is no known way from this scheduler's predictions to noise and x_0.
        """
        check_prediction(scheduler)
        check_noise_levels(scheduler)
        self._scheduler, self._run = scheduler, run
        self._reduced.clear()

    def end_step(
        self,
        step: int,
        predictions: Sequence[tuple[Moment, Tensor]],
        guided: Tensor,
        sample: Tensor,
    ) -> None:
        """Reduce the two predictions and the latents they were made from."""
        together = None if self._run is None else in_one_batch(self._run)
        if together is None or any(moment.rows != moment.batch for moment, _ in predictions):
            return
        flat = self._reduced.flat([prediction for _, prediction in predictions], sample)
        if flat is None:
            return
        first, second = flat[0].chunk(2) if together else flat
        x = latents(sample)
        self._reduced.compare(flat, flat_prediction(guided, sample), x)
        squares = [
            (first - second).square(), first * first, first * x, second * second, second * x, x * x,
        ]  # fmt: skip
        numel = torch.full((len(x),), float(x.shape[1]), device=x.device)
        self._reduced.keep(step, torch.stack([*(p.sum(1) for p in squares), numel]))

    def finish(self, run: Denoising) -> None:
        """Bring the moments to the host and combine them to distances."""
        if not self._reduced:
            return
        layout = branch_layout(run)
        if layout is None and self._reduced.kept:
            warn(
                "PredictionDistance does not know which of two guidance branches is the "
                "conditional one: nothing was measured"
            )
        if layout is None:
            self._reduced.clear()
            return
        cond_first, _ = layout
        reduced, sign = self._reduced.read()
        timesteps = run.timesteps()
        where = places(self._scheduler, timesteps)
        parts = []
        for step, moments in reduced:
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
        self._reduced.clear()

    def table(self) -> pd.DataFrame:
        """Columns ``run, sample, step, timestep, prediction`` and the distances."""
        columns = ["run", "sample", "step", "timestep", "prediction", *STEP_DISTANCES]
        return joined(self._tables, columns).astype({"prediction": "category"})
