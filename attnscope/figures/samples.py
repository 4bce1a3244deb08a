"""A sheet of samples with their captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from attnscope import plots


def sheet(images: Sequence[Any], captions: Sequence[str], columns: int = 4) -> Figure:
    """Images with their captions below; fewer than a row of them make a smaller figure.

    Args:
        images: arrays ``[height, width, 3]`` of one size.
        captions: one per image.
        columns: how many images to a row.
    """
    wide = min(columns, len(images))
    rows = -(-len(images) // wide)
    cell = plots.COLUMN_WIDTH / columns
    figure, ax = plt.subplots(figsize=(max(cell * wide, 2.0), cell * 1.7 * rows))
    plots.image_grid(images, columns=wide, titles=captions, ax=ax)
    return figure
