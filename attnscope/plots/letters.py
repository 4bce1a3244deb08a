"""Letters beside points, none over another."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation

_DISTANCES = (7.0, 11.0, 16.0, 22.0, 29.0)
"""From a point to its letter, in points."""
_ANGLES = np.pi / 2 + np.linspace(0, 2 * np.pi, 16, endpoint=False)
_ROOM = 7.5
"""Between the middles of two letters, or of a letter and a point, in points."""


def place_letters(ax: Axes) -> None:
    """Move the annotations of an axes beside their points, so that none hides another or a point.

    Places are in points, so a figure of which the layout changed is given to this again, after
    ``figure.draw_without_rendering()``.

    Args:
        ax: with annotations whose ``xy`` are in data coordinates.
    """
    letters = [text for text in ax.texts if isinstance(text, Annotation)]
    if not letters:
        return
    scale = float(72 / ax.figure.dpi)
    points = np.asarray(ax.transData.transform([letter.xy for letter in letters])) * scale
    low, high = np.asarray(ax.bbox.min) * scale, np.asarray(ax.bbox.max) * scale
    taken = points.copy()
    crowd = np.linalg.norm(points[:, None] - points[None], axis=-1)
    for place in np.argsort(np.sort(crowd, axis=1)[:, 1] if len(points) > 1 else [0.0])[::-1]:
        offsets = [
            distance * np.array([np.cos(angle), np.sin(angle)])
            for distance in _DISTANCES
            for angle in _ANGLES
        ]
        costs = [_cost(points[place] + offset, taken, low, high) for offset in offsets]
        best = offsets[int(np.argmin(np.array(costs) + 1e-3 * np.linalg.norm(offsets, axis=1)))]
        letters[place].set_position((float(best[0]), float(best[1])))
        taken = np.vstack([taken, points[place] + best])


def _cost(where: np.ndarray, taken: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """How much a letter there would hide, or stand outside."""
    near = np.linalg.norm(taken - where, axis=1)
    outside = np.maximum(low + 3 - where, 0).sum() + np.maximum(where - high + 3, 0).sum()
    return float(np.maximum(_ROOM - near, 0).sum() + outside)
