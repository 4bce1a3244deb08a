"""What the figures share: panels in one column, one legend for all of them, notes below.

A figure is as wide as one column of a paper, so that its text stays as large as it says.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attnscope import plots

_CHARACTERS = 72
"""Of a line of the smallest text in one column."""


def panels(
    count: int, *, columns: int, height: float, extra: float = 0.35, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of one column's width with panels in rows.

    Args:
        count: of panels; what is left of the last row stays empty.
        columns: side by side.
        height: of a row, in inches.
        extra: room for a legend and notes, in inches.
        options: of ``plt.subplots``.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    figure, axes = plt.subplots(
        rows, columns, squeeze=False, figsize=(plots.COLUMN_WIDTH, extra + height * rows), **options
    )
    for ax in axes.flat[count:]:
        ax.set_visible(False)
        above = axes.flat[list(axes.flat).index(ax) - columns]
        above.tick_params(labelbottom=True)  # under which no panel is
    return figure, list(axes.flat[:count])


def image_cells(
    rows: Sequence[str], columns: Sequence[str], *, more: float = 0.0
) -> tuple[Figure, Any]:
    """A figure of one column's width with named rows and columns of empty cells for images.

    Args:
        rows: their names, at the left.
        columns: their names, above.
        more: room below, in inches.

    Returns:
        The figure, and its axes ``[rows, columns]``.
    """
    cell = min(0.8, (plots.COLUMN_WIDTH - 0.75) / len(columns))
    figure, axes = plt.subplots(
        len(rows), len(columns), squeeze=False,
        figsize=(plots.COLUMN_WIDTH, 0.75 + (cell + 0.03) * len(rows) + more),
    )  # fmt: skip
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    for ax, name in zip(axes[:, 0], rows, strict=True):
        ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=plots.SMALLEST_TEXT)
    for ax, name in zip(axes[0], columns, strict=True):
        ax.set_title(name, fontsize=plots.SMALLEST_TEXT)
    return figure, axes


def shared_legend(figure: Figure, axes: Sequence[Axes], *, columns: int, **options: Any) -> None:
    """One legend above the figure instead of one in every panel, each name once."""
    named: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*plots.once(ax), strict=True):
            named.setdefault(label, handle)
        legend = ax.get_legend()
        if legend is not None:
            legend.remove()
    if named:
        figure.legend(
            list(named.values()), list(named), ncols=columns, loc="outside upper center",
            handletextpad=0.5, columnspacing=1.2, **options,
        )  # fmt: skip


def note(figure: Figure, text: str) -> None:
    """Small print under a figure; a second note goes below the first."""
    before = figure.get_supxlabel()
    lines = [*before.splitlines(), *textwrap.wrap(text, _CHARACTERS)]
    figure.supxlabel(
        "\n".join(lines), x=0.01, ha="left", fontsize=plots.SMALLEST_TEXT, linespacing=1.1
    )


def numbered(figure: Figure, captions: Sequence[str]) -> None:
    """Captions under a figure, by the numbers from 1 that its columns carry."""
    for number, caption in enumerate(captions, 1):
        note(figure, f"{number}  {caption}")


def title(figure: Figure, text: str) -> None:
    """A title over a figure and its legend, in as many lines as it takes."""
    lines = "\n".join(textwrap.wrap(text, 56))
    if figure.legends:
        figure.legends[0].set_title(lines)
    elif lines:
        figure.suptitle(lines)
