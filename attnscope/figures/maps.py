"""What words are attended to, from the tables of a maps run."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from attnscope import plots
from attnscope.figures.generation import read_image
from attnscope.figures.layout import note
from attnscope.figures.registry import draws
from attnscope.observers import named_maps

_MOST_STEPS = 7
_MOST_WORDS = 12
_MOST_LINES = 8
_FINAL = -1
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
    places = np.unique(np.linspace(0, len(maps.steps) - 1, _MOST_STEPS).round().astype(int))
    steps = [maps.steps[place] for place in places]
    by_step = first[first["frame"] == 0].set_index("step")["path"]
    final = by_step[_FINAL]
    images = [read_image(by_step.get(step, final)) for step in steps]
    height, width = images[0].shape[:2]
    wide = plots.TEXT_WIDTH
    cell = min(_LARGEST, (wide - 1.0) / len(steps))
    rows = len(chosen) + 1
    figure, ax = plt.subplots(figsize=(cell * len(steps) + 1.0, 0.5 + rows * cell * height / width))
    values = maps.values[0][places][:, chosen]
    plots.word_maps(values, [maps.words[0][place] for place in chosen], steps, images=images, ax=ax)
    if len(prompt) + len(added) > len(chosen):
        note(figure, f"{len(chosen)} of {len(prompt) + len(added)} words")
    return figure


@draws("maps", "attention")
def attention_entropy(attention: pd.DataFrame) -> Figure:
    """Attention paid to words of the prompt, to all of them and what was added, and its entropy."""
    figure, axes = plt.subplots(1, 3, figsize=(plots.TEXT_WIDTH, 2.1))
    means = attention.groupby("word", observed=True, sort=False)["mass"].mean()
    own = [word for word in means.index if word not in plots.ADDED_WORDS]
    most = sorted(own, key=lambda word: -means[word])[:_MOST_LINES]
    plots.attention_entropy(attention, words=[word for word in own if word in most], ax=axes[0])
    plots.attention_entropy(_summed(attention), ax=axes[1])
    plots.attention_entropy(attention, measure="entropy", ax=axes[2])
    for ax in axes[:2]:
        ax.set_ylim(bottom=0)
    if len(most) < len(own):
        note(figure, f"left: the {len(most)} words of {len(own)} that are attended to most")
    return figure


def _summed(attention: pd.DataFrame) -> pd.DataFrame:
    """With all words of the prompt as one, beside what the tokenizer added."""
    words = attention["word"].astype(str)
    named = words.where(words.isin(plots.ADDED_WORDS), "all words")
    keys = [name for name in attention if name not in ("place", "word", "mass", "peak", "spread")]
    by = attention.assign(word=named).groupby(["word", *keys], observed=True, dropna=False)
    return by["mass"].sum().reset_index()


@draws("maps", "attention")
def head_map(attention: pd.DataFrame) -> Figure | None:
    """Which heads look at the words of the prompt; ``None`` if heads were not told apart."""
    if "head" not in attention:
        return None
    words = [word for word in dict.fromkeys(attention["word"]) if word not in plots.ADDED_WORDS]
    sites = attention["site"].nunique()
    figure, ax = plt.subplots(figsize=(plots.COLUMN_WIDTH, max(1.5, 0.7 + 0.13 * sites)))
    plots.head_map(attention, words=words, ax=ax)
    return figure
