"""Statistics of the noise that a denoiser predicts (Figure 3a)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from attnscope.errors import InputError
from attnscope.hooks.moments import Denoising, Moment
from attnscope.hooks.observer import Observer
from attnscope.models.predictions import check_prediction, noise_weights, places
from attnscope.models.signs import products, sign_of
from attnscope.notices import warn
from attnscope.observers.rows import joined, tidy, to_host


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
        self._moments: list[tuple[int, Moment | None, Tensor]] = []
        self._products: list[Tensor] = []
        self._unread = ""
        self._tables: list[pd.DataFrame] = []

    def start(self, run: Denoising, scheduler: Any) -> None:
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

    def finish(self, run: Denoising) -> None:
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
        steps: from :func:`attnscope.models.signs.products`.
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
        warn(f"nothing is said of the noise that single guidance branches predict: {reason}")
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
