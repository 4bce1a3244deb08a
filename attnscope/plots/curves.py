"""Curves over denoising steps: convergence, and what it is compared with."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import LogLocator, NullFormatter

from attnscope.plots.style import KIND_COLORS, KIND_NAMES, label_steps, short_site
from attnscope.plots.tidy import require, units

BRANCH_COLORS = {"uncond": "#949494", "cond": "#0173b2", "guided": "#d55e00"}
"""From seaborn's ``colorblind`` palette (Wong 2011)."""
CURVE_COLORS = {
    "to another caption": "#029e73",
    "to the last step": "#ca9161",
    "step to step": "#0173b2",
    "step to step, other caption": "#56b4e9",
}
"""Of several curves of one kind of attention."""
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
    require(table, metric, hue, "step")
    ax = ax or plt.gca()
    images = units(table)
    keys = list(dict.fromkeys([*images, hue, "step"]))
    curves = table.groupby(keys, observed=True)[metric].mean().reset_index()
    lines(curves, metric, hue, ax)
    label_steps(ax, METRIC_LABELS.get(metric, metric))
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles, [KIND_NAMES.get(label, label) for label in labels])
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
    require(table, "site", "branch", metric)
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
    require(table, "site", "kind", "step", metric)
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
    label_steps(ax, "")
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
            KIND_NAMES.get(kind, kind), transform=ax.transAxes, rotation=270,
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
    require(table, value, hue, "step", *([style] if style else []))
    ax = ax or plt.gca()
    keys = list(dict.fromkeys([*units(table), hue, *([style] if style else []), "step"]))
    curves = table.groupby(keys, observed=True, sort=False)[value].mean().reset_index()
    curves = curves[curves[value] > 0]
    lines(curves, value, hue, ax, errorbar=None if style else ("pi", 80), style=style)
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    if high < 200 * low:  # few whole powers of ten: label what lies between them
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    label_steps(ax, _CONTROL_LABELS.get(value, value))
    handles, labels = ax.get_legend_handles_labels()
    for handle, label in zip(handles, labels, strict=True):
        handle.set_label(KIND_NAMES.get(label, label))
    if handles:
        ax.legend()
    return ax


def lines(
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
