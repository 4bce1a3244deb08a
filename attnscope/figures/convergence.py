"""Figures 2 and A3 of the paper, from the table of a convergence run."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from attnscope import plots
from attnscope.figures.layout import note, panels, shared_legend
from attnscope.figures.registry import draws

_MOST_PANELS = 8


@draws("convergence", "records", name="figure2")
def figure_2(records: pd.DataFrame) -> Figure:
    """Mean distance between consecutive outputs over the steps, absolute and relative."""
    records = _moving(records)
    figure, axes = panels(2, columns=2, height=1.85, extra=0.2)
    for ax, metric in zip(axes, ("l2", "relative"), strict=True):
        plots.convergence(records, metric=metric, ax=ax)
        ax.set_ylim(bottom=0)
    shared_legend(figure, axes, columns=2)
    return figure


@draws("convergence", "records", name="figureA3")
def figure_a3(records: pd.DataFrame) -> Figure:
    """A panel for each of up to eight sites: of every kind some, spread over the data flow."""
    kinds = records.drop_duplicates("site").set_index("site")["kind"].astype(str)
    share = max(1, _MOST_PANELS // kinds.nunique())
    chosen = [site for kind in sorted(set(kinds)) for site in _spread(kinds[kinds == kind], share)]
    figure, axes = panels(len(chosen), columns=2, height=0.95, sharex=True)
    for index, (ax, site) in enumerate(zip(axes, chosen, strict=True)):
        plots.convergence_by_site(records, site, ax=ax)
        ax.set_ylim(bottom=0)
        if index % 2:
            ax.set_ylabel("")
        if index + 2 < len(chosen):
            ax.set_xlabel("")
    shared_legend(figure, axes, columns=3)
    if len(chosen) < len(kinds):
        note(figure, f"{len(chosen)} of {len(kinds)} sites, spread over the data flow")
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


@draws("convergence", "records")
def heatmap(records: pd.DataFrame) -> Figure:
    """Relative change of all sites at all steps."""
    count = records["site"].nunique()
    height = min(8.0, 0.9 + 0.115 * count) if count <= 40 else 4.0
    figure, ax = plt.subplots(figsize=(plots.COLUMN_WIDTH, max(height, 1.6)))
    plots.convergence_heatmap(records, ax=ax)
    return figure
