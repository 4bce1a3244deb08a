"""The embedded world's own network: it reads what a scene shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attnscope.metrics.networks.base import registered

if TYPE_CHECKING:
    from torch import nn


@registered(
    "reader", side=64, resizes=False, file="reader.safetensors", rendered=lambda count: 5000
)
def reader(weights: Path | None) -> nn.Module:
    """Of a shapes folder; ``None`` is the embedded one."""
    from attnscope.metrics.features import Scaled
    from attnscope.models.names import SHAPES_FOLDER
    from attnscope.shapes.reader import load_reader

    network = load_reader(weights or SHAPES_FOLDER)
    return Scaled(network, network.features, 127.5, 127.5)
