"""Where the time goes, what saves it, and what speed costs in quality."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter

from attnscope.plots.costs import SAVING_COLORS, SAVING_HATCHES, known_parts
from attnscope.plots.letters import place_letters
from attnscope.plots.style import (
    CROSSED,
    DOTTED,
    KIND_COLORS,
    LINE_COLORS,
    MARKERS,
    PLAIN,
    SLANTED,
    SMALLEST_TEXT,
    bare_rows,
    label_bars,
    letter,
    replacing,
)
from attnscope.plots.tidy import of_measure, require, require_numbers, require_one_each
from attnscope.runs.columns import REFERENCE

_PARTS = {
    "cross": ("Cross-attention", KIND_COLORS["cross"], DOTTED),
    "self": ("Self-attention", KIND_COLORS["self"], SLANTED),
    "joint": ("Joint attention", KIND_COLORS["joint"], CROSSED),
    "other": ("Rest of the denoiser", "#b4b4b4", PLAIN),
    "outside": ("Outside of the denoiser", "#ededed", PLAIN),
}
"""Name, colour and hatch of where the time goes."""


def time_breakdown(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Where the time goes: a stacked bar per arm (the paper's Figure 1a).

    Args:
        table: from ``attnscope bench`` (``parts.parquet``).
        ax: where to draw; ``None`` is the current axes, whose bars are replaced.

    Raises:
        ValueError: the table lacks a column, has a part twice in an arm, or one that is not known or
            took less than no time.
    """
    require(table, "arm", "part", "seconds", "share")
    require_numbers(table, "seconds")
    require_one_each(table, ["arm", "part"])
    known_parts(table["part"], list(_PARTS))
    if (table["seconds"] < 0).any():
        raise ValueError("a part took less than no seconds, which no stacked bar can show")
    ax = ax or plt.gca()
    arms = list(dict.fromkeys(table["arm"]))
    wide = table.pivot(index="arm", columns="part", values="seconds").loc[arms].fillna(0)
    with replacing(ax):
        _draw_breakdown(wide, ax)
    bare_rows(ax, columns=2)
    return ax


def _draw_breakdown(wide: pd.DataFrame, ax: Axes) -> None:
    longest, left = wide.sum(axis=1).max(), np.zeros(len(wide))
    for part in [name for name in _PARTS if name in wide]:
        name, color, hatch = _PARTS[part]
        values = wide[part].to_numpy()
        bars = ax.barh(
            list(wide.index), values, left=left, height=0.7, color=color, hatch=hatch, label=name
        )
        shares = wide[part] / wide.sum(axis=1)
        texts = [f"{share:.0%}" if value > 0.09 * longest else ""
                 for share, value in zip(shares, values, strict=True)]  # fmt: skip
        label_bars(ax, bars, texts, color)
        left += values
    ax.set_ylim(len(wide) - 0.4, -0.6)
    ax.set_xlabel("Seconds per image")


def saved_alone(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """What each part of a plan saves alone, stacked, and all of them together (a diamond).

    Below a bar stands the range of each part's end, in its colour; the diamond has its range, too. A part that saved less than
    nothing stands left of zero. What the parts sum to is written at their end: more than all together,
    since one saves what another saves as well.

    Args:
        table: from ``attnscope bench`` (``attribution.parquet``).
        ax: where to draw; ``None`` is the current axes, whose bars are replaced.

    Raises:
        ValueError: the table lacks a column, or has a part twice on one basis.
    """
    require(table, "basis", "saving", "saved", "low", "high")
    require_numbers(table, "saved")
    require_one_each(table, ["basis", "saving"])
    whole = table[~table["saving"].isin(SAVING_COLORS)]
    if whole["saving"].nunique() > 1:
        known_parts(whole["saving"], [*SAVING_COLORS, whole["saving"].iloc[-1]])
    ax = ax or plt.gca()
    bases = list(dict.fromkeys(table["basis"]))
    with replacing(ax):
        _draw_parts(table, bases, ax)
        for row in whole.to_dict("records"):
            _draw_whole(row, bases.index(row["basis"]), ax)
        if (table["saved"] < 0).any() or (table["low"] < 0).any():
            ax.axvline(0, color="black", lw=0.7)
    ax.set_yticks(np.arange(len(bases)) - 0.14, bases)
    ax.set_ylim(len(bases) - 0.35, -0.4)
    low, high = ax.get_xlim()
    ax.set_xlim(low, high + 0.3 * (high - max(low, 0.0)))  # for what is written at the ends
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set_xlabel("Saved of the run without the plan")
    bare_rows(ax, columns=2)
    return ax


def _draw_parts(table: pd.DataFrame, bases: list[str], ax: Axes) -> None:
    """Bars of every part, from zero to both sides, each with its range."""
    ends = {
        name: table.pivot(index="basis", columns="saving", values=name).loc[bases]
        for name in ("saved", "low", "high")
    }
    gains, losses = np.zeros(len(bases)), np.zeros(len(bases))
    parts = [name for name in SAVING_COLORS if name in ends["saved"]]
    for number, part in enumerate(parts):
        values, color = ends["saved"][part].fillna(0).to_numpy(), SAVING_COLORS[part]
        left = np.where(values < 0, losses, gains)
        bars = ax.barh(
            np.arange(len(bases)) - 0.14, values, left=left, height=0.36, color=color,
            hatch=SAVING_HATCHES[part], label=part,
        )  # fmt: skip
        texts = [f"{value:.1%}" if value > 0.06 else "" for value in values]
        label_bars(ax, bars, texts, color)
        for place, (start, low, high) in enumerate(
            zip(left, ends["low"][part], ends["high"][part], strict=True)
        ):
            if high > low:  # what was measured; arithmetic has no range
                _range(ax, start + low, start + high, place + 0.12 + 0.09 * number, color)
        gains, losses = gains + values.clip(min=0), losses + values.clip(max=0)
    if len(parts) > 1:
        for place, total in enumerate(gains + losses):
            ax.annotate(
                f"sum {total:.1%}", (gains[place], place - 0.14), xytext=(3, 0),
                textcoords="offset points", va="center_baseline", fontsize=SMALLEST_TEXT,
                path_effects=[withStroke(linewidth=2, foreground="white")],
            )  # fmt: skip


def _draw_whole(row: dict[Any, Any], place: int, ax: Axes) -> None:
    """All parts together, under the bar of the single ones."""
    below = place + 0.53
    if row["high"] > row["low"]:
        _range(ax, row["low"], row["high"], below)
    ax.plot(row["saved"], below, "D", color="white", mec="black", ms=4, mew=0.9)
    ax.annotate(
        f"{row['saving']} {row['saved']:.1%}", (max(row["high"], row["saved"]), below),
        xytext=(6, 0), textcoords="offset points", va="center_baseline", fontsize=SMALLEST_TEXT,
    )  # fmt: skip


def _range(ax: Axes, low: float, high: float, place: float, color: str = "black") -> None:
    """From the least to the most, with ends."""
    ax.plot([low, high], [place, place], color=color, lw=1.1, marker="|", ms=3.5, mew=1.1)


def frontier(table: pd.DataFrame, measure: str, *, label: str = "", ax: Axes | None = None) -> Axes:
    """Speed-up against a measure of quality: every arm a point with a letter.

    Across a point stands the range of its speed-up. What stands along it is the same for a whole plot,
    whose title says which: the 95 % interval of the difference to the baseline, of the same prompts
    and seeds, or, of measures and numbers of images for which no difference is tested, that of the
    value.

    Args:
        table: from ``attnscope bench --frontier`` (``frontier.parquet``).
        measure: one of its measures.
        label: of the measure's axis.
        ax: where to draw; ``None`` is the current axes, whose points are replaced. Its handles name the
            letters.

    Raises:
        ValueError: the table lacks a column or the measure, mixes features or counts, or has an arm
            twice.
    """
    require(table, "speedup", "speedup_low", "speedup_high", "difference", "difference_low", "arm")
    chosen = of_measure(table.assign(trajectory=table["arm"]), measure)
    require_one_each(chosen, ["arm"])
    ax = ax or plt.gca()
    paired = bool(chosen["difference_low"].notna().any())
    with replacing(ax):
        for row in chosen.to_dict("records"):
            if row["arm"] == REFERENCE:  # what perfect images would score
                ax.axhline(row["value"], color="black", lw=0.7, ls=(0, (3, 3)), label=REFERENCE)
            elif np.isnan(row["speedup"]):
                ax.plot([], [], " ", label=f"{row['arm']} (not timed, not drawn)")
            else:
                _draw_point(row, list(dict.fromkeys(table["arm"])).index(row["arm"]), paired, ax)
    ax.set_xlabel("Speed-up (bars: range of the rounds)")
    ax.set_ylabel(label or measure)
    ax.set_title(_meaning(chosen, paired), loc="right", fontsize=SMALLEST_TEXT)
    place_letters(ax)
    return ax


def _meaning(chosen: pd.DataFrame, paired: bool) -> str:
    """What stands along the points of a frontier, in words."""
    if paired:
        return "along: 95 % interval of the difference to the baseline"
    if chosen["low"].notna().any():
        return "along: 95 % interval of the value (no difference is tested)"
    return "along: no interval is known"


def _draw_point(row: dict[Any, Any], place: int, paired: bool, ax: Axes) -> None:
    x, y = row["speedup"], row["value"]
    along = [row["low"], row["high"]]
    if paired:
        base = y - row["difference"]  # missing at the baseline, which has no interval then
        along = [base + row["difference_low"], base + row["difference_high"]]
    color = LINE_COLORS[place % len(LINE_COLORS)]
    marker = MARKERS[place // len(LINE_COLORS) % len(MARKERS)]
    ends = (([row["speedup_low"], row["speedup_high"]], [y, y]), ([x, x], along))
    for line in ends:
        ax.plot(*line, color=color, lw=0.7, alpha=0.55, zorder=1)
    name = letter(place)
    ax.plot(
        x, y, marker, color=color, mec="white", mew=0.4, ms=max(3.5, 6 - 0.25 * place), label=f"{name}  {row['arm']}",
    )  # fmt: skip
    ax.annotate(
        name, (x, y), xytext=(0, 6), textcoords="offset points", ha="center",
        va="center_baseline", fontsize=SMALLEST_TEXT, zorder=5,
        arrowprops={"arrowstyle": "-", "lw": 0.4, "color": "0.3", "shrinkA": 0, "shrinkB": 0},
        path_effects=[withStroke(linewidth=1.5, foreground="white")],
    )  # fmt: skip
