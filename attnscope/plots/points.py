"""Where points of the image look, over the denoising steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from attnscope.plots.maps import begun
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
    sheet, rows = begun(maps, len(steps), len(points), "points", images)
    for place, ((x, y), cells) in enumerate(zip(points, rows, strict=True)):
        sheet.add(f"{letter(place)} ({x:g}, {y:g})", cells)
        sheet.mark(place + (images is not None), x, y)
        if images is not None:
            sheet.mark(0, x, y, letter(place))
    return sheet.draw(steps, ax)
