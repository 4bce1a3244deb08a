"""Grids of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from attnscope.plots.style import wrapped


def image_grid(
    images: Sequence[Any],
    *,
    columns: int = 8,
    titles: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Images side by side.

    Args:
        images: PIL images or arrays ``[height, width, 3]`` of one size.
        columns: how many to a row.
        titles: one per image, drawn below it.
        ax: where to draw; ``None`` is the current axes.

    Raises:
        ValueError: no images, or of different sizes.
    """
    arrays = [np.asarray(image) for image in images]
    if not arrays or len({array.shape for array in arrays}) != 1:
        raise ValueError("image_grid needs one image or more, all of one size")
    ax = ax or plt.gca()
    columns = min(columns, len(arrays))
    rows = -(-len(arrays) // columns)
    height, width = arrays[0].shape[:2]
    gap = max(1, width // 32)
    below = round(height * 0.42) if titles else gap
    white = 255 if arrays[0].dtype == np.uint8 else 1
    canvas = np.full(
        (rows * (height + below), columns * (width + gap) - gap, *arrays[0].shape[2:]),
        white,
        dtype=arrays[0].dtype,
    )
    for index, array in enumerate(arrays):
        top, left = index // columns * (height + below), index % columns * (width + gap)
        canvas[top : top + height, left : left + width] = array
        if titles:
            ax.text(
                left + width / 2, top + height + gap, wrapped(titles[index]), ha="center", va="top",
                fontsize=4.5, linespacing=1.0,
            )  # fmt: skip
    ax.imshow(canvas, interpolation="nearest")
    ax.set_axis_off()
    return ax
