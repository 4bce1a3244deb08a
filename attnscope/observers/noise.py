"""Statistics of the noise that a denoiser predicts (Figure 3a)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from attnscope.hooks.moments import Denoising, Moment
from attnscope.hooks.observer import Observer
from attnscope.models.predictions import check_prediction, noise_weights, places
from attnscope.observers.reductions import Reductions, flat_prediction, latents
from attnscope.observers.rows import joined, tidy


class NoiseMean(Observer):
    """Mean and norm of the predicted noise per step: the paper's Figure 3a.

    One row per sample, step and branch, where the branch ``guided`` is what the scheduler is
    given. A model that predicts velocity, the clean sample or a flow is converted to noise, and so
    is one whose pipeline turns the sign for its scheduler (:mod:`attnscope.models.signs`). Where a
    pipeline makes another quantity of what its denoiser says, only ``guided`` has rows.
    """

    watches_noise = True

    def __init__(self) -> None:
        self._scheduler: Any = None
        self._reduced: Reductions[tuple[int, Moment | None]] = Reductions()
        self._tables: list[pd.DataFrame] = []

    def start(self, run: Denoising, scheduler: Any) -> None:
        """A run begins.

        Raises:
            InputError: there is no known way from this scheduler's predictions to noise.
        """
        check_prediction(scheduler)
        self._scheduler = scheduler
        self._reduced.clear()

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
        given, x = flat_prediction(guided, sample), latents(sample)
        flat = self._reduced.flat([prediction for _, prediction in predictions], sample)
        if flat is not None:
            self._reduced.compare(flat, given, x)
        for (moment, _), rows in zip(predictions, flat or (), strict=flat is not None):
            self._reduced.keep((step, moment), _second_moments(rows, x))
        self._reduced.keep((step, None), _second_moments(given, x))

    def finish(self, run: Denoising) -> None:
        """Bring the moments to the host and combine them to noise.

        Noise is a times the prediction plus b times the latents, so its mean and norm follow from
        the moments of both, and no coefficient has to be known inside the loop.
        """
        if not self._reduced:
            return
        reduced, sign = self._reduced.read()
        timesteps = run.timesteps()
        where = places(self._scheduler, timesteps)
        parts = []
        for (step, moment), moments in reduced:
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
        self._reduced.clear()

    def table(self) -> pd.DataFrame:
        """Columns ``run, sample, branch, step, timestep, mean, norm, rms``."""
        columns = ["run", "sample", "branch", "step", "timestep", "mean", "norm", "rms"]
        return joined(self._tables, columns)


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
