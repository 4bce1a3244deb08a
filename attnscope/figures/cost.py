"""What attention costs and what a plan saves of it, from the tables of :mod:`attnscope.cost`."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from attnscope import plots


def attribution(table: pd.DataFrame, *, by: str = "convention") -> Figure:
    """Which part of a plan saves how much.

    Args:
        table: of :func:`attnscope.cost.attribution`, or several with a column that tells them apart.
        by: the column that gets a bar for each of its values.
    """
    height = 0.75 + 0.26 * table[by].nunique()
    figure, ax = plt.subplots(figsize=(plots.TEXT_WIDTH, height))
    plots.cost_attribution(table, by=by, ax=ax)
    return figure


def scaling(table: pd.DataFrame, *, title: str = "") -> Figure:
    """What a call costs against resolution and against the length of the text.

    Args:
        table: of :func:`attnscope.cost.scaling`.
        title: above the figure.
    """
    figure, axes = plt.subplots(
        1, 2, figsize=(plots.TEXT_WIDTH, plots.TEXT_WIDTH * 0.38), sharey=True
    )
    for ax, axis in zip(axes, ("resolution", "tokens"), strict=True):
        plots.cost_scaling(table, axis=axis, ax=ax)
    axes[1].set_ylabel("")
    axes[1].get_legend().remove()
    if title:
        figure.suptitle(title)
    return figure
