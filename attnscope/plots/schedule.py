"""What a plan does at every step."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import ScaledTranslation

from attnscope.plans.display import ACTION_COLORS, ACTION_NAMES, row_name
from attnscope.plans.trajectory import SCALED, is_of_modules
from attnscope.plots.style import KIND_NAMES, SMALLEST_TEXT, label_steps, plain, replacing
from attnscope.plots.tidy import require, require_one_each
from attnscope.sites.groups import Group, alike

_ROW_NAMES = {**KIND_NAMES, "branches": "Guidance", "text": "Text"}
_CARRIED = "last guidance goes on"
_FEW = 12
"""So many rows are not parted by the stages."""
_MOST_LABELLED = 64
"""So many rows have a name each; of more, the stages alone."""
_MOST_LABEL = 30
"""Characters of the name of a row."""
_ROW, _THIN_ROW, _TALLEST = 0.115, 0.042, 7.4
"""Of rows with and without names, and of all of them, in inches."""
_LEAST_NAMED = 4
"""Rows without names that are as tall as one name."""
_GAP = 0.6
"""Between stages and above guidance, in rows."""


def plan(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """The schedule of a plan, a row per kind of attention (the paper's Figure 5).

    A dot marks a step whose output is stored for the steps that reuse it. Of a plan that names its
    modules, those that do the same share a row; where too many differ to name them all, the stages
    are named alone. Above stands log-SNR, where the table has it.

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
        if "kind" in table:
            _draw_modules(table, ax)
        else:
            _draw_plan(table, ax)
    return ax


def plan_height(table: pd.DataFrame) -> float:
    """How tall the rows of a schedule are to be, in inches, so that what they say can be read."""
    if "kind" not in table:
        return 0.2 * float(table["row"].nunique())
    groups = groups_of(table)
    each = _ROW if len(groups) <= _MOST_LABELLED else _THIN_ROW
    stages = len(_sections(groups, len(groups) <= _MOST_LABELLED))
    others = sum(not is_of_modules(str(row)) for row in table["row"].unique())
    return min(_TALLEST, each * (len(groups) + _GAP * stages) + 0.16 * others)


def groups_of(table: pd.DataFrame) -> list[Group]:
    """Modules of a table that do the same at every step, parted by stage where they are many."""
    modules = table[table["kind"].notna()]
    kinds = {str(row): str(kind) for row, kind in zip(modules["row"], modules["kind"], strict=True)}
    plainly = modules["what"].replace({"store": "compute"})
    does = {str(row): list(what) for row, what in plainly.groupby(modules["row"], sort=False)}
    if len(kinds) <= _FEW:
        does = {name: [*what, name] for name, what in does.items()}  # a row each
    groups = alike(kinds, does)
    return groups if len(groups) <= _FEW else alike(kinds, does, by_stage=True)


def _draw_plan(table: pd.DataFrame, ax: Axes) -> None:
    rows = list(dict.fromkeys(table["row"]))
    for place, row in enumerate(rows):
        cells = table[table["row"] == row]
        _bars(cells, place, 0.74, ax)
        stored = cells.loc[cells["what"] == "store", "step"]
        ax.plot(stored, [place] * len(stored), "o", color="white", ms=2.5)
    names = [_named(table[table["row"] == row]) for row in rows]
    ax.set_yticks(range(len(rows)), names)
    ax.set_ylim(len(rows) - 0.45, -0.55)
    _finish(table, [what for what in ACTION_COLORS if what in set(table["what"])], ax)


def _named(cells: pd.DataFrame) -> str:
    """The name of a row of no modules, or of a kind."""
    name = row_name(cells)
    known = _ROW_NAMES.get(name, name)
    return plain(f"A{known[1:]}" if known.startswith(SCALED) else known)


def _bars(cells: pd.DataFrame, place: float, height: float, ax: Axes) -> None:
    ax.bar(
        cells["step"], height, width=0.86, bottom=place - height / 2,
        color=[ACTION_COLORS[what] for what in cells["what"]],
    )  # fmt: skip


def _draw_modules(table: pd.DataFrame, ax: Axes) -> None:
    groups = groups_of(table)
    steps = sorted(table["step"].unique())
    named = len(groups) <= _MOST_LABELLED
    ticks: dict[float, str] = {}
    top = 0.0
    for name, found in _sections(groups, named).items():
        top += _GAP * (top > 0)
        _cells([group.does[: len(steps)] for group in found], steps, top, named, ax)
        if named:
            ticks |= {top + 0.5 + row: _short(group) for row, group in enumerate(found)}
        else:
            ticks[top + len(found) / 2] = name
        top += len(found)
    # In rows as tall as one with a name and a half, however thin those above are.
    tall = 1.4 if named else 0.16 / _THIN_ROW
    for row in [row for row in dict.fromkeys(table["row"]) if not is_of_modules(row)]:
        top += tall / 3
        cells = table[table["row"] == row]
        _bars(cells, top + tall / 2, tall, ax)
        if row == "branches" and "weight" in table:
            carried = cells[cells["weight"] > 0]
            ax.scatter(
                carried["step"], [top + tall / 2] * len(carried), s=5 * carried["weight"], c="black"
            )
        ticks[top + tall / 2] = _named(cells)
        top += tall
    ax.set_yticks(list(ticks), list(ticks.values()), fontsize=SMALLEST_TEXT)
    ax.set_ylim(top + 0.2, -0.2)
    said = {"compute" if what == "store" else what for what in table["what"]}
    _finish(table, [what for what in ACTION_COLORS if what in said], ax)


def _sections(groups: Sequence[Group], named: bool) -> dict[str, list[Group]]:
    """Groups that stand close together, by what to call them: their stage, or their kind within it."""
    stages: dict[str, list[Group]] = {}
    kinds: dict[str, list[Group]] = {}
    for group in groups:
        stages.setdefault(group.stage, []).append(group)
        kinds.setdefault(f"{group.kind} {group.stage}", []).append(group)
    return kinds if not named and min(map(len, kinds.values())) >= _LEAST_NAMED else stages


def _short(group: Group) -> str:
    """The name of a row, and how many modules it stands for."""
    count = f" ({len(group.names)})" if len(group.names) > 1 else ""
    room = _MOST_LABEL - len(count)
    label = f"{group.kind} {group.stage}" if group.whole and count and group.stage else group.label
    label = label if len(label) <= room else label[: room - 1] + "…"
    return label + count


def _cells(
    rows: Sequence[Sequence[str]], steps: Sequence[int], top: float, named: bool, ax: Axes
) -> None:
    """Rows of cells, one below the other."""
    known = list(ACTION_COLORS)
    codes = np.array([[known.index(what) for what in row] for row in rows])
    mesh = ax.pcolormesh(
        np.append(np.asarray(steps) - 0.5, steps[-1] + 0.5), top + np.arange(len(rows) + 1), codes,
        cmap=ListedColormap(list(ACTION_COLORS.values())), vmin=-0.5, vmax=len(known) - 0.5,
    )  # fmt: skip
    if named:
        mesh.set(edgecolors="white", linewidth=0.5)


def _finish(table: pd.DataFrame, present: list[str], ax: Axes) -> None:
    """Axes and legend."""
    ax.set_xlim(table["step"].min() - 0.6, table["step"].max() + 0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines[["left", "top", "right"]].set_visible(False)
    label_steps(ax, "")
    above = "log_snr" in table and _log_snr(table, ax)
    dot = Line2D([], [], marker="o", ls="", color="white", ms=2.5)
    handles: list[Any] = [
        (Patch(color=ACTION_COLORS[what]), dot)
        if what == "store"
        else Patch(color=ACTION_COLORS[what])
        for what in present
    ]
    names = [ACTION_NAMES[what] for what in present]
    if "weight" in table:
        handles.append(Line2D([], [], marker="o", ls="", color="black", ms=2))
        names.append(_CARRIED)
    # Over names of modules and words, which are long, there is room for the legend, too.
    long = "kind" in table or "factor" in table
    place: tuple[Any, float] = ("lower right", 1.0) if long else ("lower center", 0.5)
    shift = ScaledTranslation(0, (20 if above else 0) / 72, ax.figure.dpi_scale_trans)
    ax.legend(
        handles, names, ncols=min(3, len(names)), loc=place[0],
        bbox_to_anchor=(place[1], 1.0), bbox_transform=ax.transAxes + shift, handlelength=1,
        handletextpad=0.5, columnspacing=1.2, handler_map={tuple: HandlerTuple(ndivide=1)},
    )  # fmt: skip


def _log_snr(table: pd.DataFrame, ax: Axes) -> bool:
    """Log-SNR above the steps that have a tick; whether there is any."""
    levels = table.groupby("step")["log_snr"].first()
    steps = [step for step in ax.get_xticks() if step in levels.index]
    if not steps:
        return False
    above = ax.secondary_xaxis("top")
    told = [
        f"{round(levels[step], 1) + 0.0:.1f}" if isfinite(levels[step]) else r"$-\infty$"
        for step in steps
    ]
    above.set_xticks(steps, told, fontsize=SMALLEST_TEXT)
    above.set_xlabel("log-SNR in nats", fontsize=SMALLEST_TEXT)
    above.tick_params(length=2, pad=1)
    above.spines["top"].set_visible(False)
    return True
