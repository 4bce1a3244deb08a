"""Where words are attended to, and how much, over the denoising steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from attnscope.plots.sheets import ESTIMATE, Picture, Sheet, as_pictures, enlarged
from attnscope.plots.style import LEVEL, SMALLEST_TEXT, legend_above, looks, plain, replacing
from attnscope.plots.tidy import require, require_numbers
from attnscope.runs.paid import ADDED, added_to
from attnscope.sites.names import short_site

MEASURE_LABELS = {
    "mass": "Attention paid",
    "peak": "Largest attention paid",
    "spread": "Entropy over positions (nats)",
    "entropy": "Entropy over tokens (nats)",
}
_ADDED_DASHES = dict(zip(ADDED, ("-", "--", ":"), strict=True))
_MAP_COLORS = "inferno"
_GRAY = 0.75  # of what is not attended to, so that the image is seen under its map


def is_added(word: str) -> bool:
    """Whether a word of a table stands for what the tokenizer adds: start, end and padding."""
    return added_to(word) is not None


def _dash(word: str) -> str:
    return _ADDED_DASHES[added_to(word) or ADDED[0]]


def word_maps(
    maps: Any,
    words: Sequence[str],
    steps: Sequence[int | str],
    *,
    images: Sequence[Any] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Maps of words over steps, a row a word, on the image of the step; each row on a scale of its own.

    Args:
        maps: attention to every word, ``[step, word, height, width]``, 0 and more.
        words: ``[word]``, the rows.
        steps: ``[step]``, the columns.
        images: one a step, as arrays ``[height, width, 3]`` or PIL images: what x_0 is estimated to be. They
            are drawn in a first row, and in gray under the maps.
        ax: where to draw; ``None`` is the current axes, whose maps are replaced.

    Returns:
        The axes. Bright is the largest value of the word's row, and black is none.

    Raises:
        ValueError: maps, words, steps and images do not fit together.
    """
    sheet, rows = begun(maps, len(steps), len(words), "words", images)
    for word, cells in zip(words, rows, strict=True):
        sheet.add(plain(word), cells)
    return sheet.draw(steps, ax)


def begun(
    maps: Any, steps: int, count: int, what: str, images: Sequence[Any] | None
) -> tuple[Sheet, list[list[Picture]]]:
    """A sheet with the images of the steps, if there are any, and the cells of the rows to come.

    Args:
        maps: ``[step, row, height, width]``.
        steps: how many there should be.
        count: of rows.
        what: rows are called in the error.
        images: one a step.

    Raises:
        ValueError: they do not fit together.
    """
    values = np.asarray(maps, dtype=float)
    if values.ndim != 4 or values.shape[:2] != (steps, count) or not values.size:
        raise ValueError(
            f"maps of shape {list(values.shape)} do not fit {steps} steps and {count} {what}"
        )
    pictures = as_pictures(images, steps)
    height, width = values.shape[2:] if pictures is None else pictures[0].shape[:2]
    sheet = Sheet(steps, height, width)
    if pictures is not None:
        sheet.add(ESTIMATE, pictures)
    return sheet, [_overlaid_row(values[:, row], pictures, height, width) for row in range(count)]


def _overlaid_row(
    maps: NDArray[np.float64], pictures: Sequence[Picture] | None, height: int, width: int
) -> list[Picture]:
    """Maps over steps on a scale of their own, on the images of the steps."""
    peak = np.nanmax(maps) if np.isfinite(maps).any() else 1.0
    return [
        _overlaid(
            enlarged(part / max(peak, 1e-12), height, width),
            None if pictures is None else pictures[column],
        )
        for column, part in enumerate(maps)
    ]


def _overlaid(
    part: NDArray[np.float64], picture: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """A map in colours, on its image in gray."""
    missing = ~np.isfinite(part)
    colors = mpl.colormaps[_MAP_COLORS](np.clip(np.nan_to_num(part), 0, 1))[..., :3]
    if picture is not None:
        gray = picture.mean(-1, keepdims=True)
        colors = colors * (_GRAY + (1 - _GRAY) * 2 * (gray - 0.5))
    colors[missing] = 0.9
    made: NDArray[np.float64] = np.clip(colors, 0, 1)
    return made


def attention_entropy(
    table: pd.DataFrame,
    *,
    measure: str = "mass",
    words: Sequence[str] | None = None,
    x: str = "step",
    ax: Axes | None = None,
) -> Axes:
    """How much, how sharply or how widely words are attended to over the steps.

    Args:
        table: ``attention`` of a maps run, or of :class:`attnscope.AttentionMaps`: ``step``, ``word``,
            ``mass``, ``peak``, ``spread``, ``entropy``. Sites, heads and prompts are averaged.
        measure: one of these columns; ``entropy`` is over all tokens, and so one line.
        words: a line each; ``None`` is all of the table.
        x: ``step`` or ``log_snr``.
        ax: where to draw; ``None`` is the current axes.

    Raises:
        ValueError: the table lacks a column or rows, or a word.
    """
    require(table, "step", "word", x)
    require_numbers(table, measure)
    ax = ax or plt.gca()
    if measure == "entropy":
        curve = table.groupby(x, observed=True)[measure].mean()
        ax.plot(curve.index, curve, color="black")
    else:
        names = list(dict.fromkeys(table["word"])) if words is None else list(words)
        if unknown := [name for name in names if name not in set(table["word"])]:
            raise ValueError(f"the table has no word {', '.join(unknown)}")
        own = [name for name in names if not is_added(name)]
        drawn = dict(zip(own, looks(len(own)), strict=True))
        drawn |= {name: {"color": "0.5", "ls": _dash(name)} for name in names if is_added(name)}
        for name, look in drawn.items():
            curve = table[table["word"] == name].groupby(x, observed=True)[measure].mean()
            ax.plot(curve.index, curve, label=plain(name), **look)
        legend_above(ax, columns=2 if len(names) < 7 else 3)
    ax.set_xlabel("Denoising step" if x == "step" else LEVEL)
    ax.set_ylabel(MEASURE_LABELS.get(measure, measure))
    return ax


def head_map(
    table: pd.DataFrame, *, measure: str = "mass", words: Sequence[str], ax: Axes | None = None
) -> Axes:
    """Which heads look at some words: a row a site, a column a head, averaged over steps and prompts.

    Args:
        table: ``attention`` of a maps run with ``--heads``.
        measure: ``mass``, ``peak`` or ``spread``; of several words, ``mass`` is their sum and of the
            others their mean is drawn.
        words: to which.
        ax: where to draw; ``None`` is the current axes, whose heads are replaced.

    Raises:
        ValueError: the table lacks a column, rows or a word.
    """
    require(table, "head", "site", "word", "step")
    require_numbers(table, measure)
    chosen = table[table["word"].isin(list(words))]
    if unknown := [word for word in words if word not in set(table["word"])]:
        raise ValueError(f"the table has no word {', '.join(unknown)}")
    by_word = chosen.groupby(["site", "head", "word"], observed=True, sort=False)[measure].mean()
    over_words = by_word.groupby(["site", "head"], observed=True, sort=False)
    grid = (over_words.sum() if measure == "mass" else over_words.mean()).unstack("head")
    ax = ax or plt.gca()
    with replacing(ax):
        image = ax.imshow(grid.to_numpy(), aspect="auto", cmap="viridis", interpolation="nearest")
        bar = ax.figure.colorbar(image, ax=ax, pad=0.02)
    bar.set_label(MEASURE_LABELS.get(measure, measure))
    ax.set_xticks(range(grid.shape[1]), [str(head) for head in grid.columns])
    ax.set_yticks(
        range(len(grid)), [short_site(str(site)) for site in grid.index], fontsize=SMALLEST_TEXT
    )
    ax.set_xlabel("Head")
    return ax
