"""What images lose without attention, by arm and by gate."""

from __future__ import annotations

import re
from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from attnscope.plots.curves import lines
from attnscope.plots.style import label_steps
from attnscope.plots.tidy import of_measure, require

TRAJECTORY_COLORS = {
    "S": "#4d4d4d",
    "S^F": "#0173b2",
    "S^L": "#d55e00",
    "S^F+gate": "#56b4e9",
    "S^L+gate": "#de8f05",
    "gate": "#029e73",
    "no guidance": "#cc78bc",
    "reference": "#a0a0a0",
}
"""What an ablation leaves of a trajectory (the paper's S^F: only first, S^L: only last)."""


def noise_mean(
    table: pd.DataFrame, *, value: str = "mean", hue: str = "branch", ax: Axes | None = None
) -> Axes:
    """Mean (or norm) of the predicted noise over the steps (the paper's Figure 3a).

    The band is one standard deviation over prompts.

    Args:
        table: of the observer ``NoiseMean``, or from ``attnscope ablate`` (``noise.parquet``), where
            prompts are averaged already.
        value: ``mean``, ``norm`` or ``rms``.
        hue: column that gets a line each: ``branch``, ``arm``, ...
        ax: where to draw; ``None`` is the current axes.

    Raises:
        ValueError: the table lacks a column.
    """
    require(table, value, hue, "step")
    ax = ax or plt.gca()
    if f"{value}_sd" in table:
        for arm, curve in table.groupby(hue, sort=False, observed=True):
            color = TRAJECTORY_COLORS.get(curve["trajectory"].iloc[0])
            mean, spread = curve[value], curve[f"{value}_sd"]
            (line,) = ax.plot(curve["step"], mean, color=color, label=math_name(str(arm)))
            ax.fill_between(
                curve["step"],
                mean - spread,
                mean + spread,
                color=line.get_color(),
                alpha=0.12,
                lw=0,
            )
    else:
        lines(table, value, hue, ax)
    name = "RMS" if value == "rms" else value.capitalize()
    label_steps(ax, f"{name} of predicted noise")
    ax.legend(title=None)
    return ax


def by_arm(
    table: pd.DataFrame,
    measure: str,
    *,
    arms: Sequence[str] | None = None,
    difference: bool = False,
    label: str = "",
    ax: Axes | None = None,
) -> Axes:
    """A measure of every arm of an ablation with its interval; the dashed line is S.

    Arms share prompts and noise, so intervals of values say little of their difference: a paired
    difference may be far from zero where two intervals overlap.

    Args:
        table: from ``attnscope ablate`` (``arms.parquet``), of one model, scheduler, number of
            steps and seed.
        measure: one of its measures.
        arms: from top to bottom; ``None`` is those of the measure. Those without it stay empty.
        difference: whether to draw the paired differences to S instead of values.
        label: of the axis.
        ax: where to draw; ``None`` is the current axes.

    Raises:
        ValueError: the table lacks a column or the measure, or mixes features or counts.
    """
    chosen = of_measure(table, measure)
    ax = ax or plt.gca()
    order = list(chosen["arm"] if arms is None else arms)
    columns = ["value", "low", "high"]
    if difference:
        columns = ["difference", "difference_low", "difference_high"]
        ax.axvline(0, color=TRAJECTORY_COLORS["S"], lw=0.7, ls=(0, (3, 3)), zorder=0)
    ends = chosen[columns].to_numpy(float)
    for arm, trajectory, (value, low, high) in zip(
        chosen["arm"], chosen["trajectory"], ends, strict=True
    ):
        place, color = order.index(arm), TRAJECTORY_COLORS[trajectory]
        ax.plot([low, high], [place, place], color=color, solid_capstyle="butt")
        ax.plot(value, place, "o", color=color, ms=4)
        if trajectory == "S" and not difference:
            ax.axvline(value, color=color, lw=0.7, ls=(0, (3, 3)), zorder=0)
    ax.set_yticks(range(len(order)), [math_name(name) for name in order])
    ax.set_ylim(len(order) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.ticklabel_format(axis="x", useOffset=False)
    ax.set_xlabel(label or measure)
    return ax


def by_gate(
    table: pd.DataFrame,
    measure: str,
    *,
    x: str = "gate",
    label: str = "",
    style: str = "o-",
    ax: Axes | None = None,
) -> Axes:
    """A measure against the gate, for what is left only before it (S^F) and only after it (S^L).

    Args:
        table: from ``attnscope ablate`` (``arms.parquet``) with several gates, of one model,
            scheduler, number of steps and seed.
        measure: one of its measures.
        x: ``gate`` in steps, or ``log_snr`` of x_t at the gate.
        label: of the measure's axis.
        style: of the lines; only solid ones have bands.
        ax: where to draw; ``None`` is the current axes.

    Raises:
        ValueError: the table lacks a column or the measure, or mixes features or counts.
    """
    chosen = of_measure(table, measure, x)
    ax = ax or plt.gca()
    solid = style.endswith("-") and not style.endswith("--")
    for _, full in chosen[chosen["trajectory"] == "S"].iterrows():
        color = TRAJECTORY_COLORS["S"]
        if solid:
            ax.axhspan(full["low"], full["high"], color=color, alpha=0.12, lw=0)
        ax.axhline(full["value"], color=color, lw=0.8, ls="-" if solid else "--", label="$S$")
    for trajectory in ("S^F", "S^L"):
        curve = chosen[chosen["trajectory"] == trajectory].dropna(subset=[x]).sort_values(x)
        color, places = TRAJECTORY_COLORS[trajectory], curve[x].astype(float)
        name = math_name(trajectory)
        ax.plot(places, curve["value"], style, color=color, ms=2.5, label=name)
        if solid:
            ax.fill_between(places, curve["low"], curve["high"], color=color, alpha=0.15, lw=0)
    ax.set_xlabel("Gate (step)" if x == "gate" else "Log-SNR at the gate")
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    ax.set_ylabel(label or measure)
    return ax


def math_name(arm: str) -> str:
    """A trajectory's name as mathematics: ``S^F m=10 k=5`` to its typeset form."""
    name = re.sub(r"\bS\^([FL])", r"$S^\1$", arm)
    name = re.sub(r"^S\b", "$S$", name)
    return re.sub(r"\b([mk])=(\d+)", r"$\1$=\2", name)
