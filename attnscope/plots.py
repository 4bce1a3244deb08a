"""Axes-level plots for papers: each takes a tidy table and an axes, and returns the axes.

Saving belongs to the caller. For a figure that goes straight into a paper::

    with attnscope.plots.paper_style():
        ax = attnscope.plots.convergence(table)
        ax.figure.savefig("figure2.pdf")

Nothing here needs torch.
"""

from __future__ import annotations

import contextlib
import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter

COLUMN_WIDTH = 3.3
"""Width of one column of a two-column paper, in inches."""
TEXT_WIDTH = 6.8
"""Width of the text of a paper, in inches."""

KIND_COLORS = {
    "cross": "#0173b2",
    "self": "#de8f05",
    "joint": "#029e73",
    "feed-forward": "#cc78bc",
    "block": "#949494",
    "latent": "#000000",
    "noise": "#d55e00",
    "x_0": "#ca9161",
}
BRANCH_COLORS = {"uncond": "#949494", "cond": "#0173b2", "guided": "#d55e00"}
"""From seaborn's ``colorblind`` palette (Wong 2011)."""

CURVE_COLORS = {
    "to another caption": "#029e73",
    "to the last step": "#ca9161",
    "step to step": "#0173b2",
    "step to step, other caption": "#56b4e9",
}
"""Of several curves of one kind of attention."""

ACTION_COLORS = {
    "compute": "#0173b2",
    "store": "#0173b2",
    "reuse": "#dcdcdc",
    "both": "#029e73",
    "one": "#a5d8c7",
    "uncond": "#a5d8c7",
    "cond": "#a5d8c7",
    "prompt": "#ca9161",
    "null": "#ecd9c6",
}
"""What a plan does at a step, to its colour."""

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

METRIC_LABELS = {
    "l2": r"$\Vert C_{i}-C_{i-1}\Vert_2$",
    "rms": "RMS change per element",
    "relative": r"$\Vert C_{i}-C_{i-1}\Vert_2\,/\,\Vert C_{i-1}\Vert_2$",
    "cosine": r"$1-\cos(C_{i-1}, C_{i})$",
}
_CONTROL_LABELS = {
    "l2": "L2 distance",
    "relative": "Relative distance",
    "relative_per_nat": "Relative distance per nat",
}
_STEP_LABEL = "Denoising step"
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
_KIND_NAMES = {
    "cross": "Cross-attention",
    "self": "Self-attention",
    "joint": "Joint attention",
    "feed-forward": "Feed-forward",
    "block": "Whole blocks",
    "latent": "Latents $x_t$",
    "noise": r"Noise: $1-\cos(\epsilon_c,\epsilon_u)$",
    "x_0": r"Image: $1-\cos(\hat x_{0,c},\hat x_{0,u})$",
}
_COST_COLORS = {**KIND_COLORS, "other": "#949494"}
_SAVING_COLORS = {
    "guidance cut-off": "#029e73",
    "cross-attention reuse": KIND_COLORS["cross"],
    "self-attention reuse": KIND_COLORS["self"],
    "joint attention reuse": "#cc78bc",
}
_PART_COLORS = {**KIND_COLORS, "other": "#949494", "outside": "#dcdcdc"}
_PART_NAMES = {
    "cross": "Cross-attention",
    "self": "Self-attention",
    "joint": "Joint attention",
    "other": "Rest of the denoiser",
    "outside": "Outside of the denoiser",
}
_CONVENTION_NAMES = {"full": "all MACs", "paper": "the paper's MACs"}
_ROW_NAMES = {**_KIND_NAMES, "branches": "Guidance", "text": "Text"}


@contextlib.contextmanager
def paper_style() -> Iterator[None]:
    """Style for print: small type, thin lines, fonts embedded as outlines, tight boxes."""
    style = {
        **sns.axes_style("ticks"),
        "font.family": "sans-serif",
        "font.size": 8,
        "axes.labelsize": 8,
        "axes.titlesize": 8,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "legend.fontsize": 7,
        "legend.title_fontsize": 7,
        "legend.frameon": False,
        "axes.linewidth": 0.7,
        "lines.linewidth": 1.4,
        "xtick.major.width": 0.7,
        "ytick.major.width": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": cycler(color=sns.color_palette("colorblind")),
        "figure.figsize": (COLUMN_WIDTH, COLUMN_WIDTH * 0.7),
        "figure.dpi": 150,
        "figure.constrained_layout.use": True,
        "savefig.dpi": 300,
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
    }
    with mpl.rc_context(style):
        yield


def convergence(
    table: pd.DataFrame,
    *,
    metric: str = "l2",
    hue: str = "kind",
    ax: Axes | None = None,
) -> Axes:
    """Distance between consecutive attention outputs over the steps (the paper's Figure 2).

    Sites and branches are averaged first; the line is the mean over prompts and the band is one
    standard deviation over prompts.

    Args:
        table: from ``attnscope convergence`` (``records.parquet``) or ``Trace.records()``.
        metric: ``l2``, ``rms``, ``relative`` or ``cosine``.
        hue: column that gets a line each: ``kind``, ``block``, ``branch``, ``site``, ...
        ax: where to draw; ``None`` is the current axes.

    Raises:
        ValueError: the table lacks a column.
    """
    _require(table, metric, hue, "step")
    ax = ax or plt.gca()
    units = _units(table)
    keys = list(dict.fromkeys([*units, hue, "step"]))
    curves = table.groupby(keys, observed=True)[metric].mean().reset_index()
    _lines(curves, metric, hue, ax)
    _label_steps(ax, METRIC_LABELS.get(metric, metric))
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles, [_KIND_NAMES.get(label, label) for label in labels])
    return ax


def convergence_by_site(
    table: pd.DataFrame, site: str, *, metric: str = "l2", ax: Axes | None = None
) -> Axes:
    """The same curve for one site, a line for each guidance branch (the paper's Figure A4).

    Args:
        table: as for :func:`convergence`.
        site: its name.
        metric: ``l2``, ``rms``, ``relative`` or ``cosine``.
        ax: where to draw; ``None`` is the current axes.

    Raises:
        ValueError: the table lacks a column or the site.
    """
    _require(table, "site", "branch", metric)
    chosen = table[table["site"] == site]
    if chosen.empty:
        raise ValueError(f"site {site!r} is not in this table (see table['site'].unique())")
    ax = convergence(chosen, metric=metric, hue="branch", ax=ax)
    ax.set_title(short_site(site))
    return ax


def convergence_heatmap(
    table: pd.DataFrame,
    *,
    metric: str = "relative",
    ax: Axes | None = None,
) -> Axes:
    """All sites against steps; a row is a site in the order of data flow, colour is logarithmic.

    Args:
        table: as for :func:`convergence`.
        metric: ``l2``, ``rms``, ``relative`` or ``cosine``.
        ax: where to draw; ``None`` is the current axes.

    Raises:
        ValueError: the table lacks a column.
    """
    _require(table, "site", "kind", "step", metric)
    ax = ax or plt.gca()
    grid = table.groupby(["site", "step"], observed=True)[metric].mean().unstack("step")
    sites = (
        table.drop_duplicates("site")
        .set_index("site")["kind"]
        .sort_values(kind="stable", key=lambda kinds: kinds.astype(str))
    )
    grid = grid.loc[list(sites.index)]
    values, steps = grid.to_numpy(), grid.columns.to_numpy(dtype=float)
    positive = values[values > 0]
    norm = LogNorm(positive.min(), positive.max()) if positive.size else None
    mesh = ax.imshow(
        np.ma.masked_less_equal(values, 0), aspect="auto", cmap="viridis", norm=norm,
        interpolation="nearest", extent=(steps[0] - 0.5, steps[-1] + 0.5,
                                         len(grid) - 0.5, -0.5),
    )  # fmt: skip
    _label_steps(ax, "")
    if len(grid) <= 40:
        ax.set_yticks(range(len(grid)), [short_site(site) for site in grid.index], fontsize=6)
    else:
        ax.set_yticks([])
        ax.set_ylabel(f"{len(grid)} sites")
    kinds = sites.to_numpy()
    for border in np.flatnonzero(kinds[1:] != kinds[:-1]):
        ax.axhline(border + 0.5, color="white", lw=1.5)
    for kind in dict.fromkeys(kinds):
        ax.text(
            1.02, 1 - (np.flatnonzero(kinds == kind).mean() + 0.5) / len(kinds),
            _KIND_NAMES.get(kind, kind), transform=ax.transAxes, rotation=270,
            va="center", ha="left", fontsize=7,
        )  # fmt: skip
    bar = ax.figure.colorbar(mesh, ax=ax, pad=0.09, aspect=30)
    bar.set_label(METRIC_LABELS.get(metric, metric))
    return ax


def controls(
    table: pd.DataFrame,
    *,
    value: str = "relative",
    hue: str = "kind",
    style: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Distances over the steps on a logarithmic axis, to compare the way they fall.

    Sites and branches are averaged first; the line is the mean over prompts and the band holds the
    middle 80% of them, since a standard deviation may reach below zero. Zeros are left out.

    Args:
        table: rows of one measure of ``attnscope convergence --controls`` (``controls.parquet``).
        value: ``relative``, ``relative_per_nat``, ``l2``, ...
        hue: column that gets a colour each.
        style: column that gets a dash pattern each, without a band.
        ax: where to draw; ``None`` is the current axes.

    Raises:
        ValueError: the table lacks a column.
    """
    _require(table, value, hue, "step", *([style] if style else []))
    ax = ax or plt.gca()
    keys = list(dict.fromkeys([*_units(table), hue, *([style] if style else []), "step"]))
    curves = table.groupby(keys, observed=True, sort=False)[value].mean().reset_index()
    curves = curves[curves[value] > 0]
    _lines(curves, value, hue, ax, errorbar=None if style else ("pi", 80), style=style)
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    if high < 200 * low:  # few whole powers of ten: label what lies between them
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    _label_steps(ax, _CONTROL_LABELS.get(value, value))
    handles, labels = ax.get_legend_handles_labels()
    for handle, label in zip(handles, labels, strict=True):
        handle.set_label(_KIND_NAMES.get(label, label))
    if handles:
        ax.legend()
    return ax


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
    _require(table, value, hue, "step")
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
        _lines(table, value, hue, ax)
    name = "RMS" if value == "rms" else value.capitalize()
    _label_steps(ax, f"{name} of predicted noise")
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
    chosen = _of_measure(table, measure)
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
    chosen = _of_measure(table, measure, x)
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


def plan(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """The schedule of a plan, a row per kind of attention (the paper's Figure 4).

    A dot marks a step whose output is stored for the steps that reuse it.

    Args:
        table: of :meth:`attnscope.plan.Trajectory.table`, as in ``TGate(10, 5).over(25).table()``.
        ax: where to draw; ``None`` is the current axes.

    Raises:
        ValueError: the table lacks a column.
    """
    _require(table, "row", "step", "what")
    ax = ax or plt.gca()
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
    _label_steps(ax, "")
    present = [what for what in ACTION_COLORS if what in set(table["what"])]
    dot = Line2D([], [], marker="o", ls="", color="white", ms=2.5)
    handles = [
        (Patch(color=ACTION_COLORS[what]), dot)
        if what == "store"
        else Patch(color=ACTION_COLORS[what])
        for what in present
    ]
    ax.legend(
        handles, [_WHAT_NAMES[what] for what in present], ncols=len(present), loc="lower center",
        bbox_to_anchor=(0.5, 1.0), handlelength=1, handletextpad=0.5, columnspacing=1.2,
        handler_map={tuple: HandlerTuple(ndivide=1)},
    )  # fmt: skip
    return ax


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
    _require(table, "axis", "height", "tokens", "part", "macs")
    chosen = table[table["axis"] == axis]
    if chosen.empty:
        raise ValueError(f"axis={axis!r} is not in this table (see table['axis'].unique())")
    ax = ax or plt.gca()
    place = "height" if axis == "resolution" else "tokens"
    kind = chosen["part"].str.extract(f"^({'|'.join(KIND_COLORS)}) ", expand=False).fillna("other")
    products = chosen["part"].str.endswith("products")
    for paper in (False, True):
        counted = chosen[~products] if paper else chosen
        sums = counted.groupby([place, kind.loc[counted.index]])["macs"].sum().unstack().fillna(0)
        for name in [name for name in (*KIND_COLORS, "other") if name in sums]:
            if paper and name == "other":
                continue
            ax.plot(
                sums.index, sums[name], ls="--" if paper else "-", lw=0.9 if paper else 1.4,
                marker="" if paper else "o", ms=2.5, color=_COST_COLORS[name],
                label=None if paper else _KIND_NAMES.get(name, "Everything else"),
            )  # fmt: skip
        if not paper and axis == "tokens" and "cross" in sums:
            _mark_crossover(sums, ax)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ticks = sorted(set(chosen[place]))
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
    _require(table, "saving", "of_baseline", by)
    ax = ax or plt.gca()
    wide = table.pivot_table(index=by, columns="saving", values="of_baseline", sort=False)
    remaining = 1 - wide["all"]
    left = np.zeros(len(wide))
    names = [_CONVENTION_NAMES.get(str(name), str(name)) for name in wide.index]
    parts = [name for name in _SAVING_COLORS if name in wide]
    for label, values, color in [
        ("still computed", remaining, "#dcdcdc"),
        *((part, wide[part].fillna(0), _SAVING_COLORS[part]) for part in parts),
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


def time_breakdown(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Where the time goes: a stacked bar per arm (the paper's Figure 1a).

    Args:
        table: from ``attnscope bench`` (``parts.parquet``).
        ax: where to draw; ``None`` is the current axes.

    Raises:
        ValueError: the table lacks a column.
    """
    _require(table, "arm", "part", "seconds", "share")
    ax = ax or plt.gca()
    arms = list(dict.fromkeys(table["arm"]))
    wide = table.pivot(index="arm", columns="part", values="seconds").loc[arms].fillna(0)
    longest = wide.sum(axis=1).max()
    left = np.zeros(len(wide))
    for part in [name for name in _PART_COLORS if name in wide]:
        values = wide[part].to_numpy()
        bars = ax.barh(
            arms, values, left=left, height=0.7, color=_PART_COLORS[part], label=_PART_NAMES[part]
        )
        shares = wide[part] / wide.sum(axis=1)
        texts = [f"{share:.0%}" if value > 0.05 * longest else ""
                 for share, value in zip(shares, values, strict=True)]  # fmt: skip
        ax.bar_label(bars, texts, label_type="center", fontsize=6.5,
                     color="black" if part == "outside" else "white")  # fmt: skip
        left += values
    ax.invert_yaxis()
    ax.set_xlabel("Seconds per image")
    _bare_rows(ax, columns=wide.shape[1])
    return ax


def saved_alone(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """What each part of a plan saves alone, stacked, and all of them together (a diamond).

    Args:
        table: from ``attnscope bench`` (``attribution.parquet``).
        ax: where to draw; ``None`` is the current axes.

    Raises:
        ValueError: the table lacks a column.
    """
    _require(table, "basis", "saving", "saved", "low", "high")
    ax = ax or plt.gca()
    wide = table.pivot_table(index="basis", columns="saving", values="saved", sort=False)
    left = np.zeros(len(wide))
    parts = [name for name in _SAVING_COLORS if name in wide]
    for part in parts:
        values = wide[part].clip(lower=0).to_numpy()
        bars = ax.barh(
            wide.index, values, left=left, height=0.5, color=_SAVING_COLORS[part], label=part
        )
        texts = [f"{value:.1%}" if value > 0.02 else "" for value in values]
        ax.bar_label(bars, texts, label_type="center", fontsize=6.5, color="white")
        left += values
    whole = table[~table["saving"].isin(_SAVING_COLORS)]
    for row in whole.to_dict("records"):
        place = list(wide.index).index(row["basis"])
        below = place + 0.42
        ax.plot([row["low"], row["high"]], [below, below], color="black", lw=0.8)
        ax.plot(row["saved"], below, "D", color="white", mec="black", ms=4, mew=0.9)
        ax.annotate(
            f"{row['saving']} {row['saved']:.1%}", (row["high"], below), xytext=(6, 0),
            textcoords="offset points", va="center_baseline", fontsize=6.5,
        )  # fmt: skip
    ax.set_ylim(-0.4, len(wide) - 0.35)
    ax.invert_yaxis()
    ax.set_xlim(left=0)
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.set_xlabel("Saved of the run without the plan, by each part alone")
    _bare_rows(ax, columns=len(parts))
    return ax


def frontier(table: pd.DataFrame, measure: str, *, label: str = "", ax: Axes | None = None) -> Axes:
    """Speed-up against a measure of quality: every arm a point with a letter.

    Args:
        table: from ``attnscope bench --frontier`` (``frontier.parquet``).
        measure: one of its measures.
        label: of the measure's axis.
        ax: where to draw; ``None`` is the current axes. Its handles name the letters.

    Raises:
        ValueError: the table lacks a column or the measure, or mixes features or counts.
    """
    _require(table, "speedup", "speedup_low", "speedup_high")
    chosen = _of_measure(table.assign(trajectory=table["arm"]), measure)
    ax = ax or plt.gca()
    arms = list(dict.fromkeys(table["arm"]))
    colors = sns.color_palette("husl", len(arms))
    for row in chosen.to_dict("records"):
        place = arms.index(str(row["arm"]))
        color, letter = colors[place], chr(ord("a") + place)
        if np.isnan(row["speedup"]):  # what perfect images would score
            ax.axhline(row["value"], color="black", lw=0.7, ls=(0, (3, 3)), label=row["arm"])
            continue
        x, y = row["speedup"], row["value"]
        ends = (
            ([row["speedup_low"], row["speedup_high"]], [y, y]),
            ([x, x], [row["low"], row["high"]]),
        )
        for line in ends:
            ax.plot(*line, color=color, lw=0.7, alpha=0.6, zorder=1)
        ax.plot(x, y, "o", color=color, mec="white", mew=0.4, ms=7, label=f"{letter}  {row['arm']}")
        ax.annotate(letter, (x, y), ha="center", va="center_baseline", fontsize=5.5, color="white")
    ax.set_xlabel("Speed-up")
    ax.set_ylabel(label or measure)
    return ax


def _bare_rows(ax: Axes, *, columns: int) -> None:
    """Rows without a spine, the legend above."""
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.legend(
        ncols=columns, loc="lower center", bbox_to_anchor=(0.5, 1.0), handlelength=1,
        handletextpad=0.5, columnspacing=1.2,
    )  # fmt: skip


def image_grid(
    images: Sequence[Any],
    *,
    columns: int = 8,
    titles: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Images side by side.

    Args:
        images: PIL images or arrays ``[height, width, 3]`` of one size.
        columns: how many to a row.
        titles: one per image, drawn below it.
        ax: where to draw; ``None`` is the current axes.

    Raises:
        ValueError: no images, or of different sizes.
    """
    arrays = [np.asarray(image) for image in images]
    if not arrays or len({array.shape for array in arrays}) != 1:
        raise ValueError("image_grid needs one image or more, all of one size")
    ax = ax or plt.gca()
    columns = min(columns, len(arrays))
    rows = -(-len(arrays) // columns)
    height, width = arrays[0].shape[:2]
    gap = max(1, width // 32)
    below = round(height * 0.42) if titles else gap
    white = 255 if arrays[0].dtype == np.uint8 else 1
    canvas = np.full(
        (rows * (height + below), columns * (width + gap) - gap, *arrays[0].shape[2:]),
        white,
        dtype=arrays[0].dtype,
    )
    for index, array in enumerate(arrays):
        top, left = index // columns * (height + below), index % columns * (width + gap)
        canvas[top : top + height, left : left + width] = array
        if titles:
            ax.text(
                left + width / 2, top + height + gap, wrapped(titles[index]), ha="center", va="top",
                fontsize=4.5, linespacing=1.0,
            )  # fmt: skip
    ax.imshow(canvas, interpolation="nearest")
    ax.set_axis_off()
    return ax


def short_site(name: str) -> str:
    """A site's name for an axis: ``down 0.0.0 attn2`` for a U-Net's long path."""
    first, *rest = name.split(".")
    *path, leaf = [part for part in rest if part not in ("attentions", "transformer_blocks")] or [
        ""
    ]
    return " ".join(filter(None, (re.sub("_blocks?$", "", first), ".".join(path), leaf)))


def wrapped(title: str, width: int = 24) -> str:
    """A caption broken into lines of at most ``width`` characters."""
    return "\n".join(textwrap.wrap(title, width))


def _lines(
    table: pd.DataFrame,
    value: str,
    hue: str,
    ax: Axes,
    *,
    errorbar: str | tuple[str, float] | None = "sd",
    style: str | None = None,
) -> None:
    """Mean lines with bands of one standard deviation; kinds and branches keep their colours."""
    colors = {"kind": KIND_COLORS, "branch": BRANCH_COLORS, "curve": CURVE_COLORS}
    known = colors.get(hue, {})
    present = list(dict.fromkeys(table[hue]))
    order = [name for name in known if name in present]
    others = [name for name in present if name not in known]
    palette = {
        **known,
        **dict(zip(others, sns.color_palette("colorblind", len(others)), strict=True)),
    }
    order += others
    dashes = {} if style is None else {"style_order": list(dict.fromkeys(table[style]))}
    sns.lineplot(
        table.astype({hue: object}), x="step", y=value, hue=hue, hue_order=order,
        palette=palette, errorbar=errorbar, style=style, **dashes,
        err_kws={"lw": 0}, ax=ax,
    )  # fmt: skip


def _mark_crossover(sums: pd.DataFrame, ax: Axes) -> None:
    """Where cross-attention passes everything else; both are straight lines over the tokens."""
    excess = 2 * sums["cross"] - sums.sum(axis=1)
    if excess.iloc[0] < 0 < excess.iloc[-1]:
        where = np.interp(0, excess, excess.index)
        ax.axvline(where, color="black", lw=0.7, ls=":")
        ax.annotate(
            f"cross-attention\nover half from\n{where:,.0f} tokens", (where, 0.03), xytext=(4, 0),
            xycoords=("data", "axes fraction"), textcoords="offset points", va="bottom", fontsize=6.5,
        )  # fmt: skip


def _units(table: pd.DataFrame) -> list[str]:
    """The columns that tell one image from another."""
    return [name for name in ("prompt_id", "image", "run", "sample") if name in table]


def _require(table: pd.DataFrame, *columns: str) -> None:
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(
            f"the table has no column {', '.join(missing)} (it has {', '.join(map(str, table))})"
        )


def _of_measure(table: pd.DataFrame, measure: str, *columns: str) -> pd.DataFrame:
    """The rows of one measure, which may be drawn on one axis."""
    _require(table, "arm", "trajectory", "measure", "value", "low", "high", "features", *columns)
    chosen = table[table["measure"] == measure]
    if chosen.empty:
        raise ValueError(
            f"the table has no measure {measure!r} (it has {', '.join(table['measure'].unique())})"
        )
    of_sets = (chosen["features"] != "").any()
    if chosen["features"].nunique() > 1 or (of_sets and chosen["n"].nunique() > 1):
        raise ValueError(f"{measure} of different features or counts cannot be compared")
    return chosen


def _label_steps(ax: Axes, label: str) -> None:
    ax.set_xlabel(_STEP_LABEL)
    ax.set_ylabel(label)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
