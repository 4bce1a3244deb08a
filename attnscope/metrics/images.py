"""How close two images are, and the frames of a video, by torchmetrics."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

from attnscope.errors import InputError
from attnscope.images import to_rgb


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
        # variances of flat areas drown in the rounding of float32
        value = structural_similarity_index_measure(
            image.double(), reference.double(), data_range=1.0
        )
        assert isinstance(value, Tensor)
        values.append(float(value))
    return np.array(values)


@torch.inference_mode()
def lpips(
    images: Any,
    references: Any,
    *,
    net: Literal["alex", "squeeze", "vgg"] = "alex",
    device: str = "cpu",
) -> NDArray[np.float64]:
    """Learned perceptual distance of every image to its reference (Zhang et al. 2018).

    torchmetrics has the weights of the distance itself, torchvision the network below it, whose
    weights it fetches at first use.

    Args:
        images: uint8 arrays or PIL images ``[height, width, 3]``, 64 pixels or more each way.
        references: as many, of the same sizes.
        net: the network below.
        device: a torch device.

    Returns:
        float64 ``[n]``, 0 where both are the same.

    Raises:
        InputError: torchvision or the weights are not here.
    """
    metric = load_lpips(net).to(device)
    pairs = zip(_batches(images), _batches(references), strict=True)
    return np.array([float(metric(ours.to(device), ref.to(device))) for ours, ref in pairs])


@lru_cache(maxsize=1)
def load_lpips(net: Literal["alex", "squeeze", "vgg"]) -> LearnedPerceptualImagePatchSimilarity:
    """The distance of :func:`lpips`, loaded once for all batches of images."""
    try:
        return LearnedPerceptualImagePatchSimilarity(net, normalize=True)
    except ModuleNotFoundError as error:
        raise InputError("LPIPS needs torchvision: pip install torchvision") from error
    except OSError as error:
        raise InputError(
            f"the weights of LPIPS ({net}) cannot be fetched ({error}): go online once, or copy "
            "them into torch's hub folder"
        ) from error


def frame_consistency(frames: Any) -> float:
    """How far adjacent frames of a video are apart (the paper's Table A12); lower is steadier.

    The L2 distance of two frames with values in [0, 1], over all pixels and channels, divided by
    the square root of their number, which makes it a root mean square that does not grow with the
    resolution: 0 is a still image, 1 black to white. Averaged over the adjacent pairs. The paper
    does not give its scale: compare arms with each other, not with its table.

    Args:
        frames: uint8 arrays or PIL images ``[height, width, 3]``, in order, all of one size.

    Raises:
        InputError: there are fewer than two frames.
    """
    if len(frames) < 2:
        raise InputError(f"frame consistency needs two frames or more, not {len(frames)}")
    video = torch.cat(_batches(frames)).double()
    return float((video[1:] - video[:-1]).square().mean((1, 2, 3)).sqrt().mean())


def _batches(images: Any) -> list[Tensor]:
    """Every image as float32 ``[1, 3, height, width]`` in [0, 1]."""
    seen = [to_rgb(image) if isinstance(image, Image.Image) else image for image in images]
    arrays = [np.asarray(image, dtype=np.float32) / 255 for image in seen]
    return [torch.from_numpy(array).permute(2, 0, 1)[None] for array in arrays]
