"""How close two images are, by torchmetrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)


def psnr(images: Any, references: Any) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio of every image to its reference, in dB.

    Args:
        images: uint8 arrays or PIL images ``[height, width, 3]``.
        references: as many, of the same sizes.

    Returns:
        float64 ``[n]``; infinite where both are the same.
    """
    return np.array(
        [
            float(peak_signal_noise_ratio(image, reference, data_range=1.0))
            for image, reference in zip(_batches(images), _batches(references), strict=True)
        ]
    )


def ssim(images: Any, references: Any) -> NDArray[np.float64]:
    """Structural similarity of every image to its reference (Wang et al. 2004, 11x11 Gaussian).

    Args:
        images: uint8 arrays or PIL images ``[height, width, 3]``, 11 pixels or more each way.
        references: as many, of the same sizes.

    Returns:
        float64 ``[n]``, 1 where both are the same.
    """
    values = []
    for image, reference in zip(_batches(images), _batches(references), strict=True):
        value = structural_similarity_index_measure(image, reference, data_range=1.0)
        assert isinstance(value, Tensor)
        values.append(float(value))
    return np.array(values)


def _batches(images: Any) -> list[Tensor]:
    """Every image as float32 ``[1, 3, height, width]`` in [0, 1]."""
    arrays = [np.asarray(image, dtype=np.float32) / 255 for image in images]
    return [torch.from_numpy(array).permute(2, 0, 1)[None] for array in arrays]
