"""Rows of pictures over denoising steps, drawn as one image into one axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from attnscope.plots.style import SMALLEST_TEXT, replacing

Picture = NDArray[np.float64]
"""``[height, width, 3]``, from 0 to 1."""
ESTIMATE = "$\\hat x_0$"
"""The name of a row of what x_0 is estimated to be."""


def as_pictures(images: Sequence[Any] | None, steps: int) -> list[Picture] | None:
    """Images, one a step, as numbers from 0 to 1.

    Raises:
        ValueError: there are more or fewer, or they are of different sizes.
    """
    if images is None:
        return None
    arrays = [np.asarray(image) for image in images]
    if len(arrays) != steps or len({array.shape for array in arrays}) != 1:
        raise ValueError(f"{len(arrays)} images do not fit {steps} steps: give one of each step")
    return [array.astype(float)[..., :3] / 255 for array in arrays]


def enlarged(values: NDArray[np.floating[Any]], height: int, width: int) -> Picture:
    """Each value as a block of pixels, as sharp as it was computed."""
    rows = np.arange(height) * values.shape[0] // height
    columns = np.arange(width) * values.shape[1] // width
    made: Picture = values[rows][:, columns]
    return made


class Sheet:
    """Cells of one size, a row of them after the other.

    Args:
        columns: cells of a row.
        height: of a cell in pixels.
        width: of a cell in pixels.
    """

    def __init__(self, columns: int, height: int, width: int) -> None:
        self.columns, self.height, self.width = columns, height, width
        self._rows: list[tuple[str, Sequence[Picture]]] = []
        self._marks: list[tuple[int, int, float, float, str]] = []
        self._gap = max(1, width // 24)

    def add(self, name: str, cells: Sequence[Picture]) -> None:
        """A further row: a picture of a cell's size in each column."""
        self._rows.append((name, cells))

    def mark(self, row: int, x: float, y: float, text: str = "") -> None:
        """A point of every cell of a row, from 0 to 1 of its width and height: a ring, or a text."""
        self._marks += [(row, column, x, y, text) for column in range(self.columns)]

    def _corner(self, row: int, column: int) -> tuple[int, int]:
        """Top and left of a cell, in pixels."""
        return row * (self.height + self._gap), column * (self.width + self._gap)

    def draw(self, steps: Sequence[int | str], ax: Axes | None) -> Axes:
        """Draw it, the steps above and the rows' names at the left, in the place of one before.

        Args:
            steps: the columns' names.
            ax: where; ``None`` is the current axes.
        """
        bottom, right = self._corner(len(self._rows), self.columns)
        canvas = np.ones((bottom - self._gap, right - self._gap, 3))
        for row, (_, cells) in enumerate(self._rows):
            for column, cell in enumerate(cells):
                top, left = self._corner(row, column)
                canvas[top : top + self.height, left : left + self.width] = cell
        ax = ax or plt.gca()
        with replacing(ax):
            ax.imshow(canvas, interpolation="nearest")
            for mark in self._marks:
                self._draw_mark(ax, *mark)
        middles = [self._corner(0, column)[1] + self.width / 2 for column in range(self.columns)]
        ax.set_xticks(middles, [str(step) for step in steps])
        ax.set_xlabel("Denoising step")
        ax.xaxis.tick_top()
        ax.xaxis.set_label_position("top")
        heights = [self._corner(row, 0)[0] + self.height / 2 for row in range(len(self._rows))]
        ax.set_yticks(heights, [name for name, _ in self._rows])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        return ax

    def _draw_mark(self, ax: Axes, row: int, column: int, x: float, y: float, text: str) -> None:
        top, left = self._corner(row, column)
        at = left + x * self.width - 0.5, top + y * self.height - 0.5
        halo = [withStroke(linewidth=1.6, foreground="black")]
        if text:
            ax.text(
                *at, text, color="white", ha="center", va="center", fontsize=SMALLEST_TEXT,
                path_effects=halo,
            )  # fmt: skip
        else:
            ax.plot(
                *at, marker="o", ms=3.5, mew=0.8, mfc="none", mec="white", path_effects=halo,
                clip_on=False,
            )  # fmt: skip
