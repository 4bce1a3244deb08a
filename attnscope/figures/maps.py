"""What words are attended to, where points look and what sites return, from the tables of a maps run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attnscope import plots
from attnscope.figures.generation import read_image
from attnscope.figures.layout import note
from attnscope.figures.registry import draws
from attnscope.observers import components, named_maps
from attnscope.runs.columns import FINAL
from attnscope.runs.folder import Run
from attnscope.runs.paid import ALL, TOGETHER, together

_MOST_STEPS = 7
_MOST_WORDS = 12
_MOST_LINES = 8
_MOST_SITES = 8
_LARGEST = 0.9  # inches that an image is wide


@draws("maps", "pictures")
def word_maps(pictures: pd.DataFrame) -> Figure:
    """Of the first prompt: its words over up to seven steps, on the estimate of x_0."""
    first = pictures[pictures["prompt_id"] == pictures["prompt_id"].iloc[0]]
    run = Path(first["path"].iloc[0]).parents[1]
    maps, about = named_maps.read(run / first["maps"].iloc[0])
    maps = maps.mean("site", "head", "frame")
    kinds = about["kinds"]
    added = [place for place, kind in enumerate(kinds) if kind in ("special", "padding")]
    prompt = [place for place in range(len(kinds)) if place not in added]
    paid = np.nanmean(maps.values[0], axis=(0, 2, 3))
    most = sorted(prompt, key=lambda place: -paid[place])[: _MOST_WORDS - len(added)]
    chosen = [*sorted(most), *added]
    places = _shown(maps.steps)
    steps = [maps.steps[place] for place in places]
    images = _images(first, steps)
    figure, ax = _sheet(len(chosen) + 1, images, beside=1.0)
    values = maps.values[0][places][:, chosen]
    plots.word_maps(values, [maps.words[0][place] for place in chosen], steps, images=images, ax=ax)
    if len(prompt) + len(added) > len(chosen):
        note(figure, f"{len(chosen)} of {len(prompt) + len(added)} words")
    return figure


def _shown(steps: Sequence[int]) -> list[int]:
    """Places of up to seven steps, the first and the last among them."""
    places = np.linspace(0, len(steps) - 1, _MOST_STEPS).round().astype(int)
    return [int(place) for place in np.unique(places)]


def _images(pictures: pd.DataFrame, steps: Sequence[int]) -> list[Any]:
    """What x_0 is estimated to be at steps; the finished image where that is not known."""
    by_step = pictures[pictures["frame"] == 0].set_index("step")["path"]
    return [read_image(by_step.get(step, by_step[FINAL])) for step in steps]


def _sheet(rows: int, images: Sequence[Any], *, beside: float) -> tuple[Figure, Axes]:
    """A figure for so many rows of cells of the images' shape.

    Args:
        rows: of cells.
        images: one a column.
        beside: room for names, in inches.
    """
    height, width = images[0].shape[:2]
    cell = min(_LARGEST, (plots.TEXT_WIDTH - beside) / len(images))
    size = cell * len(images) + beside, 0.5 + rows * cell * height / width
    figure, ax = plt.subplots(figsize=size)
    return figure, ax


@draws("maps", "features")
def feature_maps(features: pd.DataFrame) -> Figure:
    """Of the first prompt: the outputs of up to eight sites as colours over up to seven steps."""
    first = features[features["prompt_id"] == features["prompt_id"].iloc[0]]
    path = Path(first["path"].iloc[0])
    found, _ = components.read(path)
    chosen = found[:_MOST_SITES]
    places = _shown(chosen[0].steps)
    steps = [chosen[0].steps[place] for place in places]
    images = _images(_pictures_of(path), steps)
    figure, ax = _sheet(len(chosen) + 1, images, beside=1.1)
    plots.feature_maps(
        [_first_frame(own.values, own.axes)[places] for own in chosen], steps,
        sites=[own.site for own in chosen], images=images,
        explained=[sum(own.explained) for own in chosen], ax=ax,
    )  # fmt: skip
    note(figure, "%: of the variance over all steps and positions, in three components")
    if len(chosen) < len(found):
        note(figure, f"{len(chosen)} of {len(found)} sites")
    return figure


@draws("maps", "points")
def point_maps(points: pd.DataFrame) -> Figure:
    """Of the first prompt: where its points look, over up to seven steps, on the estimate of x_0."""
    path = Path(points["path"].iloc[0])
    maps, _ = named_maps.read(path)
    maps = maps.mean("site", "head")
    places = _shown(maps.steps)
    steps = [maps.steps[place] for place in places]
    images = _images(_pictures_of(path), steps)
    chosen = maps.points[:_MOST_WORDS]
    figure, ax = _sheet(len(chosen) + 1, images, beside=1.0)
    values = _first_frame(maps.values[0], maps.axes[1:])[places][:, : len(chosen)]
    plots.point_maps(values, chosen, steps, images=images, ax=ax)
    if len(chosen) < len(maps.points):
        note(figure, f"{len(chosen)} of {len(maps.points)} points")
    return figure


def _pictures_of(path: Path) -> pd.DataFrame:
    """Of the prompt whose file in a run this is."""
    run = Run(path.parents[1])
    pictures = run.read_table("pictures")
    own = pictures[pictures["prompt_id"] == int(path.stem)]
    return own.assign(path=[str(run.path / name) for name in own["path"]])


def _first_frame(values: Any, axes: Sequence[str]) -> Any:
    return values.take(0, axis=axes.index("frame")) if "frame" in axes else values


@draws("maps", "attention")
def attention_entropy(attention: pd.DataFrame) -> Figure:
    """Attention paid to words of the prompt, to all of them and what was added, and its entropy."""
    figure, axes = plt.subplots(1, 3, figsize=(plots.TEXT_WIDTH, 2.1))
    means = attention.groupby("word", observed=True, sort=False)["mass"].mean()
    own = [word for word in means.index if word != ALL and not plots.is_added(word)]
    most = sorted(own, key=lambda word: -means[word])[:_MOST_LINES]
    plots.attention_entropy(attention, words=[word for word in own if word in most], ax=axes[0])
    plots.attention_entropy(together(attention), ax=axes[1])
    plots.attention_entropy(attention, measure="entropy", ax=axes[2])
    for ax in axes[:2]:
        ax.set_ylim(bottom=0)
    if len(most) < len(own):
        note(figure, f"left: the {len(most)} words of {len(own)} that are attended to most")
    return figure


@draws("maps", "attention")
def head_map(attention: pd.DataFrame) -> Figure | None:
    """Which heads look at the words of the prompt; ``None`` if heads were not told apart."""
    if "head" not in attention:
        return None
    sites = attention["site"].nunique()
    figure, ax = plt.subplots(figsize=(plots.COLUMN_WIDTH, max(1.5, 0.7 + 0.13 * sites)))
    plots.head_map(together(attention), words=[TOGETHER], ax=ax)
    return figure
