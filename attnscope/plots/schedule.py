"""What a plan does at every step."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from attnscope.plots.style import KIND_NAMES, label_steps, replacing
from attnscope.plots.tidy import require, require_one_each

ACTION_COLORS = {
    "compute": "#0173b2",
    "store": "#0173b2",
    "reuse": "#dcdcdc",
    "both": "#005c44",
    "one": "#a5d8c7",
    "uncond": "#a5d8c7",
    "cond": "#f3d9a0",
    "prompt": "#a0622d",
    "null": "#ecd9c6",
}
"""What a plan does at a step, to its colour."""
_WHAT_NAMES = {
    "compute": "computed",
    "store": "computed and stored",
    "reuse": "reused",
    "both": "both branches",
    "one": "one branch",
    "uncond": "unconditional branch",
    "cond": "conditional branch",
    "prompt": "prompt",
    "null": 'encoding of ""',
}
_ROW_NAMES = {**KIND_NAMES, "branches": "Guidance", "text": "Text"}


def plan(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """The schedule of a plan, a row per kind of attention (the paper's Figure 4).

    A dot marks a step whose output is stored for the steps that reuse it.

    Args:
        table: of :meth:`attnscope.plans.trajectory.Trajectory.table`, as in ``TGate(10, 5).over(25).table()``.
        ax: where to draw; ``None`` is the current axes, whose schedule is replaced.

    Raises:
        ValueError: the table lacks a column, says two things of one step, or something unknown.
    """
    require(table, "row", "step", "what")
    require_one_each(table, ["row", "step"])
    unknown = sorted(set(table["what"]) - set(ACTION_COLORS))
    if unknown:
        raise ValueError(f"what={unknown[0]!r}: choose of {', '.join(ACTION_COLORS)}")
    ax = ax or plt.gca()
    with replacing(ax):
        _draw_plan(table, ax)
    return ax


def _draw_plan(table: pd.DataFrame, ax: Axes) -> None:
    rows = list(dict.fromkeys(table["row"]))
    for place, row in enumerate(rows):
        cells = table[table["row"] == row]
        ax.bar(
            cells["step"], 0.74, width=0.86, bottom=place - 0.37,
            color=[ACTION_COLORS[what] for what in cells["what"]],
        )  # fmt: skip
        stored = cells.loc[cells["what"] == "store", "step"]
        ax.plot(stored, [place] * len(stored), "o", color="white", ms=2.5)
    ax.set_yticks(range(len(rows)), [_ROW_NAMES.get(row, row) for row in rows])
    ax.set_ylim(len(rows) - 0.45, -0.55)
    ax.set_xlim(table["step"].min() - 0.6, table["step"].max() + 0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines[["left", "top", "right"]].set_visible(False)
    label_steps(ax, "")
    present = [what for what in ACTION_COLORS if what in set(table["what"])]
    dot = Line2D([], [], marker="o", ls="", color="white", ms=2.5)
    handles = [
        (Patch(color=ACTION_COLORS[what]), dot)
        if what == "store"
        else Patch(color=ACTION_COLORS[what])
        for what in present
    ]
    ax.legend(
        handles, [_WHAT_NAMES[what] for what in present], ncols=min(3, len(present)), loc="lower center",
        bbox_to_anchor=(0.5, 1.0), handlelength=1, handletextpad=0.5, columnspacing=1.2,
        handler_map={tuple: HandlerTuple(ndivide=1)},
    )  # fmt: skip
