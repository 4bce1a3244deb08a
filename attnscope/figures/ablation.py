"""Figures 3, A1 and A6 of the paper, and when each attribute is decided, from an ablation's run."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from attnscope import plots
from attnscope.figures.generation import read_image
from attnscope.figures.layout import image_cells, note, numbered, panels, shared_legend, title
from attnscope.figures.registry import draws
from attnscope.metrics.measures import DRAWN, MEASURES
from attnscope.runs.columns import CELL, READ

_MOST_COLUMNS = 8
_FEWEST_GATES = 4
_MOST_LINES = 24
_OF_FIRST = ", of the first arm alone"


@draws("ablate", "arms")
def arms(table: pd.DataFrame) -> Figure:
    """The leading measures of every arm of the first cell, as differences to S where there are some."""
    table, cell = _first(table)
    found = [name for name in DRAWN if name in set(table["measure"])]
    measures = [name for name in found if not MEASURES[name].decibels][:4]
    names = list(table["arm"].drop_duplicates())
    figure, axes = panels(len(measures), columns=2, height=0.55 + 0.125 * len(names), extra=0.3)
    for index, (ax, measure) in enumerate(zip(axes, measures, strict=True)):
        chosen = table[table["measure"] == measure]
        told = bool(chosen["difference_low"].notna().any())
        plots.by_arm(
            chosen, measure, arms=names, difference=told, label=_label(chosen, told), ax=ax
        )
        ax.xaxis.label.set_fontsize(plots.SMALLEST_TEXT)
        if index % 2:
            ax.set_yticklabels([])
    return _told(figure, cell, table)


@draws("ablate", "arms")
def gates(table: pd.DataFrame) -> Figure | None:
    """The leading measures of the first cell against the gate, where there are many."""
    if table["gate"].nunique() < _FEWEST_GATES:
        return None
    table = table[table["trajectory"].isin(["S", "S^F", "S^L"])]
    table, cell = _first(table)
    table, interval = _first_interval(table)
    measures = [name for name in DRAWN if name in set(table["measure"])][:3]
    figure, axes = panels(len(measures), columns=1, height=1.3, extra=0.5, sharex=True)
    for ax, measure in zip(axes, measures, strict=True):
        chosen = table[table["measure"] == measure]
        plots.by_gate(chosen, measure, label=_label(chosen), ax=ax)
        if ax is not axes[-1]:
            ax.set_xlabel("")
    shared_legend(figure, axes, columns=3)
    return _told(figure, ", ".join(filter(None, (cell, interval))), table)


@draws("ablate", "arms")
def decided(table: pd.DataFrame) -> Figure | None:
    """When is each attribute decided? Alignment against the gate, over steps and over log-SNR.

    A row per attribute of the embedded world; a dashed line is the run at another noise scale.
    """
    attributes = [name for name in READ if name in set(table["measure"])]
    table = table[table["trajectory"].isin(["S", "S^F", "S^L"])]
    if table["gate"].nunique() < _FEWEST_GATES or not attributes:
        return None
    first = table[[name for name in CELL if name != "noise_scale"]].iloc[0]
    table = table[(table[list(first.index)] == first).all(axis=1)]
    table, interval = _first_interval(table)
    scales = list(table["noise_scale"].drop_duplicates())
    figure, axes = plt.subplots(
        len(attributes), 2, sharey=True, sharex="col", squeeze=False,
        figsize=(plots.COLUMN_WIDTH, 0.75 + 0.66 * len(attributes)),
    )  # fmt: skip
    for column, x in zip(axes.T, ("gate", "log_snr"), strict=True):
        for ax, attribute in zip(column, attributes, strict=True):
            for scale, style in zip(scales[:2], ("o-", "o--"), strict=False):
                chosen = table[(table["noise_scale"] == scale) & (table["measure"] == attribute)]
                plots.by_gate(chosen, attribute, x=x, style=style, ax=ax)
            ax.set(ylim=(0, 1.03), yticks=[0, 0.5, 1], ylabel="")
            if ax is not column[-1]:
                ax.set_xlabel("")
    for ax, attribute in zip(axes[:, 0], attributes, strict=True):
        ax.set_ylabel(attribute)
    lines, labels = _text_handles()
    if len(scales) > 1:
        lines.append(Line2D([], [], color=plots.TRAJECTORY_COLORS["S"], lw=0.8, ls="--"))
        labels.append(f"at {scales[1]:g} times the noise")
    figure.legend(lines, labels, ncols=2, loc="outside upper center", handlelength=1.8)
    if len(scales) > 2:
        note(figure, f"noise scales not drawn: {', '.join(f'{scale:g}' for scale in scales[2:])}")
    if interval:
        note(figure, interval)
    return figure


@draws("ablate", "noise")
def noise(table: pd.DataFrame) -> Figure | None:
    """Mean and norm of the guided prediction over the steps, a line per arm (Figure 3a)."""
    if table.empty:
        return None
    table, cell = _first(table[table["branch"] == "guided"])
    arms = table[["arm", "trajectory"]].drop_duplicates("arm")
    drawn = arms[arms.groupby("trajectory").cumcount() < plots.MOST_ARMS]["arm"].head(_MOST_LINES)
    left_out = [arm for arm in arms["arm"] if arm not in set(drawn)]
    table = table[table["arm"].isin(drawn)]
    figure, axes = panels(2, columns=2, height=2.1, extra=0.3 + 0.12 * -(-len(drawn) // 2))
    for ax, value in zip(axes, ("mean", "norm"), strict=True):
        plots.noise_mean(table, value=value, hue="arm", ax=ax)
        ax.set_title(ax.get_ylabel(), fontsize=6.5)  # longer than the axis is high
        ax.set_ylabel("")
    axes[0].axhline(0, color="#bbbbbb", lw=0.6, zorder=0)
    shared_legend(figure, axes, columns=2, fontsize=plots.SMALLEST_TEXT, handlelength=3.2)
    note(figure, f"bands: one standard deviation over prompts{_OF_FIRST if len(drawn) > 4 else ''}")
    if left_out:
        note(figure, f"not drawn: {', '.join(left_out)}")
    return _told(figure, cell, table)


@draws("ablate", "pictures")
def pictures(table: pd.DataFrame) -> Figure | None:
    """The images that trajectories hold on the way: a row per arm, a column per step (Figure 3b)."""
    if table.empty:
        return None
    table, cell = _first(table)
    table = table[table["prompt_id"] == table["prompt_id"].iloc[0]]
    steps = sorted(table["step"].unique())
    figure = _grid(table, "step", steps, [f"step {step}" for step in steps])
    return _told(figure, cell, table)


@draws("ablate", "images")
def samples(table: pd.DataFrame) -> Figure:
    """Images of up to eight prompts: a row per arm, a column per prompt (Figures A1 and A6)."""
    table, cell = _first(table[table["frame"] == 0])
    prompts = list(table["prompt_id"].drop_duplicates())
    chosen = prompts[:_MOST_COLUMNS]
    shown = table[table["prompt_id"].isin(chosen)]
    numbers = [str(number) for number in range(1, len(chosen) + 1)]
    captions = [str(shown.loc[shown["prompt_id"] == i, "text"].iloc[0]) for i in chosen]
    figure = _grid(shown, "prompt_id", chosen, numbers, more=0.11 * len(captions))
    numbered(figure, captions)
    if len(chosen) < len(prompts):
        note(figure, f"the first {len(chosen)} of {len(prompts)} prompts")
    return _told(figure, cell, shown)


def _grid(
    table: pd.DataFrame, column: str, places: list[int], titles: list[str], *, more: float = 0.0
) -> Figure:
    """Images in rows of arms; ``more`` is room below them, in inches."""
    names = list(table["arm"].drop_duplicates())
    figure, axes = image_cells([_stacked(name) for name in names], titles, more=more)
    for row in table.itertuples():
        ax = axes[names.index(str(row.arm)), places.index(getattr(row, column))]
        ax.imshow(read_image(str(row.path)), interpolation="nearest")
    return figure


def _stacked(arm: str) -> str:
    """An arm's name beside a row of images, its gate and interval below it."""
    first, *rest = arm.split(" m=", 1)
    return plots.math_name("\n".join([first, *(f"m={values}" for values in rest)]))


def _first(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The arms of the first model, scheduler, steps, noise scale and seed; its name if there are more."""
    cells = table[list(CELL)].drop_duplicates()
    first = cells.iloc[0]
    varying = [name for name in CELL if cells[name].nunique() > 1]
    name = ", ".join(f"{name.replace('_', ' ')} {first[name]}" for name in varying)
    told = f"{name} (the first of {len(cells)} combinations; the others are not drawn)"
    return table[(table[list(CELL)] == first).all(axis=1)], told if varying else ""


def _first_interval(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The arms of the first interval of reuse, and which one that is if there are more."""
    intervals = list(table["interval"].dropna().drop_duplicates())
    if len(intervals) < 2:
        return table, ""
    kept = table[table["interval"].isna() | (table["interval"] == intervals[0])]
    return kept, f"interval k={intervals[0]} (of {', '.join(map(str, intervals))})"


def _told(figure: Figure, cell: str, table: pd.DataFrame) -> Figure:
    """The cell over a figure, and under it what the names of its trajectories mean."""
    title(figure, cell)
    found = set(table["trajectory"])
    reused = bool(table["interval"].notna().any()) or bool(found & {"gate"})
    meanings = _REUSED if reused else _REPLACED
    parts = [meaning for name, meaning in meanings.items() if name in found or name == "S"]
    note(figure, plots.math_name("; ".join(parts)))
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
        Line2D([], [], color=colors["S^F"], marker=plots.TRAJECTORY_MARKERS["S^F"], ms=3),
        Line2D([], [], color=colors["S^L"], marker=plots.TRAJECTORY_MARKERS["S^L"], ms=3),
        Line2D([], [], color=colors["S"], lw=0.8),
    ]
    return lines, ["text only before the gate", "only after it", "throughout"]


_REPLACED = {
    "S": "S: the text at every step",
    "S^F": "S^F: up to step m",
    "S^L": "S^L: from step m on",
    "reference": "reference: other images of the reference set",
}
_REUSED = {
    "S": "S: all attention computed",
    "S^F": "S^F: self-attention reused from step m on",
    "S^L": "S^L: reused before m",
    "gate": "gate: cross-attention reused from m on",
    "reference": "reference: other images of the reference set",
}
"""What a trajectory's name means: of the text, and of self-attention."""
