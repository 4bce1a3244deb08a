"""Where the time goes, what saves it, and what speed costs in quality."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from attnscope.plots.costs import SAVING_COLORS
from attnscope.plots.style import KIND_COLORS, bare_rows
from attnscope.plots.tidy import of_measure, require

_PART_COLORS = {**KIND_COLORS, "other": "#949494", "outside": "#dcdcdc"}
_PART_NAMES = {
    "cross": "Cross-attention",
    "self": "Self-attention",
    "joint": "Joint attention",
    "other": "Rest of the denoiser",
    "outside": "Outside of the denoiser",
}


def time_breakdown(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Where the time goes: a stacked bar per arm (the paper's Figure 1a).

    Args:
        table: from ``attnscope bench`` (``parts.parquet``).
        ax: where to draw; ``None`` is the current axes.

    Raises:
        ValueError: the table lacks a column.
    """
    require(table, "arm", "part", "seconds", "share")
    ax = ax or plt.gca()
    arms = list(dict.fromkeys(table["arm"]))
    wide = table.pivot(index="arm", columns="part", values="seconds").loc[arms].fillna(0)
    longest = wide.sum(axis=1).max()
    left = np.zeros(len(wide))
    for part in [name for name in _PART_COLORS if name in wide]:
        values = wide[part].to_numpy()
        bars = ax.barh(
            arms, values, left=left, height=0.7, color=_PART_COLORS[part], label=_PART_NAMES[part]
        )
        shares = wide[part] / wide.sum(axis=1)
        texts = [f"{share:.0%}" if value > 0.05 * longest else ""
                 for share, value in zip(shares, values, strict=True)]  # fmt: skip
        ax.bar_label(bars, texts, label_type="center", fontsize=6.5,
                     color="black" if part == "outside" else "white")  # fmt: skip
        left += values
    ax.invert_yaxis()
    ax.set_xlabel("Seconds per image")
    bare_rows(ax, columns=wide.shape[1])
    return ax


def saved_alone(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """What each part of a plan saves alone, stacked, and all of them together (a diamond).

    The line through a diamond is its range; a part that saved less than nothing has no bar.

    Args:
        table: from ``attnscope bench`` (``attribution.parquet``).
        ax: where to draw; ``None`` is the current axes.

    Raises:
        ValueError: the table lacks a column.
    """
    require(table, "basis", "saving", "saved", "low", "high")
    ax = ax or plt.gca()
    wide = table.pivot_table(index="basis", columns="saving", values="saved", sort=False)
    left = np.zeros(len(wide))
    parts = [name for name in SAVING_COLORS if name in wide]
    for part in parts:
        values = wide[part].clip(lower=0).to_numpy()
        bars = ax.barh(
            wide.index, values, left=left, height=0.5, color=SAVING_COLORS[part], label=part
        )
        texts = [f"{value:.1%}" if value > 0.02 else "" for value in values]
        ax.bar_label(bars, texts, label_type="center", fontsize=6.5, color="white")
        left += values
    whole = table[~table["saving"].isin(SAVING_COLORS)]
    for row in whole.to_dict("records"):
        place = list(wide.index).index(row["basis"])
        below = place + 0.42
        ax.plot([row["low"], row["high"]], [below, below], color="black", lw=0.8)
        ax.plot(row["saved"], below, "D", color="white", mec="black", ms=4, mew=0.9)
        ax.annotate(
            f"{row['saving']} {row['saved']:.1%}", (row["high"], below), xytext=(6, 0),
            textcoords="offset points", va="center_baseline", fontsize=6.5,
        )  # fmt: skip
    ax.set_ylim(-0.4, len(wide) - 0.35)
    ax.invert_yaxis()
    ax.set_xlim(left=min(0.0, whole["low"].min()))
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set_xlabel("Saved of the run without the plan, by each part alone")
    bare_rows(ax, columns=len(parts))
    return ax


def frontier(table: pd.DataFrame, measure: str, *, label: str = "", ax: Axes | None = None) -> Axes:
    """Speed-up against a measure of quality: every arm a point with a letter.

    Across a point stands the range of its speed-up, along it the 95 % interval of its difference to
    the baseline, of the same prompts and seeds; where that is not known, of its value.

    Args:
        table: from ``attnscope bench --frontier`` (``frontier.parquet``).
        measure: one of its measures.
        label: of the measure's axis.
        ax: where to draw; ``None`` is the current axes. Its handles name the letters.

    Raises:
        ValueError: the table lacks a column or the measure, or mixes features or counts.
    """
    require(table, "speedup", "speedup_low", "speedup_high", "difference", "difference_low")
    chosen = of_measure(table.assign(trajectory=table["arm"]), measure)
    ax = ax or plt.gca()
    arms = list(dict.fromkeys(table["arm"]))
    colors = sns.color_palette("husl", len(arms))
    paired = chosen["difference_low"].notna().any()
    for row in chosen.to_dict("records"):
        place = arms.index(str(row["arm"]))
        color, letter = colors[place], chr(ord("a") + place)
        if np.isnan(row["speedup"]):  # what perfect images would score
            ax.axhline(row["value"], color="black", lw=0.7, ls=(0, (3, 3)), label=row["arm"])
            continue
        x, y = row["speedup"], row["value"]
        along = [row["low"], row["high"]]
        if paired:
            base = y - row["difference"]  # missing at the baseline, which has no interval then
            along = [base + row["difference_low"], base + row["difference_high"]]
        ends = (([row["speedup_low"], row["speedup_high"]], [y, y]), ([x, x], along))
        for line in ends:
            ax.plot(*line, color=color, lw=0.7, alpha=0.6, zorder=1)
        ax.plot(x, y, "o", color=color, mec="white", mew=0.4, ms=7, label=f"{letter}  {row['arm']}")
        ax.annotate(letter, (x, y), ha="center", va="center_baseline", fontsize=5.5, color="white")
    ax.set_xlabel("Speed-up")
    ax.set_ylabel(label or measure)
    return ax
