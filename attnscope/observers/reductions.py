"""What is kept of a denoiser's predictions while it runs, and what their sign turns out to be."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attnscope.errors import InputError
from attnscope.models.signs import products, sign_of
from attnscope.notices import warn
from attnscope.observers.rows import to_host

Key = TypeVar("Key")


class Reductions(Generic[Key]):
    """Numbers that predictions were reduced to, on the device until a run is over.

    Beside them stand the products that tell the sign in which the scheduler reads the predictions.
    """

    def __init__(self) -> None:
        self.kept: list[tuple[Key, Tensor]] = []
        """Numbers under keys that say what they are of, float32 of any shape."""
        self._products: list[Tensor] = []
        self._unread = ""

    def clear(self) -> None:
        """Forget everything: a run begins, or is over."""
        self.kept.clear()
        self._products.clear()
        self._unread = ""

    def __bool__(self) -> bool:
        """Whether there is anything to say when the run is over."""
        return bool(self.kept or self._unread)

    def flat(self, predictions: list[Any], sample: Tensor) -> list[Tensor] | None:
        """Predictions as :func:`flat_prediction` has them.

        Args:
            predictions: of one step, as the denoiser returned them.
            sample: the latents.

        Returns:
            ``None`` where one cannot be read, which :meth:`read` then warns of.
        """
        try:
            return [flat_prediction(prediction, sample) for prediction in predictions]
        except InputError as error:
            self._unread = str(error)
            return None

    def compare(self, flat: list[Tensor], given: Tensor, x: Tensor) -> None:
        """Keep what tells the sign of a step's predictions; see :func:`attnscope.models.signs.products`.

        Args:
            flat: of :meth:`flat`.
            given: what the scheduler is given, as :func:`flat_prediction` has it.
            x: of :func:`latents`.
        """
        self._products.append(products(flat, given, x))

    def keep(self, key: Key, values: Tensor) -> None:
        """Keep numbers, float32 of any shape, under a key that says what they are of."""
        self.kept.append((key, values))

    def read(self) -> tuple[list[tuple[Key, NDArray[np.float32]]], float]:
        """All that was kept, on the host, and the sign, or NaN: see :func:`sign_of`.

        Warns:
            UserWarning: nothing can be said of what single branches predict.
        """
        count = len(self.kept)
        host = to_host([*(values for _, values in self.kept), *self._products])
        keys = [key for key, _ in self.kept]
        sign = float("nan") if self._unread else sign_of(host[count:])
        if np.isnan(sign):
            reason = self._unread or (
                "this pipeline makes another quantity of what its denoiser predicts before the "
                "scheduler is given it"
            )
            warn(f"nothing is said of the noise that single guidance branches predict: {reason}")
        return list(zip(keys, host[:count], strict=True)), sign


def latents(sample: Tensor) -> Tensor:
    """Latents, a row each: float32 ``[samples, numel]``."""
    return sample.detach().float().flatten(1)


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
