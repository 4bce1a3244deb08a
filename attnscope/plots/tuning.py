"""What staleness costs at which noise level, and what plans make of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from attnscope.plots.style import (
    LEVEL,
    LINE_COLORS,
    SMALLEST_TEXT,
    legend_above,
    paper_style,
    replacing,
)
from attnscope.plots.tidy import require

DAMAGE = r"$|x' - x|^2 / |x|^2$"
_CURVES: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {
    ("window", "."): ("one step stale, repeated", {"color": LINE_COLORS[1], "marker": "o"}),
    ("window", "~"): ("one step stale, forecast", {"color": LINE_COLORS[3], "marker": "s"}),
    ("guidance", "c"): ("one step without guidance", {"color": LINE_COLORS[2], "marker": "^"}),
    ("guidance", "d"): ("guidance continued", {"color": LINE_COLORS[0], "marker": "v"}),
}


def staleness(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """What one stale step, or one without guidance, does to the latents behind it, over log-SNR.

    Args:
        table: ``calibration`` of a tune run: ``what``, ``group``, ``letter``, ``log_snr``, ``length``,
            ``prompt_id``, ``damage``. Of families of modules, that of all is drawn.
        ax: where to draw; ``None`` is the current axes.

    Returns:
        The axes: the geometric mean over prompts, and a band from the smallest to the largest.
    """
    require(table, "what", "group", "letter", "log_snr", "length", "prompt_id", "damage")
    with paper_style():
        ax = ax or plt.gca()
        with replacing(ax):
            alike = (table["what"] != "window") | (table["group"] == "all")
            ones = table[alike & (table["length"] == 1) & (table["damage"] > 0)]
            for (what, letter), (label, look) in _CURVES.items():
                chosen = ones[(ones["what"] == what) & (ones["letter"] == letter)]
                if len(chosen):
                    _curve(chosen, label, look, ax)
            ax.set_yscale("log")
            ax.set_xlabel(LEVEL)
            ax.set_ylabel(DAMAGE)
            legend_above(ax, columns=2)
    return ax


def _curve(table: pd.DataFrame, label: str, look: Mapping[str, Any], ax: Axes) -> None:
    by_level = table.groupby("log_snr")["damage"]
    middle = by_level.agg(lambda values: float(np.exp(np.log(values).mean())))
    ax.plot(middle.index, middle, label=label, markersize=2.5, linewidth=1, **look)
    low, high = by_level.min(), by_level.max()
    ax.fill_between(middle.index, low, high, color=look["color"], alpha=0.15, linewidth=0)


def stale_modules(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Which modules matter when: what one stale step of each group does to the latents behind it.

    Args:
        table: ``calibration`` of a tune run; its rows of ``module`` are drawn.
        ax: where to draw; ``None`` is the current axes.

    Returns:
        The axes, with a row a group of modules in the order of data flow, the geometric mean over
        prompts as colour.

    Raises:
        ValueError: there are no such rows.
    """
    require(table, "what", "group", "log_snr", "prompt_id", "damage")
    found = table[(table["what"] == "module") & (table["damage"] > 0)]
    if found.empty:
        raise ValueError("the table has no rows of 'module': nothing was calibrated by itself")
    logs = found.assign(damage=np.log10(found["damage"].clip(lower=1e-12)))
    grid = logs.pivot_table(index="group", columns="log_snr", values="damage", sort=False)
    with paper_style():
        ax = ax or plt.gca()
        with replacing(ax):
            values = 10 ** grid.to_numpy()
            levels = grid.columns.to_numpy(dtype=float)
            edges = _edges(levels)
            rows = np.arange(len(grid) + 1)
            norm = LogNorm(np.nanmin(values), np.nanmax(values))
            drawn = ax.pcolormesh(edges, rows, values, norm=norm, cmap="viridis", rasterized=True)
            ax.set_yticks(
                rows[:-1] + 0.5, [str(name) for name in grid.index], fontsize=SMALLEST_TEXT
            )
            ax.invert_yaxis()
            ax.set_xlabel(LEVEL)
            figure = ax.get_figure()
            assert figure is not None, "axes are part of a figure"
            bar = figure.colorbar(drawn, ax=ax, location="top", aspect=40, pad=0.02)
            bar.set_label(f"{DAMAGE} behind one stale step")
    return ax


def _edges(levels: np.ndarray) -> np.ndarray:
    """Borders of cells around levels."""
    if len(levels) == 1:
        return np.array([levels[0] - 0.5, levels[0] + 0.5])
    middles = (levels[1:] + levels[:-1]) / 2
    first, last = 2 * levels[0] - middles[0], 2 * levels[-1] - middles[-1]
    return np.concatenate([[first], middles, [last]])


def candidates(table: pd.DataFrame, measure: str = "ssim", *, ax: Axes | None = None) -> Axes:
    """Every plan that was measured: how fast it is, and what it does to the images.

    Args:
        table: ``candidates`` of a tune run: ``ideal``, and the measure with ``_error``.
        measure: ``ssim``, ``psnr`` or ``damage``.
        ax: where to draw; ``None`` is the current axes.

    Returns:
        The axes, with those that none is both faster and better than as a line.
    """
    require(table, "ideal", measure, f"{measure}_error")
    with paper_style():
        ax = ax or plt.gca()
        with replacing(ax):
            worse = -1 if measure == "damage" else 1
            ordered = table.sort_values("ideal", ascending=False)
            best = (worse * ordered[measure]).cummax()
            front = ordered[(worse * ordered[measure] >= best)]
            ax.errorbar(
                table["ideal"], table[measure], yerr=table[f"{measure}_error"], fmt="o", markersize=2.5,
                color="#9a9a9a", elinewidth=0.5, label="a plan, ± 1 standard error",
            )  # fmt: skip
            ax.plot(
                front["ideal"], front[measure], color=LINE_COLORS[1], marker="o", markersize=3,
                linewidth=1, label="none is faster and better",
            )  # fmt: skip
            if measure == "damage":
                ax.set_yscale("log")
            ax.set_xlabel("ideal speed-up (by multiply-accumulates)")
            ax.set_ylabel(
                {"ssim": "SSIM to $S$", "psnr": "PSNR to $S$ (dB)", "damage": DAMAGE}[measure]
            )
            legend_above(ax, columns=2)
    return ax
