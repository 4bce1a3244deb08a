"""Frames of videos side by side (Figure A8): a row per plan, a column per frame."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from attnscope.figures.generation import read_image
from attnscope.figures.layout import image_cells, note, numbered
from attnscope.figures.registry import draws

MOST_FRAMES = 6


@draws("generate", "images", name="frames")
def of_arms(images: pd.DataFrame) -> Figure | None:
    """With the plan and without it; ``None`` of images."""
    return sheet(images, "arm")


@draws("generate-plans", "images", "plans", name="frames")
def of_plans(images: pd.DataFrame, by_plan: pd.DataFrame) -> Figure | None:
    """Plan by plan, the slowest first, as ``by_plan`` has them; ``None`` of images."""
    place = {plan: number for number, plan in enumerate(by_plan["plan"])}
    return sheet(
        images.sort_values("plan", key=lambda plan: plan.map(place), kind="stable"), "plan"
    )


def sheet(images: pd.DataFrame, by: str) -> Figure | None:
    """Frames of the first prompt's videos, evenly, the first and the last among them.

    Args:
        images: a row per frame: the column ``by``, ``prompt_id``, ``frame``, ``text`` and ``path``.
        by: the column of which every value is a row.

    Returns:
        ``None`` where no image has a second frame.
    """
    if images["frame"].max() == 0:
        return None
    first = images[images["prompt_id"] == images["prompt_id"].min()]
    count = int(first["frame"].max()) + 1
    places = np.linspace(0, count - 1, min(MOST_FRAMES, count)).round().astype(int)
    names = [str(name) for name in first[by].drop_duplicates()]
    figure, axes = image_cells(
        [name.replace(",", ",\n", 1) for name in names], [f"frame {n + 1}" for n in places]
    )
    for line, name in zip(axes, names, strict=True):
        paths = first[first[by] == name].set_index("frame")["path"]
        for ax, place in zip(line, places, strict=True):
            ax.imshow(read_image(str(paths[int(place)])), interpolation="nearest")
    numbered(figure, [str(first["text"].iloc[0])])
    if len(places) < count:
        note(figure, f"{len(places)} of {count} frames")
    return figure
