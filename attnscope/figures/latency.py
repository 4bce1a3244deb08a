"""Where the time goes (Figure 1a of the paper), what saves it, and what the saving costs in quality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from attnscope import plots
from attnscope.measures import MEASURES

_PANELS, _MOST_PANELS = ("all", "kid", "clip", "ssim", "fid"), 3


def breakdown(table: pd.DataFrame) -> Figure:
    """Cross-attention, self-attention and the rest, of every arm."""
    height = 0.95 + 0.26 * table["arm"].nunique()
    figure, ax = plt.subplots(figsize=(plots.TEXT_WIDTH, height))
    plots.time_breakdown(table, ax=ax)
    return figure


def attribution(table: pd.DataFrame) -> Figure | None:
    """What each part of the plan saves alone; ``None`` if it has no parts."""
    if table.empty:
        return None
    figure, ax = plt.subplots(figsize=(plots.TEXT_WIDTH, 1.9))
    plots.saved_alone(table, ax=ax)
    return figure


def frontier(table: pd.DataFrame) -> Figure | None:
    """Speed-up against three measures at most; ``None`` if no images were judged."""
    measures = [name for name in _PANELS if name in set(table["measure"])][:_MOST_PANELS]
    if not measures:
        return None
    count = len(measures)
    rows = -(-(table["arm"].nunique()) // 3)
    figure, axes = plt.subplots(
        1, count, squeeze=False,
        figsize=(plots.TEXT_WIDTH, plots.TEXT_WIDTH * 0.36 + 0.15 * rows),
    )  # fmt: skip
    for ax, measure in zip(axes[0], measures, strict=True):
        plots.frontier(table, measure, label=_label(table, measure), ax=ax)
    named: dict[str, Any] = {}
    for ax in axes[0]:
        named |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    names = sorted(named, key=lambda name: (name[1:3] != "  ", name))
    figure.legend(
        [named[name] for name in names], names, loc="outside lower center", ncols=3,
        handletextpad=0.4, columnspacing=1.2,
    )  # fmt: skip
    return figure


def _label(table: pd.DataFrame, measure: str) -> str:
    row = table[table["measure"] == measure].iloc[0]
    heading = MEASURES[measure].heading
    if measure == "all":
        heading = "Captions drawn as asked ↑"
    if not row["features"]:
        return heading
    return f"{heading} ({row['features'].split(',')[0]}, n = {row['n']:,})"


def arms_latex(arms: pd.DataFrame) -> str:
    """The table of arms for a paper, with ``booktabs``; those that did not run are left out.

    Args:
        arms: of a run, ``arms.parquet``.
    """
    ran = arms.dropna(subset=["seconds"])
    shown = pd.DataFrame(
        {
            "Arm": ran["arm"],
            "s per image": [_spread(row, "seconds", ".3g") for row in ran.to_dict("records")],
            "Speed-up": [_spread(row, "speedup", ".3f") for row in ran.to_dict("records")],
            "Ideal": ran["ideal"],
            "Of the ideal": ran["of_ideal"],
            "Kept (MB)": ran["kept_mb"],
            "Extra memory (MB)": ran["extra_mb"].round(1) + 0.0,  # no -0.0
        }
    )
    styler = shown.style.hide(axis="index").format(escape="latex")
    styler = styler.format("{:.3f}", subset=["Ideal", "Of the ideal"], na_rep="--")
    styler = styler.format("{:.1f}", subset=["Kept (MB)", "Extra memory (MB)"], na_rep="--")
    text: str = styler.to_latex(hrules=True, column_format="lllrrrr")
    return text


def _spread(row: Mapping[Any, Any], name: str, form: str) -> str:
    value, low, high = (f"{row[key]:{form}}" for key in (name, f"{name}_low", f"{name}_high"))
    return f"{value} ({low} to {high})"


FIGURES = {
    "breakdown": ("parts", breakdown),
    "attribution": ("attribution", attribution),
    "frontier": ("frontier", frontier),
}
"""File name to the table and the function that draws it."""
