"""Whether a scheduler is given what the denoiser said, or its negative, or something else.

A guidance formula mixes the branches' predictions with weights that sum to one: u + s (c - u). Some
pipelines then turn the sign for their scheduler (Lumina, Z-Image, HiDream: their models predict
x_0 - eps), and some make another quantity of it (PRX predicts x_0 and hands on a velocity). Neither
is written down anywhere, so it is read off the numbers: the weights that give what the scheduler
was given from what the denoiser said sum to 1, to -1, or there are none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_UNEXPLAINED = 0.5
"""Share of the square of what the scheduler is given that no guidance formula leaves over."""
_ROUNDING = 1e-4
"""The same for what 16 bits and tensor cores leave over of an exact formula."""


def products(predictions: Sequence[Tensor], guided: Tensor, sample: Tensor) -> Tensor:
    """All inner products of the branches' predictions, the latents and what the scheduler is given.

    Args:
        predictions: of the denoiser's calls in a step: float32 ``[branches * samples, numel]``.
        guided: what the scheduler is given: float32 ``[samples, numel]``.
        sample: the latents: float32 ``[samples, numel]``.

    Returns:
        float32 ``[branches + 2, branches + 2]``, on the device; the last two are of the latents and
        of what the scheduler is given.
    """
    of_calls = (call.reshape(-1, guided.numel()).unbind() for call in predictions)
    branches = [branch for call in of_calls for branch in call]
    vectors = [*branches, sample.reshape(-1), guided.reshape(-1)]
    # Not one matrix product, which tensor cores may round to ten bits.
    size = len(vectors)
    upper = torch.triu_indices(size, size, device=guided.device)
    found = [torch.dot(vectors[i], vectors[j]) for i in range(size) for j in range(i, size)]
    gram = guided.new_zeros(size, size)
    gram[upper[0], upper[1]] = gram[upper[1], upper[0]] = torch.stack(found)
    return gram


def sign_of(steps: Sequence[NDArray[np.float32]]) -> float:
    """What to multiply the denoiser's predictions with, to read them as the scheduler reads its own.

    Args:
        steps: from :func:`products`, of the steps of a run.

    Returns:
        1, -1, or NaN where what the scheduler is given is not made from them alone.
    """
    grams = [np.asarray(step, dtype=np.float64) for step in steps]
    grams = [gram for gram in grams if np.isfinite(gram).all() and gram[-1, -1] > 0]
    if not grams:
        return 1.0
    fits = [_fit(np.delete(np.delete(gram, -2, 0), -2, 1)) for gram in grams]
    totals = np.array([total for total, _ in fits])
    left = float(np.median([rest for _, rest in fits]))
    with_latents = float(np.median([_fit(gram)[1] for gram in grams]))
    converted = left > _ROUNDING and with_latents < left / 100
    alone = np.array([len(gram) == 3 for gram in grams])
    rescaled = bool((np.abs(np.abs(totals[alone]) - 1) > 0.05).any())
    if left > _UNEXPLAINED or converted or rescaled or len(set(np.sign(totals))) > 1:
        return float("nan")
    return float(np.sign(totals[0]))


def _fit(gram: NDArray[np.float64]) -> tuple[float, float]:
    """Sum of the weights that come nearest to the last vector, and the share they leave over."""
    own, wanted, square = gram[:-1, :-1], gram[:-1, -1], gram[-1, -1]
    scale = np.sqrt(np.maximum(np.diag(own), np.finfo(np.float64).tiny))
    # Where branches agree to rounding their weights are not known, but the sum is.
    weights = np.linalg.pinv(own / np.outer(scale, scale), rcond=1e-6, hermitian=True)
    weights = weights @ (wanted / scale) / scale
    return float(weights.sum()), max(0.0, float(1 - weights @ wanted / square))
