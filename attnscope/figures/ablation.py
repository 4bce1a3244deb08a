"""Figures 3, A1 and A6 of the paper, and when each attribute is decided, from an ablation's run."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from attnscope import plots
from attnscope.figures.generation import read_image
from attnscope.measures import CELL, DRAWN, MEASURES, READ

_MOST_COLUMNS = 8
_FEWEST_GATES = 4
_MOST_LINES = 7


def arms(table: pd.DataFrame) -> Figure:
    """The leading measures of every arm of the first cell, as differences to S where there are some."""
    table, cell = _first(table)
    measures = [name for name in DRAWN if name in set(table["measure"]) and name != "psnr"][:4]
    names = list(table["arm"].drop_duplicates())
    figure, axes = plt.subplots(
        1, len(measures), squeeze=False, figsize=(plots.TEXT_WIDTH, 0.85 + 0.19 * len(names))
    )
    for ax, measure in zip(axes[0], measures, strict=True):
        chosen = table[table["measure"] == measure]
        told = bool(chosen["difference_low"].notna().any())
        plots.by_arm(
            chosen, measure, arms=names, difference=told, label=_label(chosen, told), ax=ax
        )
        ax.xaxis.label.set_size(6)
    for ax in axes[0][1:]:
        ax.set_yticklabels([])
    return _titled(figure, cell)


def gates(table: pd.DataFrame) -> Figure | None:
    """The leading measures of the first cell against the gate, where there are many."""
    if table["gate"].nunique() < _FEWEST_GATES:
        return None
    table = table[table["trajectory"].isin(["S", "S^F", "S^L"])]
    table, cell = _first(table)
    measures = [name for name in DRAWN if name in set(table["measure"])][:3]
    figure, axes = plt.subplots(
        1, len(measures), squeeze=False, figsize=(plots.TEXT_WIDTH, plots.TEXT_WIDTH * 0.32)
    )
    for ax, measure in zip(axes[0], measures, strict=True):
        chosen = table[table["measure"] == measure]
        plots.by_gate(chosen, measure, label=_label(chosen), ax=ax)
    axes[0, 0].legend()
    return _titled(figure, cell)


def decided(table: pd.DataFrame) -> Figure | None:
    """When is each attribute decided? Alignment against the gate, over steps and over log-SNR.

    A column per attribute of the embedded world; a dashed line is the run at another noise scale.
    """
    attributes = [name for name in READ if name in set(table["measure"])]
    table = table[table["trajectory"].isin(["S", "S^F", "S^L"])]
    if table["gate"].nunique() < _FEWEST_GATES or not attributes:
        return None
    first = table[[name for name in CELL if name != "noise_scale"]].iloc[0]
    table = table[(table[list(first.index)] == first).all(axis=1)]
    scales = list(table["noise_scale"].drop_duplicates())[:2]
    figure, axes = plt.subplots(
        2, len(attributes), sharey="row", sharex="row",
        figsize=(plots.TEXT_WIDTH, plots.TEXT_WIDTH * 0.46),
    )  # fmt: skip
    for row, x in zip(axes, ("gate", "log_snr"), strict=True):
        for ax, attribute in zip(row, attributes, strict=True):
            for scale, style in zip(scales, ("o-", "o--"), strict=False):
                chosen = table[(table["noise_scale"] == scale) & (table["measure"] == attribute)]
                plots.by_gate(chosen, attribute, x=x, style=style, ax=ax)
            ax.set(ylim=(0, 1.03), xlabel="", ylabel="")
    for ax, attribute in zip(axes[0], attributes, strict=True):
        ax.set_title(attribute)
    for ax in axes[:, 0]:
        ax.set_ylabel("Alignment")
    lines, labels = _text_handles()
    if len(scales) > 1:
        lines.append(Line2D([], [], color="#4d4d4d", lw=0.8, ls="--"))
        labels.append(f"at {scales[1]:g} times the noise")
    figure.legend(lines, labels, ncols=len(lines), loc="outside upper center", handlelength=1.6)
    for row, label in zip(axes, ("Gate (step)", "Log-SNR at the gate"), strict=True):
        row[len(attributes) // 2].set_xlabel(label)
    return figure


def noise(table: pd.DataFrame) -> Figure | None:
    """Mean and norm of the guided prediction over the steps, a line per arm (Figure 3a)."""
    if table.empty:
        return None
    table, cell = _first(table[table["branch"] == "guided"])
    names = list(table["arm"].drop_duplicates())[:_MOST_LINES]
    table = table[table["arm"].isin(names)]
    figure, axes = plt.subplots(1, 2, figsize=(plots.TEXT_WIDTH, plots.TEXT_WIDTH * 0.36))
    for ax, value in zip(axes, ("mean", "norm"), strict=True):
        plots.noise_mean(table, value=value, hue="arm", ax=ax)
    axes[0].get_legend().remove()
    axes[0].axhline(0, color="#bbbbbb", lw=0.6, zorder=0)
    return _titled(figure, cell)


def pictures(table: pd.DataFrame) -> Figure | None:
    """The images that trajectories hold on the way: a row per arm, a column per step (Figure 3b)."""
    if table.empty:
        return None
    table, cell = _first(table)
    table = table[table["prompt_id"] == table["prompt_id"].iloc[0]]
    steps = sorted(table["step"].unique())
    return _titled(_grid(table, "step", steps, [f"step {step}" for step in steps]), cell)


def samples(table: pd.DataFrame) -> Figure:
    """Images of up to eight prompts: a row per arm, a column per prompt (Figures A1 and A6)."""
    table, cell = _first(table[table["frame"] == 0])
    chosen = list(table["prompt_id"].drop_duplicates().head(_MOST_COLUMNS))
    figure = _grid(
        table[table["prompt_id"].isin(chosen)], "prompt_id", chosen,
        [plots.wrapped(str(table.loc[table["prompt_id"] == i, "text"].iloc[0]), 20) for i in chosen],
    )  # fmt: skip
    return _titled(figure, cell)


def _grid(table: pd.DataFrame, column: str, places: list[int], titles: list[str]) -> Figure:
    names = list(table["arm"].drop_duplicates())
    cell = min(1.0, (plots.TEXT_WIDTH - 0.8) / len(places))
    figure, axes = plt.subplots(
        len(names), len(places), squeeze=False,
        figsize=(0.8 + cell * len(places), 0.35 + (cell + 0.03) * len(names)),
    )  # fmt: skip
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    for row in table.itertuples():
        ax = axes[names.index(str(row.arm)), places.index(getattr(row, column))]
        ax.imshow(read_image(str(row.path)), interpolation="nearest")
    for ax, name in zip(axes[:, 0], names, strict=True):
        ax.set_ylabel(plots.math_name(name), rotation=0, ha="right", va="center")
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=4.5 if "\n" in title else 7, linespacing=1.0)
    return figure


def _first(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The arms of the first model, scheduler, steps, noise scale and seed; its name if there are more."""
    first = table[list(CELL)].iloc[0]
    varying = [name for name in CELL if table[name].nunique() > 1]
    name = ", ".join(f"{name.replace('_', ' ')} {first[name]}" for name in varying)
    return table[(table[list(CELL)] == first).all(axis=1)], name


def _titled(figure: Figure, cell: str) -> Figure:
    if cell:
        figure.suptitle(cell, fontsize=8)
    return figure


def _label(chosen: pd.DataFrame, difference: bool = False) -> str:
    """A measure's name; of a distance between sets also what it rests on."""
    row = chosen.iloc[0]
    measure = MEASURES[row["measure"]]
    heading = f"{measure.label}, difference to $S$" if difference else measure.heading
    if not row["features"]:
        return heading
    features, protocol = row["features"].split(", ", 1)
    return f"{heading}\n{features}, n = {row['n']:,}\n{protocol}"


def _text_handles() -> tuple[list[Line2D], list[str]]:
    colors = plots.TRAJECTORY_COLORS
    lines = [
        Line2D([], [], color=colors["S^F"], marker="o", ms=2.5),
        Line2D([], [], color=colors["S^L"], marker="o", ms=2.5),
        Line2D([], [], color=colors["S"], lw=0.8),
    ]
    return lines, ["text only before the gate", "only after it", "throughout"]


FIGURES = {
    "arms": ("arms", arms),
    "gates": ("arms", gates),
    "decided": ("arms", decided),
    "noise": ("noise", noise),
    "pictures": ("pictures", pictures),
    "samples": ("images", samples),
}
"""File name to the table and the function that draws it."""
