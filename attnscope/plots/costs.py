"""What attention costs in multiply-accumulates, and what saves it."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter

from attnscope.cost.counts import Convention, counted
from attnscope.cost.resolutions import crossover
from attnscope.plots.style import (
    CROSSED,
    DOTTED,
    KIND_COLORS,
    KIND_MARKERS,
    KIND_NAMES,
    PLAIN,
    SLANTED,
    SMALLEST_TEXT,
    bare_rows,
    label_bars,
    replacing,
)
from attnscope.plots.tidy import require, require_numbers, require_one_each

_COST_COLORS = {**KIND_COLORS, "other": "#949494"}
_COST_MARKERS = {**KIND_MARKERS, "other": "D"}
SAVING_COLORS = {
    "guidance cut-off": "#005c44",
    "cross-attention reuse": KIND_COLORS["cross"],
    "self-attention reuse": KIND_COLORS["self"],
    "joint attention reuse": "#e3a5d6",
    "feed-forward reuse": "#a8e0a0",
    "block reuse": "#8a8a6a",
    "residual block reuse": "#7a1f00",
    "transformer reuse": "#f2e66b",
    "sampler reuse": "#2b1a52",
}
"""Under simulated deuteranopia and protanopia any two, what is computed included, are 20 apart at least
in CIELAB."""
SAVING_HATCHES = dict(
    zip(
        SAVING_COLORS,
        (PLAIN, DOTTED, SLANTED, CROSSED, "||||", "\\\\\\\\", "----", "++++", "oo"),
        strict=True,
    )
)
"""They tell the parts apart in grey."""
COMPUTED_COLOR = "#ebebeb"
_CONVENTION_NAMES = {"full": "all MACs", "paper": "the paper's MACs"}


def cost_scaling(table: pd.DataFrame, *, axis: str = "tokens", ax: Axes | None = None) -> Axes:
    """What a call of the denoiser costs against resolution or the length of the text (Table A6).

    Dashed lines leave out attention's two matrix products, as the paper does. Where
    cross-attention passes everything else together, a line stands. Drawn again into the same axes, it
    takes the place of the one before.

    Args:
        table: of :func:`attnscope.cost.resolutions.scaling`.
        axis: ``resolution`` (in pixels, the height) or ``tokens``.
        ax: where to draw; ``None`` is the current axes.

    Raises:
        ValueError: the table lacks a column or the axis, or is of several models.
    """
    require(table, "axis", "height", "tokens", "part", "macs")
    require_numbers(table, "macs")
    chosen = table[table["axis"] == axis]
    if chosen.empty:
        raise ValueError(f"axis={axis!r} is not in this table (see table['axis'].unique())")
    sizes = [name for name in ("height", "width", "tokens") if name in table]
    require_one_each(table, ["axis", *sizes, "part"])
    ax = ax or plt.gca()
    with replacing(ax):
        _draw_scaling(table, chosen, axis, ax)
    return ax


def _draw_scaling(table: pd.DataFrame, chosen: pd.DataFrame, axis: str, ax: Axes) -> None:
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
                marker="" if paper else _COST_MARKERS[name], ms=3, color=_COST_COLORS[name],
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
    ax.plot([], [], color="gray", ls="--", lw=0.9, label="the paper's convention")
    ax.legend()


def cost_attribution(
    table: pd.DataFrame, *, by: str = "convention", ax: Axes | None = None
) -> Axes:
    """What a plan still costs, and which part of it saves the rest: a stacked bar a row.

    Args:
        table: of :func:`attnscope.cost.plans.attribution`: ``saving`` and ``of_baseline``.
        by: column whose values get a bar each.
        ax: where to draw; ``None`` is the current axes, whose bars are replaced.

    Raises:
        ValueError: the table lacks a column, has a part twice in a bar or one that is not known, or the
            parts do not come to what is saved, so that a stack would mislead.
    """
    require(table, "saving", "of_baseline", by)
    require_numbers(table, "of_baseline")
    require_one_each(table, [by, "saving"])
    known_parts(table["saving"], [*SAVING_COLORS, "all"])
    wide = table.pivot(index=by, columns="saving", values="of_baseline")
    wide = wide.loc[list(dict.fromkeys(table[by]))]
    parts = [name for name in SAVING_COLORS if name in wide]
    _require_a_stack(wide, parts)
    ax = ax or plt.gca()
    with replacing(ax):
        _draw_stack(wide, parts, ax)
    bare_rows(ax, columns=2)
    return ax


def _draw_stack(wide: pd.DataFrame, parts: list[str], ax: Axes) -> None:
    left = np.zeros(len(wide))
    names = [_CONVENTION_NAMES.get(str(name), str(name)) for name in wide.index]
    for label, values, color, hatch in [
        ("still computed", 1 - wide["all"], COMPUTED_COLOR, PLAIN),
        *(
            (part, wide[part].fillna(0), SAVING_COLORS[part], SAVING_HATCHES[part])
            for part in parts
        ),
    ]:
        bars = ax.barh(names, values, left=left, height=0.7, color=color, hatch=hatch, label=label)
        texts = [f"{value:.1%}" if value > 0.09 else "" for value in values]
        label_bars(ax, bars, texts, color)
        left += values.to_numpy()
    ax.set_ylim(len(wide) - 0.4, -0.6)
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.set_xlabel("MACs of the run without the plan")


def known_parts(found: pd.Series[str], known: Sequence[str]) -> None:
    """Refuse what no colour stands for: left out, it would be missing from a stack in silence.

    Raises:
        ValueError: there is such a part.
    """
    unknown = [str(name) for name in dict.fromkeys(found) if name not in known]
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: no such part (known are {', '.join(known)})")


def _require_a_stack(wide: pd.DataFrame, parts: list[str]) -> None:
    """Refuse parts that do not come to the whole."""
    if "all" not in wide or wide["all"].isna().any():
        raise ValueError(
            "every bar needs the row 'all' of what is saved: what is left is 1 less it"
        )
    sums, least = wide[parts].sum(axis=1), wide[parts].min().min() if parts else 0.0
    if least < 0 or not np.allclose(sums, wide["all"], atol=1e-3):
        raise ValueError(
            "the parts do not come to what is saved in all, so they cannot be stacked; parts that "
            "were measured alone are for attnscope.plots.saved_alone"
        )


def _mark_crossover(where: float | None, ticks: list[int], ax: Axes) -> None:
    """Where cross-attention passes everything else, if that is in sight."""
    if where is not None and ticks[0] < where < ticks[-1]:
        ax.axvline(where, color="black", lw=0.7, ls=":")
        ax.annotate(
            f"cross-attention\nover half from\n{where:,.0f} tokens", (where, 0.03), xytext=(4, 0),
            xycoords=("data", "axes fraction"), textcoords="offset points", va="bottom", fontsize=SMALLEST_TEXT,
            path_effects=[withStroke(linewidth=2, foreground="white")],  # curves pass behind it
        )  # fmt: skip
