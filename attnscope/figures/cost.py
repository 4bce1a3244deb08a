"""What attention costs and what a plan saves of it, from the tables of :mod:`attnscope.cost`."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from attnscope import plots
from attnscope.runs import write_whole


def save_attribution(table: pd.DataFrame, path: Path, *, by: str = "convention") -> list[Path]:
    """Draw which part of a plan saves how much.

    Args:
        table: of :func:`attnscope.cost.attribution`, or several with a column that tells them apart.
        path: of the files, without a suffix.
        by: the column that gets a bar for each of its values.

    Returns:
        The PNG file; a PDF stands beside it.
    """
    mpl.use("agg")
    with plots.paper_style():
        height = 0.75 + 0.26 * table[by].nunique()
        figure, ax = plt.subplots(figsize=(plots.TEXT_WIDTH, height))
        plots.cost_attribution(table, by=by, ax=ax)
        return _saved(figure, path)


def save_scaling(table: pd.DataFrame, path: Path, *, title: str = "") -> list[Path]:
    """Draw what a call costs against resolution and against the length of the text.

    Args:
        table: of :func:`attnscope.cost.scaling`.
        path: of the files, without a suffix.
        title: above the figure.

    Returns:
        The PNG file; a PDF stands beside it.
    """
    mpl.use("agg")
    with plots.paper_style():
        figure, axes = plt.subplots(
            1, 2, figsize=(plots.TEXT_WIDTH, plots.TEXT_WIDTH * 0.38), sharey=True
        )
        for ax, axis in zip(axes, ("resolution", "tokens"), strict=True):
            plots.cost_scaling(table, axis=axis, ax=ax)
        axes[1].set_ylabel("")
        axes[1].get_legend().remove()
        if title:
            figure.suptitle(title)
        return _saved(figure, path)


def _saved(figure: Figure, path: Path) -> list[Path]:
    for suffix in (".pdf", ".png"):
        write_whole(path.with_suffix(suffix), figure.savefig)
    plt.close(figure)
    return [path.with_suffix(".png")]
