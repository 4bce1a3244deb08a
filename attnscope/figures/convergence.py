"""Figures 2 and A4 of the paper, from the table of a convergence run."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from attnscope import plots

_MOST_PANELS = 8


def figure_2(records: pd.DataFrame) -> Figure:
    """Mean distance between consecutive outputs over the steps, absolute and relative."""
    records = _moving(records)
    figure, axes = plt.subplots(1, 2, figsize=(plots.TEXT_WIDTH, plots.TEXT_WIDTH * 0.36))
    for ax, metric in zip(axes, ("l2", "relative"), strict=True):
        plots.convergence(records, metric=metric, ax=ax)
        ax.set_ylim(bottom=0)
    axes[1].get_legend().remove()
    return figure


def figure_a4(records: pd.DataFrame) -> Figure:
    """A panel for each of up to eight sites: of every kind some, spread over the data flow."""
    kinds = records.drop_duplicates("site").set_index("site")["kind"].astype(str)
    share = _MOST_PANELS // kinds.nunique()
    chosen = [site for kind in sorted(set(kinds)) for site in _spread(kinds[kinds == kind], share)]
    columns = min(4, len(chosen))
    rows = -(-len(chosen) // columns)
    figure, axes = plt.subplots(
        rows, columns, squeeze=False, sharex=True,
        figsize=(plots.TEXT_WIDTH, 0.2 + 1.5 * rows),
    )  # fmt: skip
    for index, ax in enumerate(axes.flat):
        if index >= len(chosen):
            ax.set_visible(False)
            continue
        plots.convergence_by_site(records, chosen[index], ax=ax)
        ax.set_ylim(bottom=0)
        if index > 0:
            ax.get_legend().remove()
        if index % columns:
            ax.set_ylabel("")
        if index + columns < len(chosen):
            ax.set_xlabel("")
    return figure


def _moving(records: pd.DataFrame) -> pd.DataFrame:
    """Without the kinds of attention that never change: a flat line at zero is no finding."""
    largest = records.groupby("kind", observed=True)["relative"].transform("max")
    moving: pd.DataFrame = records[largest > 1e-6]
    return moving if len(moving) else records


def _spread(sites: pd.Series[str], count: int) -> list[str]:
    """Up to ``count`` names of the index, from the first to the last."""
    places = np.unique(np.linspace(0, len(sites) - 1, count).round().astype(int))
    return [str(sites.index[place]) for place in places]


def heatmap(records: pd.DataFrame) -> Figure:
    """Relative change of all sites at all steps."""
    count = records["site"].nunique()
    height = min(8.0, 1.0 + 0.13 * count) if count <= 40 else 4.5
    figure, ax = plt.subplots(figsize=(plots.TEXT_WIDTH * 0.75, height))
    plots.convergence_heatmap(records, ax=ax)
    return figure


FIGURES = {
    "figure2": ("records", figure_2),
    "figureA4": ("records", figure_a4),
    "heatmap": ("records", heatmap),
}
"""File name to the table and the function that draws it."""
