"""Inception-v3 as FID was defined with (Heusel et al. 2017), with torch-fidelity's weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attnscope.errors import InputError
from attnscope.metrics.networks.base import registered

if TYPE_CHECKING:
    from torch import nn


@registered("inception")
def inception(weights: Path | None) -> nn.Module:
    """Of a file of torch-fidelity's weights; ``None`` fetches them."""
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
