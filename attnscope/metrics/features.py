"""Named features of images, for distances between sets: FID and KID.

The name of the features, the resizing before them and the number of images go with the values
wherever they go, also into files (see :mod:`attnscope.metrics.feature_sets`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from attnscope.errors import InputError
from attnscope.images import ENDINGS, image_files, is_readable, open_rgb, to_rgb
from attnscope.metrics.feature_sets import FeatureSet
from attnscope.metrics.networks import NETWORKS, Network

_BATCH = 8  # efficientnet-lite0 on one CPU core: 52 ms an image, 157 ms by batches of 64


class Extractor(nn.Module):
    """Images to features.

    Args:
        name: one of :data:`attnscope.metrics.networks.NETWORKS`.
        weights: as the network takes them: for ``inception`` a file of torch-fidelity's weights, for
            ``reader`` a shapes folder; their checksum then joins the features' name. ``None`` is what is installed.

    Raises:
        InputError: there is no such extractor, or its package or weights are not here.
    """

    def __init__(self, name: str, weights: Path | None = None) -> None:
        super().__init__()
        if name not in NETWORKS:
            raise InputError(f"no such features: {name!r} (choose {', '.join(NETWORKS)})")
        self.kind = NETWORKS[name]
        self.name = name if weights is None else f"{name} {_checksum(self.kind, weights)}"
        self.network = self.kind.build(weights).eval().requires_grad_(False)

    @property
    def protocol(self) -> str:
        """How images are resized: as in the paper, or not at all."""
        return self.kind.protocol

    @torch.inference_mode()
    def extract(self, images: Sequence[Any], *, device: str = "cpu") -> FeatureSet:
        """Features of images.

        Args:
            images: uint8 arrays ``[height, width, 3]``, PIL images, or paths, which are opened a
                batch at a time. Of any sizes, unless the network resizes none.
            device: a torch device.

        Raises:
            InputError: there are no images, or they are of a size that the network does not take.
        """
        if not len(images):
            raise InputError("there are no images to take features of")
        self.to(device)
        parts = []
        for first in range(0, len(images), _BATCH):
            batch = torch.cat([self._prepared(im, device) for im in images[first : first + _BATCH]])
            parts.append(self.network(batch).float().cpu())
        return FeatureSet(torch.cat(parts).numpy(), self.name, self.protocol)

    def _prepared(self, image: Any, device: str) -> Tensor:
        """Float32 ``[1, 3, height, width]`` with values from 0 to 255."""
        if isinstance(image, Path):
            image = open_rgb(image)
        elif isinstance(image, Image.Image):
            image = to_rgb(image)
        pixels = torch.from_numpy(np.array(image, dtype=np.uint8)).to(device)
        tensor = pixels.permute(2, 0, 1)[None].float()
        side = self.kind.side
        if self.kind.resizes:
            size = (side, side)
            return nn.functional.interpolate(tensor, size, mode="bilinear", antialias=True)
        height, width = tensor.shape[-2:]
        if (height, width) != (side, side):
            raise InputError(
                f"the features {self.kind.name!r} are of images of {side} x {side} pixels, not {height} "
                f"x {width}: choose other ones"
            )
        return tensor


def image_paths(folder: Path) -> list[Path]:
    """The image files of a folder by name, each of which can be read; none is kept in memory.

    Raises:
        InputError: the folder does not exist, holds fewer than two images, or unreadable ones.
    """
    paths = image_files(folder)
    if len(paths) < 2:
        raise InputError(
            f"images folder {str(folder)!r} holds {len(paths)} images ({', '.join(ENDINGS)}): "
            "two or more are needed"
        )
    unreadable = [path.name for path in paths if not is_readable(path)]
    if unreadable:
        more = f" and {len(unreadable) - 5} more" if len(unreadable) > 5 else ""
        raise InputError(
            f"images folder {str(folder)!r} holds {len(unreadable)} files that cannot be read as "
            f"images: {', '.join(unreadable[:5])}{more}; remove or replace them"
        )
    return paths


def _checksum(network: Network, weights: Path) -> str:
    file = network.file_of(weights)
    if not file.is_file():
        raise InputError(f"weights {str(file)!r} of the features {network.name!r} do not exist")
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:8]


class Scaled(nn.Module):
    """A network behind the scaling of pixels that it was trained with."""

    def __init__(
        self, network: nn.Module, method: Callable[[Tensor], Tensor], middle: float, scale: float
    ) -> None:
        super().__init__()
        self.network, self._method, self._middle, self._scale = network, method, middle, scale

    def forward(self, pixels: Tensor) -> Tensor:
        """Features ``[n, width]`` of float32 pixels from 0 to 255."""
        return self._method((pixels - self._middle) / self._scale)
