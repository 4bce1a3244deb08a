"""Several plans on the same noise and prompts (Figures 1b, 6, A1, A2 and A5), and step by step (A6)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from attnscope import plots
from attnscope.figures.generation import read_image
from attnscope.figures.layout import image_cells, note
from attnscope.figures.registry import draws
from attnscope.figures.samples import rows

MOST_COLUMNS = 6
"""Prompts, or steps, side by side."""
_BASELINE = "baseline"
_USUAL = ("k=1", "w=2", "f=1")


@draws("generate-plans", "images", "plans")
def plans(images: pd.DataFrame, by_plan: pd.DataFrame) -> Figure:
    """A row per plan, the slowest first, with its seconds an image; a column per prompt.

    Args:
        images: a row per image: ``plan``, ``prompt_id``, ``frame``, ``text`` and ``path``.
        by_plan: a row per plan, the slowest first: ``plan`` and ``seconds``.
    """
    first = images[images["frame"] == 0].sort_values("prompt_id", kind="stable")
    chosen = list(first["prompt_id"].drop_duplicates())[:MOST_COLUMNS]
    shown = first[first["prompt_id"].isin(chosen)]
    made = {
        _row(str(plan), float(seconds)): [
            read_image(path) for path in shown.loc[shown["plan"] == plan, "path"]
        ]
        for plan, seconds in zip(by_plan["plan"], by_plan["seconds"], strict=True)
    }
    captions = shown.drop_duplicates("prompt_id")["text"]
    figure = rows(made, list(captions))
    count = first["prompt_id"].nunique()
    if len(chosen) < count:
        note(figure, f"the first {len(chosen)} of {count} prompts")
    return figure


@draws("generate-plans", "stages")
def stages(table: pd.DataFrame) -> Figure:
    """The image that every plan holds after each step, of the first prompt, and where plans differ.

    The difference is that of the plan to the baseline's image, or else the first plan's, of the same step: the mean
    absolute difference of the three channels, on one scale for all, which reaches to 0.1 at least.
    """
    table = table[table["prompt_id"] == table["prompt_id"].iloc[0]]
    steps = sorted(table["step"].unique())
    shown = _spread(steps)
    names = [str(plan) for plan in table["plan"].drop_duplicates()]
    reference = _BASELINE if _BASELINE in names else names[0]
    images = {
        name: {
            row["step"]: read_image(str(row["path"]))
            for row in of_plan.to_dict("records")
            if row["step"] in shown
        }
        for name, of_plan in table.groupby("plan", sort=False)
    }
    others = [name for name in names if name != reference]
    far = {
        name: {step: _difference(images[name][step], images[reference][step]) for step in shown}
        for name in others
    }
    labels = [_short(reference)] + [
        label for name in others for label in (_short(name), "difference")
    ]
    figure, axes = image_cells(labels, [f"step {step + 1}" for step in shown], more=-0.05)
    top = max([0.1, *(float(np.max(cell)) for line in far.values() for cell in line.values())])
    mesh = None
    lines: list[tuple[dict[Any, Any], bool]] = [(images[reference], False)]
    for name in others:
        lines += [(images[name], False), (far[name], True)]
    for line, (cells, is_far) in zip(axes, lines, strict=True):
        for ax, step in zip(line, shown, strict=True):
            if is_far:
                mesh = ax.imshow(
                    cells[step], cmap="magma", vmin=0, vmax=top, interpolation="nearest"
                )
            else:
                ax.imshow(cells[step], interpolation="nearest")
    if mesh is not None:
        bar = figure.colorbar(mesh, ax=axes, location="bottom", aspect=40, pad=0.02, shrink=0.6)
        bar.ax.tick_params(labelsize=plots.SMALLEST_TEXT)
    if len(shown) < len(steps):
        note(figure, f"{len(shown)} of {len(steps)} steps")
    return figure


def _spread(steps: list[Any]) -> list[Any]:
    """As many steps as there is room for, evenly, the last one among them."""
    places = np.linspace(0, len(steps) - 1, min(MOST_COLUMNS, len(steps))).round().astype(int)
    return [steps[place] for place in places]


def _difference(ours: Any, theirs: Any) -> Any:
    return np.abs(ours.astype(float) - theirs.astype(float)).mean(-1) / 255


def _row(plan: str, seconds: float) -> str:
    return f"{_short(plan)}\n{seconds:.3g} s"


def _short(plan: str) -> str:
    """A plan by the values that are not the usual ones, as the paper writes it; a name on a line of its own."""
    return "\n+ ".join(_part(part) for part in plan.split("+"))


def _part(plan: str) -> str:
    name, colon, values = plan.partition(":")
    shown = ",".join(value for value in values.split(",") if value not in _USUAL)
    if name == "tgate":
        return shown
    return f"{name}\n{shown}" if colon else name
