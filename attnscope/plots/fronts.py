"""Quality against speed where some ways to be fast come in degrees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from attnscope.plots.style import LINE_COLORS, MARKERS, replacing
from attnscope.plots.tidy import of_measure, require, require_one_each

_ALONE = "Dv^PX*<>"
_GREY = "0.35"


def fronts(
    table: pd.DataFrame,
    measure: str,
    families: Mapping[str, Sequence[str]],
    *,
    names: Mapping[str, str] | None = None,
    label: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Quality against speed: a line for every family of arms, in the order of the table, and a point for every other arm.

    Across a point stands the range of its speed-up over the rounds, along it the 95 % interval of its value.

    Args:
        table: from ``attnscope bench --frontier`` (``frontier.parquet``); arms without a speed are left out.
        measure: one of its measures.
        families: arms that differ in degree, by what they are called in the legend.
        names: for arms of no family, what they are called in the legend.
        label: of the measure's axis.
        ax: where to draw; ``None`` is the current axes, whose points are replaced.

    Raises:
        ValueError: the table lacks a column or the measure, mixes features or counts, or has an arm twice.
    """
    require(table, "arm", "speedup", "speedup_low", "speedup_high", "value", "low", "high")
    chosen = of_measure(table.assign(trajectory=table["arm"]), measure)
    require_one_each(chosen, ["arm"])
    chosen = chosen.dropna(subset=["speedup", "value"])
    ax = ax or plt.gca()
    with replacing(ax):
        looks = zip(LINE_COLORS, MARKERS, strict=False)
        for (name, arms), (color, marker) in zip(families.items(), looks, strict=False):
            own = chosen[chosen["arm"].isin(arms)]
            ax.plot(own["speedup"], own["value"], color=color, marker=marker, ms=3.5, lw=1, label=name)  # fmt: skip
            _bars(own, color, ax)
        known = {arm for arms in families.values() for arm in arms}
        others = dict.fromkeys(
            table[~table["arm"].isin(known)]["arm"]
        )  # marked alike in all panels
        for place, arm in enumerate(others):
            own = chosen[chosen["arm"] == arm]
            if own.empty:
                continue
            marker = _ALONE[place % len(_ALONE)]
            name = (names or {}).get(arm, arm)
            ax.plot(own["speedup"], own["value"], marker, ms=4.5, mew=0.4, mec="white", color=_GREY, label=name)  # fmt: skip
            _bars(own, _GREY, ax)
    ax.set_xlabel("Speed-up (bars: range of the rounds)")
    ax.set_ylabel(label or measure)
    return ax


def _bars(rows: pd.DataFrame, color: str, ax: Axes) -> None:
    ax.hlines(rows["value"], rows["speedup_low"], rows["speedup_high"], color=color, lw=0.6, alpha=0.5)  # fmt: skip
    ax.vlines(rows["speedup"], rows["low"], rows["high"], color=color, lw=0.6, alpha=0.5)
