"""What attention costs in multiply-accumulates, and what saves it."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from attnscope.cost import Convention, counted, crossover
from attnscope.plots.style import KIND_COLORS, KIND_NAMES
from attnscope.plots.tidy import require

_COST_COLORS = {**KIND_COLORS, "other": "#949494"}
SAVING_COLORS = {
    "guidance cut-off": "#029e73",
    "cross-attention reuse": KIND_COLORS["cross"],
    "self-attention reuse": KIND_COLORS["self"],
    "joint attention reuse": "#cc78bc",
}
_CONVENTION_NAMES = {"full": "all MACs", "paper": "the paper's MACs"}


def cost_scaling(table: pd.DataFrame, *, axis: str = "tokens", ax: Axes | None = None) -> Axes:
    """What a call of the denoiser costs against resolution or the length of the text (Table A6).

    Dashed lines leave out attention's two matrix products, as the paper does. Where
    cross-attention passes everything else together, a line stands.

    Args:
        table: of :func:`attnscope.cost.scaling`.
        axis: ``resolution`` (in pixels, the height) or ``tokens``.
        ax: where to draw; ``None`` is the current axes.

    Raises:
        ValueError: the table lacks a column or the axis.
    """
    require(table, "axis", "height", "tokens", "part", "macs")
    chosen = table[table["axis"] == axis]
    if chosen.empty:
        raise ValueError(f"axis={axis!r} is not in this table (see table['axis'].unique())")
    ax = ax or plt.gca()
    place = "height" if axis == "resolution" else "tokens"
    kind = chosen["part"].str.extract(f"^({'|'.join(KIND_COLORS)}) ", expand=False).fillna("other")
    conventions: tuple[Convention, ...] = ("full", "paper")
    for convention in conventions:
        paper = convention == "paper"
        seen = chosen[counted(chosen["part"], convention)]
        sums = seen.groupby([place, kind.loc[seen.index]])["macs"].sum().unstack().fillna(0)
        for name in [name for name in (*KIND_COLORS, "other") if name in sums]:
            if paper and name == "other":
                continue
            ax.plot(
                sums.index, sums[name], ls="--" if paper else "-", lw=0.9 if paper else 1.4,
                marker="" if paper else "o", ms=2.5, color=_COST_COLORS[name],
                label=None if paper else KIND_NAMES.get(name, "Everything else"),
            )  # fmt: skip
    ticks = sorted(set(chosen[place]))
    if axis == "tokens" and len(ticks) > 1:
        _mark_crossover(crossover(table), ticks, ax)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    ax.minorticks_off()
    if max(ticks) >= 10_000:
        ax.tick_params(axis="x", rotation=35)
    ax.set_xlabel("Height in pixels" if axis == "resolution" else "Text tokens")
    ax.set_ylabel("MACs of one call")
    handles, labels = ax.get_legend_handles_labels()
    handles.append(Line2D([], [], color="gray", ls="--", lw=0.9))
    ax.legend(handles, [*labels, "the paper's convention"])
    return ax


def cost_attribution(
    table: pd.DataFrame, *, by: str = "convention", ax: Axes | None = None
) -> Axes:
    """What a plan still costs, and which part of it saves the rest: a stacked bar a row.

    Args:
        table: of :func:`attnscope.cost.attribution`: ``saving`` and ``of_baseline``.
        by: column whose values get a bar each.
        ax: where to draw; ``None`` is the current axes.

    Raises:
        ValueError: the table lacks a column.
    """
    require(table, "saving", "of_baseline", by)
    ax = ax or plt.gca()
    wide = table.pivot_table(index=by, columns="saving", values="of_baseline", sort=False)
    remaining = 1 - wide["all"]
    left = np.zeros(len(wide))
    names = [_CONVENTION_NAMES.get(str(name), str(name)) for name in wide.index]
    parts = [name for name in SAVING_COLORS if name in wide]
    for label, values, color in [
        ("still computed", remaining, "#dcdcdc"),
        *((part, wide[part].fillna(0), SAVING_COLORS[part]) for part in parts),
    ]:
        bars = ax.barh(names, values, left=left, height=0.7, color=color, label=label)
        texts = [f"{value:.1%}" if value > 0.045 else "" for value in values]
        ax.bar_label(bars, texts, label_type="center", fontsize=6.5,
                     color="black" if color == "#dcdcdc" else "white")  # fmt: skip
        left += values.to_numpy()
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.set_xlabel("MACs of the run without the plan")
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.legend(
        ncols=len(parts) + 1, loc="lower center", bbox_to_anchor=(0.5, 1.0), handlelength=1,
        handletextpad=0.5, columnspacing=1.2,
    )  # fmt: skip
    return ax


def _mark_crossover(where: float | None, ticks: list[int], ax: Axes) -> None:
    """Where cross-attention passes everything else, if that is in sight."""
    if where is not None and ticks[0] < where < ticks[-1]:
        ax.axvline(where, color="black", lw=0.7, ls=":")
        ax.annotate(
            f"cross-attention\nover half from\n{where:,.0f} tokens", (where, 0.03), xytext=(4, 0),
            xycoords=("data", "axes fraction"), textcoords="offset points", va="bottom", fontsize=6.5,
        )  # fmt: skip
