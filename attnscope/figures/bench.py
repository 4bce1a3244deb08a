"""Where the time goes (Figure 1a of the paper), what saves it, and what the saving costs in quality."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attnscope import plots
from attnscope.figures.layout import note, panels, shared_legend
from attnscope.figures.registry import draws
from attnscope.metrics.measures import MEASURES, PANELS
from attnscope.plans.timetable import UNIFORM, is_file
from attnscope.plots.letters import place_letters
from attnscope.runs.columns import arm_shown

_MOST_PANELS = 3
_NAME_WIDTH = 18
"""Characters of an arm's name in one line beside bars."""


@draws("bench", "parts")
def breakdown(table: pd.DataFrame) -> Figure:
    """Cross-attention, self-attention and the rest, of every arm."""
    table = table.assign(arm=[_in_lines(str(arm)) for arm in table["arm"]])
    lines = sum(arm.count("\n") + 1 for arm in table["arm"].unique())
    height = 0.9 + 0.12 * table["arm"].nunique() + 0.11 * lines
    figure, ax = plt.subplots(figsize=(plots.COLUMN_WIDTH, height))
    plots.time_breakdown(table, ax=ax)
    return figure


@draws("bench", "attribution")
def attribution(table: pd.DataFrame) -> Figure | None:
    """What each part of the plan saves alone; ``None`` if it has no parts."""
    if table.empty:
        return None
    figure, ax = plt.subplots(figsize=(plots.COLUMN_WIDTH, 1.0 + 0.75 * table["basis"].nunique()))
    plots.saved_alone(table, ax=ax)
    note(figure, "each part alone, and below it the range of the rounds; what one part saves "
                 "another saves as well, so their sum is not what all save together")  # fmt: skip
    return figure


@draws("bench", "frontier")
def frontier(table: pd.DataFrame) -> Figure | None:
    """Speed-up against three measures at most; ``None`` if no images were judged."""
    measures = [name for name in PANELS if name in set(table["measure"])][:_MOST_PANELS]
    if not measures:
        return None
    table = table.assign(arm=table["arm"].map(_names(table["arm"])))
    rows = -(-(table["arm"].nunique()) // 2)
    figure, axes = panels(
        len(measures), columns=1, height=1.5, extra=0.3 + 0.13 * rows, sharex=True
    )
    for ax, measure in zip(axes, measures, strict=True):
        plots.frontier(table, measure, label=_label(table, measure), ax=ax)
        if ax is not axes[-1]:
            ax.set_xlabel("")
    figure.align_ylabels(axes)
    _named(figure, axes, list(dict.fromkeys(table["arm"])))
    figure.draw_without_rendering()  # letters are placed where the points have come to stand
    for ax in axes:
        place_letters(ax)
    return figure


@draws("bench", "frontier")
def fronts(table: pd.DataFrame) -> Figure | None:
    """Plans that were found and fewer steps as lines, all else as points; ``None`` with fewer than three plans."""
    timed = table[table["speedup"].notna()]
    arms = [str(arm) for arm in timed["arm"].unique()]
    found = [arm for arm in arms if is_file(arm) and _file(arm) != UNIFORM]
    measures = [name for name in ("ssim", "all", "clip") if name in set(table["measure"])][:2]
    if len(found) < 3 or not measures:
        return None
    families = {"plans that were found": found}
    families["fewer steps"] = [arm for arm in arms if re.fullmatch(r"\d+ steps", arm)]
    names = _names(table["arm"]) | {arm: "by hand" for arm in arms if UNIFORM in arm}
    figure, axes = panels(len(measures), columns=1, height=1.6, extra=0.8, sharex=True)
    for ax, measure in zip(axes, measures, strict=True):
        plots.fronts(timed, measure, families, names=names, label=_label(table, measure), ax=ax)
        if ax is not axes[-1]:
            ax.set_xlabel("")
    figure.align_ylabels(axes)
    shared_legend(figure, axes, columns=2)
    return figure


def _file(arm: str) -> str:
    """The name of the file that a plan was read from."""
    return Path(arm.partition("@")[0]).name


def _names(arms: Iterable[str]) -> dict[str, str]:
    """What arms are called in figures: plans by their files' names, where no two are called the same."""
    every = list(dict.fromkeys(map(str, arms)))
    files = {arm: _file(arm) for arm in every if is_file(arm)}
    counts = Counter(files.values())
    own = {arm: name for arm, name in files.items() if counts[name] == 1}
    return {arm: own.get(arm, arm_shown(arm)) for arm in every}


def _named(figure: Figure, axes: Sequence[Axes], arms: list[str]) -> None:
    """All letters of all panels, in the order of the arms, and what has none behind them."""
    named: dict[str, Any] = {}
    for ax in axes:
        named |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    lettered = [f"{plots.letter(place)}  {arm}" for place, arm in enumerate(arms)]
    names = [name for name in lettered if name in named]
    names += [name for name in named if name not in names]
    figure.legend(
        [named[name] for name in names], [plots.wrapped(name, 34) for name in names],
        loc="outside lower center", ncols=2, fontsize=plots.SMALLEST_TEXT, handletextpad=0.4,
        columnspacing=0.8, handlelength=1.4,
    )  # fmt: skip


def _in_lines(arm: str) -> str:
    """An arm's name beside bars, broken at the commas of a plan."""
    return plots.wrapped(arm.replace(",", ", "), _NAME_WIDTH)


def _label(table: pd.DataFrame, measure: str) -> str:
    row = table[table["measure"] == measure].iloc[0]
    heading = MEASURES[measure].heading.replace(" to S", " to the baseline")
    if measure == "all":
        heading = "Captions drawn as asked ↑"
    if not row["features"]:
        return heading
    return f"{heading} ({row['features'].split(',')[0]}, n = {row['n']:,})"
