"""What attention costs and what a plan saves of it, from the tables of :mod:`attnscope.cost`."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from attnscope import plots
from attnscope.figures import layout
from attnscope.figures.layout import panels, shared_legend
from attnscope.figures.registry import draws


@draws("cost", "attribution")
def attribution(table: pd.DataFrame, *, by: str = "convention") -> Figure:
    """Which part of a plan saves how much.

    Args:
        table: of :func:`attnscope.cost.plans.attribution`, or several with a column that tells them apart.
        by: the column that gets a bar for each of its values.
    """
    height = 0.9 + 0.22 * table[by].nunique()
    figure, ax = plt.subplots(figsize=(plots.COLUMN_WIDTH, height))
    plots.cost_attribution(table, by=by, ax=ax)
    return figure


@draws("cost", "scaling")
def scaling(table: pd.DataFrame, *, title: str = "") -> Figure:
    """What a call costs against resolution and against the length of the text.

    Args:
        table: of :func:`attnscope.cost.resolutions.scaling`; of a run, with the column ``model``.
        title: above the figure; by default the model, where the table names it.
    """
    if not title and "model" in table:
        title = str(table["model"].iloc[0])
    figure, axes = panels(2, columns=1, height=1.7)
    for ax, axis in zip(axes, ("resolution", "tokens"), strict=True):
        plots.cost_scaling(table, axis=axis, ax=ax)
    shared_legend(figure, axes, columns=2)
    layout.title(figure, title)
    return figure
