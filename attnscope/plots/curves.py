"""Curves over denoising steps: convergence, and what it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import LogLocator, NullFormatter

from attnscope.plots.style import (
    DASHES,
    KIND_COLORS,
    KIND_MARKERS,
    KIND_NAMES,
    LEVEL,
    LINE_COLORS,
    SMALLEST_TEXT,
    label_steps,
    looks,
    once,
    replacing,
)
from attnscope.plots.tidy import require, require_numbers, require_one_run, units
from attnscope.sites.names import short_site

BRANCH_COLORS = {"uncond": "#949494", "cond": "#0173b2", "guided": "#d55e00"}
"""Of guidance branches."""
BRANCH_LOOKS: dict[str, dict[str, Any]] = {
    "uncond": {"lw": 3.2, "solid_capstyle": "butt"},
    "cond": {"lw": 1.0},
    "guided": {"lw": 1.0, "ls": DASHES[1]},
}
"""Where both branches go the same way, the broad line is seen on both sides of the thin one."""
CURVE_COLORS = {
    "to another caption": "#005c44",
    "to the last step": "#b07848",
    "step to step": "#0173b2",
    "step to step, other caption": "#6cc0f0",
}
"""Of several curves of one kind of attention."""
_CURVE_MARKERS = dict(zip(CURVE_COLORS, ("^", "D", "o", "s"), strict=True))
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
    x: str = "step",
    errorbar: ErrorBar = "sd",
    palette: Palette = None,
    ax: Axes | None = None,
) -> Axes:
    """Distance between consecutive attention outputs over the steps (the paper's Figure 2).

    Sites and branches are averaged first; the line is the mean over images (prompts, and seeds where
    a table has several) and the band their standard deviation, or another ``errorbar``. Runs that are not to
    be averaged, of different step counts, schedulers or models, are refused unless ``hue`` parts them.

    Args:
        table: from ``attnscope convergence`` (``records.parquet``) or ``Trace.records()``.
        metric: ``l2``, ``rms``, ``relative`` or ``cosine``.
        hue: column that gets a line each: ``kind``, ``block``, ``branch``, ``site``, ...
        x: ``step``, or ``log_snr`` where the table has it (``distances.parquet`` of ``attnscope maps``).
        errorbar: what the band is, as in seaborn: ``"sd"``, ``("pi", 80)``, ``("ci", 95)``, ``None``.
        palette: colours, as in seaborn.
        ax: where to draw; ``None`` is the current axes.

    Raises:
        ValueError: the table lacks a column or rows, or mixes what is not to be averaged.
    """
    require(table, metric, hue, "step", x)
    require_numbers(table, metric)
    require_one_run(table, metric, [hue])
    ax = ax or plt.gca()
    keys = list(dict.fromkeys([*units(table), hue, x]))
    curves = table.groupby(keys, observed=True, dropna=False)[metric].mean().reset_index()
    lines(curves, metric, hue, ax, x=x, errorbar=errorbar, palette=palette)
    label_steps(ax, METRIC_LABELS.get(metric, metric))
    if x == "log_snr":
        ax.set_xlabel(LEVEL)
    ax.legend(*once(ax))
    return ax


def convergence_by_site(
    table: pd.DataFrame,
    site: str,
    *,
    metric: str = "l2",
    errorbar: ErrorBar = "sd",
    palette: Palette = None,
    ax: Axes | None = None,
) -> Axes:
    """The same curve for one site, a line for each guidance branch (the paper's Figure A3).

    Args:
        table: as for :func:`convergence`.
        site: its name, or the short form that tables show.
        metric: ``l2``, ``rms``, ``relative`` or ``cosine``.
        errorbar: as of :func:`convergence`.
        palette: as of :func:`convergence`.
        ax: where to draw; ``None`` is the current axes.

    Raises:
        ValueError: as of :func:`convergence`, or the table lacks the site.
    """
    require(table, "site", "branch", metric)
    named = [name for name in table["site"].unique() if site in (name, short_site(name))]
    if len(named) != 1:
        several = f"is the short name of {', '.join(named)}" if named else "is not in this table"
        raise ValueError(f"site {site!r} {several} (see table['site'].unique())")
    (name,) = named
    chosen = table[table["site"] == name]
    ax = convergence(chosen, metric=metric, hue="branch", errorbar=errorbar, palette=palette, ax=ax)
    ax.set_title(short_site(name))
    return ax


def convergence_heatmap(
    table: pd.DataFrame,
    *,
    metric: str = "relative",
    ax: Axes | None = None,
) -> Axes:
    """All sites against steps; a row is a site in the order of data flow, colour is logarithmic.

    White is no change at all. Drawn again into the same axes, it takes the place of the one before.

    Args:
        table: as for :func:`convergence`.
        metric: ``l2``, ``rms``, ``relative`` or ``cosine``.
        ax: where to draw; ``None`` is the current axes.

    Raises:
        ValueError: as of :func:`convergence`.
    """
    require(table, "site", "kind", "step", metric)
    require_numbers(table, metric)
    require_one_run(table, metric, ["site"])
    ax = ax or plt.gca()
    grid = table.groupby(["site", "step"], observed=True)[metric].mean().unstack("step")
    sites = (
        table.drop_duplicates("site")
        .set_index("site")["kind"]
        .sort_values(kind="stable", key=lambda kinds: kinds.astype(str))
    )
    grid = grid.loc[list(sites.index)]
    with replacing(ax):
        _draw_heatmap(grid, sites.to_numpy(), METRIC_LABELS.get(metric, metric), ax)
    return ax


def _draw_heatmap(grid: pd.DataFrame, kinds: Any, label: str, ax: Axes) -> None:
    values, steps = grid.to_numpy(), grid.columns.to_numpy(dtype=float)
    positive = values[values > 0]
    norm = LogNorm(positive.min(), positive.max()) if positive.size else None
    mesh = ax.imshow(
        np.ma.masked_less_equal(values, 0), aspect="auto", cmap="cividis", norm=norm,
        interpolation="nearest", extent=(steps[0] - 0.5, steps[-1] + 0.5,
                                         len(grid) - 0.5, -0.5),
    )  # fmt: skip
    label_steps(ax, "")
    if len(grid) <= 40:
        names = [short_site(site) for site in grid.index]
        ax.set_yticks(range(len(grid)), names, fontsize=SMALLEST_TEXT)
    else:
        ax.set_yticks([])
        ax.set_ylabel(f"{len(grid)} sites")
    for border in np.flatnonzero(kinds[1:] != kinds[:-1]):
        ax.axhline(border + 0.5, color="white", lw=1.5)
    for kind in dict.fromkeys(kinds):
        ax.text(
            1.02, 1 - (np.flatnonzero(kinds == kind).mean() + 0.5) / len(kinds),
            KIND_NAMES.get(kind, kind), transform=ax.transAxes, rotation=270,
            va="center", ha="left", fontsize=SMALLEST_TEXT,
        )  # fmt: skip
    bar = ax.figure.colorbar(mesh, ax=ax, pad=0.11, aspect=30)
    bar.set_label(label)


def controls(
    table: pd.DataFrame,
    *,
    value: str = "relative",
    hue: str = "kind",
    style: str | None = None,
    errorbar: ErrorBar = ("pi", 80),
    palette: Palette = None,
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
        errorbar: what the band is, as in seaborn.
        palette: colours, as in seaborn.
        ax: where to draw; ``None`` is the current axes.

    Raises:
        ValueError: the table lacks a column or rows, mixes what is not to be averaged, or is zero
            throughout.
    """
    parts = [hue, style] if style else [hue]
    require(table, value, *parts, "step")
    require_numbers(table, value)
    require_one_run(table, value, parts)
    ax = ax or plt.gca()
    keys = list(dict.fromkeys([*units(table), *parts, "step"]))
    groups = table.groupby(keys, observed=True, sort=False, dropna=False)
    curves = groups[value].mean().reset_index()
    curves = curves[curves[value] > 0]
    if curves.empty:
        raise ValueError(f"column {value} is zero throughout, which no logarithmic axis can show")
    bands = None if style else errorbar
    lines(curves, value, hue, ax, errorbar=bands, palette=palette, style=style)
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    if high < 200 * low:  # few whole powers of ten: label what lies between them
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    label_steps(ax, _CONTROL_LABELS.get(value, value))
    ax.legend(*once(ax))
    return ax


ErrorBar = str | tuple[str, float] | Callable[..., Any] | None
"""As in seaborn: ``"sd"``, ``("pi", 80)``, ``("ci", 95)``, a function, or ``None`` for no band."""
Palette = str | Sequence[Any] | Mapping[Any, Any] | None
"""As in seaborn: the name of a palette, colours in the order of the lines, or colours by line."""


def lines(
    table: pd.DataFrame,
    value: str,
    hue: str,
    ax: Axes,
    *,
    x: str = "step",
    errorbar: ErrorBar = "sd",
    palette: Palette = None,
    style: str | None = None,
) -> None:
    """Mean lines over the steps with bands; kinds, branches and curves keep their looks.

    Args:
        table: a row per image, step and value of ``hue`` (and ``style``).
        value: the column to draw.
        hue: column that gets a line each.
        ax: where to draw.
        x: column that is across.
        errorbar: what the bands are, as in seaborn.
        palette: colours, as in seaborn; ``None`` keeps those that kinds and branches have.
        style: column that gets dashes each.
    """
    table = table.assign(**{hue: table[hue].astype(object).where(table[hue].notna(), "none")})
    names = list(dict.fromkeys(table[hue]))
    given = _recolored(line_looks(hue, names), palette)
    kinds = [None] if style is None else list(dict.fromkeys(table[style]))
    if len(kinds) > len(DASHES):
        raise ValueError(
            f"{style} has {len(kinds)} values, and there are {len(DASHES)} sorts of dashes"
        )
    for name in sorted(names, key=list(given).index):
        for dash, kind in zip(DASHES, kinds, strict=False):
            chosen = table[table[hue] == name]
            if style is not None:
                chosen = chosen[chosen[style] == kind]
            if chosen.empty:
                continue
            look = given[name] | ({"ls": dash} if style is not None else {})
            label = KIND_NAMES.get(name, str(name)) if hue == "kind" else str(name)
            _draw(chosen, x, value, look, label, errorbar, ax)


def line_looks(hue: str, names: list[Any]) -> Mapping[Any, dict[str, Any]]:
    """How the lines of a column look, no two alike; those that have looks of their own come first."""
    known: dict[str, dict[Any, dict[str, Any]]] = {
        "kind": {
            kind: {"color": color, "marker": KIND_MARKERS[kind]}
            for kind, color in KIND_COLORS.items()
        },
        "branch": {
            branch: {"color": color, **BRANCH_LOOKS[branch]}
            for branch, color in BRANCH_COLORS.items()
        },
        "curve": {
            curve: {"color": color, "marker": _CURVE_MARKERS[curve]}
            for curve, color in CURVE_COLORS.items()
        },
    }
    own = known.get(hue, {})
    found = {name: own[name] for name in own if name in names}
    others = [name for name in names if name not in own]
    taken = len(DASHES) * len(LINE_COLORS) if found else 0  # those without a marker
    return found | dict(zip(others, looks(taken + len(others))[taken:], strict=True))


def _recolored(
    given: Mapping[Any, dict[str, Any]], palette: Palette
) -> Mapping[Any, dict[str, Any]]:
    """Looks in the colours of a palette.

    Raises:
        ValueError: it lacks a colour.
    """
    if palette is None:
        return given
    if isinstance(palette, Mapping):
        missing = [name for name in given if name not in palette]
        if missing:
            raise ValueError(
                f"palette lacks {missing[0]!r}: give a colour for each of {list(given)}"
            )
        colors = [palette[name] for name in given]
    else:
        colors = sns.color_palette(palette, len(given))
    return {
        name: look | {"color": color}
        for (name, look), color in zip(given.items(), colors, strict=True)
    }


def _draw(
    chosen: pd.DataFrame,
    x: str,
    value: str,
    look: dict[str, Any],
    label: str,
    errorbar: ErrorBar,
    ax: Axes,
) -> None:
    every = max(1, chosen[x].nunique() // 6)
    sns.lineplot(
        chosen, x=x, y=value, errorbar=errorbar, err_kws={"alpha": 0.2, "lw": 0},
        label=label, legend=False, markevery=every, ms=2.8, mew=0, ax=ax, seed=0, **look,
    )  # fmt: skip
