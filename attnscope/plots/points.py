"""Where points of the image look, over the denoising steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from attnscope.plots.maps import overlaid_row
from attnscope.plots.sheets import ESTIMATE, Sheet, as_pictures
from attnscope.plots.style import letter


def point_maps(
    maps: Any,
    points: Sequence[tuple[float, float]],
    steps: Sequence[int | str],
    *,
    images: Sequence[Any] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Where points look, a row a point and a column a step; each row on a scale of its own.

    Args:
        maps: attention from every point, ``[step, point, height, width]``, 0 and more.
        points: ``[point]``, (x, y) from 0 to 1 of the width and of the height.
        steps: ``[step]``, the columns.
        images: one a step, as arrays ``[height, width, 3]`` or PIL images: what x_0 is estimated to be. They
            are drawn in a first row with the points by their letters, and in gray under the maps.
        ax: where to draw; ``None`` is the current axes, whose maps are replaced.

    Returns:
        The axes. A ring is the point; bright is the largest value of its row, and black is none.

    Raises:
        ValueError: maps, points, steps and images do not fit together.
    """
    values = np.asarray(maps, dtype=float)
    if values.ndim != 4 or values.shape[:2] != (len(steps), len(points)) or not values.size:
        raise ValueError(
            f"maps of shape {list(values.shape)} do not fit {len(steps)} steps and {len(points)} points"
        )
    pictures = as_pictures(images, len(steps))
    height, width = values.shape[2:] if pictures is None else pictures[0].shape[:2]
    sheet = Sheet(len(steps), height, width)
    if pictures is not None:
        sheet.add(ESTIMATE, pictures)
    for place, (x, y) in enumerate(points):
        row = place + (pictures is not None)
        cells = overlaid_row(values[:, place], pictures, height, width)
        sheet.add(f"{letter(place)} ({x:g}, {y:g})", cells)
        sheet.mark(row, x, y)
        if pictures is not None:
            sheet.mark(0, x, y, letter(place))
    return sheet.draw(steps, ax)
