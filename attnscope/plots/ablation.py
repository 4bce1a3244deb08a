"""What images lose without attention, by arm and by gate."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from attnscope.plots.curves import ErrorBar, Palette, lines
from attnscope.plots.style import DASHES, label_steps, once, replacing
from attnscope.plots.tidy import (
    of_measure,
    require,
    require_numbers,
    require_one_each,
    require_one_run,
)

TRAJECTORY_COLORS = {
    "S": "#000000",
    "S^F": "#0173b2",
    "S^L": "#b84000",
    "S^F+gate": "#6cc0f0",
    "S^L+gate": "#eeac3a",
    "gate": "#00664c",
    "no guidance": "#d9c88f",
    "reference": "#8c8c8c",
}
"""What an ablation leaves of a trajectory (the paper's S^F: only first, S^L: only last)."""
TRAJECTORY_MARKERS = {
    "S": "X",
    "S^F": "o",
    "S^L": "s",
    "S^F+gate": "v",
    "S^L+gate": "D",
    "gate": "^",
    "no guidance": "P",
    "reference": "h",
}
"""They tell trajectories apart in grey."""
MOST_ARMS = 2 * len(DASHES)
"""Of one trajectory in one plot of lines."""
_MOST_BANDS = 4


def arm_looks(arms: Iterable[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """How the lines of an ablation's arms look, no two alike.

    Args:
        arms: name and trajectory of each. A trajectory has its colour and its marker; of several gates
            or intervals the dashes change, and then the marker is hollow.

    Raises:
        ValueError: more than :data:`MOST_ARMS` of one trajectory.
    """
    looks: dict[str, dict[str, Any]] = {}
    seen: dict[str, int] = {}
    for name, trajectory in arms:
        place = seen.get(trajectory, 0)
        seen[trajectory] = place + 1
        hollow, dash = divmod(place, len(DASHES))
        if hollow > 1:
            raise ValueError(
                f"more than {MOST_ARMS} arms of {trajectory} cannot be told apart in one plot"
            )
        color = TRAJECTORY_COLORS.get(trajectory, TRAJECTORY_COLORS["reference"])
        looks[name] = {
            "color": color,
            "ls": DASHES[dash],
            "marker": TRAJECTORY_MARKERS.get(trajectory, "*"),
            "mfc": "white" if hollow else color,
        }
    return looks


def noise_mean(
    table: pd.DataFrame,
    *,
    value: str = "mean",
    hue: str = "branch",
    errorbar: ErrorBar = "sd",
    palette: Palette = None,
    ax: Axes | None = None,
) -> Axes:
    """Mean (or norm) of the predicted noise over the steps (the paper's Figure 3a).

    The band is one standard deviation over prompts; of more than four lines with bands of their own
    (an ablation's arms) only the first has it, since bands over bands hide each other.

    Args:
        table: of the observer ``NoiseMean``, or from ``attnscope ablate`` (``noise.parquet``), where
            prompts are averaged already.
        value: ``mean``, ``norm`` or ``rms``.
        hue: column that gets a line each: ``branch``, ``arm``, ...
        errorbar: what the band is, as in seaborn; arms that are averaged already keep theirs.
        palette: colours, as in seaborn; arms that are averaged already keep theirs.
        ax: where to draw; ``None`` is the current axes.

    Raises:
        ValueError: the table lacks a column or rows, or mixes what is not to be averaged: branches,
            arms, runs of different steps.
    """
    require(table, value, hue, "step")
    require_numbers(table, value)
    ax = ax or plt.gca()
    if f"{value}_sd" in table:
        require_one_each(table, [hue, "step"])
        _draw_averaged(table, value, hue, ax)
    else:
        require_one_run(table, value, [hue], apart=["branch"])
        lines(table, value, hue, ax, errorbar=errorbar, palette=palette)
    name = "RMS" if value == "rms" else value.capitalize()
    label_steps(ax, f"{name} of predicted noise")
    ax.legend(*once(ax))
    return ax


def _draw_averaged(table: pd.DataFrame, value: str, hue: str, ax: Axes) -> None:
    """A line per arm, with the band that the table holds."""
    trajectories = table["trajectory"] if "trajectory" in table else table[hue]
    named = pd.DataFrame({"name": table[hue].astype(str), "of": trajectories.astype(str)})
    looks = arm_looks(named.drop_duplicates("name").itertuples(index=False, name=None))
    for name, curve in table.groupby(hue, sort=False, observed=True):
        mean, spread = curve[value], curve[f"{value}_sd"]
        look, label = looks[str(name)], math_name(str(name))
        every = max(1, len(curve) // 6)
        (line,) = ax.plot(
            curve["step"], mean, label=label, markevery=every, ms=3.2, mew=0.6, **look
        )
        if len(looks) > _MOST_BANDS and name != table[hue].iloc[0]:
            continue
        ax.fill_between(
            curve["step"], mean - spread, mean + spread, color=line.get_color(), alpha=0.12, lw=0
        )


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
        ValueError: the table lacks a column or the measure, mixes features or counts, has an arm
            twice (of two models, schedulers, numbers of steps, seeds) or one that is not in ``arms``.
    """
    chosen = of_measure(table, measure)
    require_one_each(chosen, ["arm"])
    order = list(chosen["arm"] if arms is None else arms)
    unplaced = sorted(set(chosen["arm"]) - set(order))
    if unplaced:
        raise ValueError(
            f"arms lacks {', '.join(unplaced)}, which the table has; leave out its rows"
        )
    columns = ["value", "low", "high"]
    if difference:
        columns = ["difference", "difference_low", "difference_high"]
        require(chosen, *columns)
    ax = ax or plt.gca()
    with replacing(ax):
        _draw_arms(chosen, columns, order, ax)
    ax.set_xlabel(label or measure)
    return ax


def _draw_arms(chosen: pd.DataFrame, columns: list[str], order: list[str], ax: Axes) -> None:
    difference = columns[0] == "difference"
    if difference:
        ax.axvline(0, color=TRAJECTORY_COLORS["S"], lw=0.7, ls=(0, (3, 3)), zorder=0)
    ends = chosen[columns].to_numpy(float)
    for arm, trajectory, (value, low, high) in zip(
        chosen["arm"], chosen["trajectory"], ends, strict=True
    ):
        place = order.index(arm)
        color = TRAJECTORY_COLORS.get(trajectory, TRAJECTORY_COLORS["reference"])
        ax.plot([low, high], [place, place], color=color, solid_capstyle="butt")
        ax.plot(value, place, "o", color=color, ms=3.5)
        if trajectory == "S" and not difference:
            ax.axvline(value, color=color, lw=0.7, ls=(0, (3, 3)), zorder=0)
    ax.set_yticks(range(len(order)), [math_name(name) for name in order])
    ax.set_ylim(len(order) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.ticklabel_format(axis="x", useOffset=False)


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
        ValueError: the table lacks a column or the measure, or mixes features, counts, intervals, or
            what an ablation varies beside the gate.
    """
    chosen = of_measure(table, measure, x, "gate")
    chosen = chosen[chosen["trajectory"].isin(["S", "S^F", "S^L"])]
    require_one_each(chosen, ["trajectory", "gate"])
    ax = ax or plt.gca()
    solid = style.endswith("-") and not style.endswith("--")
    for _, full in chosen[chosen["trajectory"] == "S"].iterrows():
        color = TRAJECTORY_COLORS["S"]
        if solid:
            ax.axhspan(full["low"], full["high"], color=color, alpha=0.12, lw=0)
        ax.axhline(full["value"], color=color, lw=0.8, ls="-" if solid else "--", label="$S$")
    for trajectory in ("S^F", "S^L"):
        curve = chosen[chosen["trajectory"] == trajectory].dropna(subset=[x]).sort_values(x)
        if curve.empty:
            continue
        color, places = TRAJECTORY_COLORS[trajectory], curve[x].astype(float)
        look: dict[str, Any] = {
            "ls": style.strip("o") or "",
            "marker": TRAJECTORY_MARKERS[trajectory] if "o" in style else "",
        }
        name = math_name(trajectory)
        ax.plot(places, curve["value"], color=color, ms=3, mew=0, label=name, **look)
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
