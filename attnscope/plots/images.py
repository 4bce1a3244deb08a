"""Grids of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from attnscope.plots.style import SMALLEST_TEXT, replacing, wrapped

TITLE_WIDTH = 17
"""Characters of a title's line under one of four images in a column."""
_BELOW = 0.7
"""Room for a title, in heights of an image: six lines where four images fill a column."""


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
        ax: where to draw; ``None`` is the current axes, whose images are replaced.

    Raises:
        ValueError: no images, or of different sizes, or not a title for each.
    """
    arrays = [np.asarray(image) for image in images]
    if not arrays or len({array.shape for array in arrays}) != 1:
        raise ValueError("image_grid needs one image or more, all of one size")
    if columns < 1 or (titles is not None and len(titles) != len(arrays)):
        raise ValueError(
            f"columns={columns} with {len(arrays)} images and "
            f"{'no' if titles is None else len(titles)} titles: give one column or more, and a title "
            "for each image or none"
        )
    ax = ax or plt.gca()
    columns = min(columns, len(arrays))
    rows = -(-len(arrays) // columns)
    height, width = arrays[0].shape[:2]
    gap = max(1, width // 32)
    below = round(height * _BELOW) if titles else gap
    white = 255 if arrays[0].dtype == np.uint8 else 1
    canvas = np.full(
        (rows * (height + below), columns * (width + gap) - gap, *arrays[0].shape[2:]),
        white,
        dtype=arrays[0].dtype,
    )
    with replacing(ax):
        for index, array in enumerate(arrays):
            top, left = index // columns * (height + below), index % columns * (width + gap)
            canvas[top : top + height, left : left + width] = array
            if titles:
                ax.text(
                    left + width / 2, top + height + gap, wrapped(titles[index], TITLE_WIDTH),
                    ha="center", va="top", fontsize=SMALLEST_TEXT, linespacing=1.0,
                )  # fmt: skip
        ax.imshow(canvas, interpolation="nearest")
    ax.set_axis_off()
    return ax
