"""Sheets of samples with their captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from attnscope import plots
from attnscope.figures.layout import image_cells, numbered


def sheet(images: Sequence[Any], captions: Sequence[str], columns: int = 4) -> Figure:
    """Images with their captions below; fewer than a row of them make a smaller figure.

    Args:
        images: arrays ``[height, width, 3]`` of one size.
        captions: one per image.
        columns: how many images to a row.
    """
    wide = min(columns, len(images))
    rows = -(-len(images) // wide)
    cell = plots.COLUMN_WIDTH / columns
    figure, ax = plt.subplots(figsize=(max(cell * wide, 2.0), cell * 1.7 * rows))
    plots.image_grid(images, columns=wide, titles=captions, ax=ax)
    return figure


def rows(images: Mapping[str, Sequence[Any]], captions: Sequence[str]) -> Figure:
    """What several models make of the same captions: a row a model, captions below by their numbers.

    Args:
        images: by the name of a row: arrays ``[height, width, 3]``, one per caption.
        captions: of the columns.
    """
    numbers = [str(number) for number in range(1, len(captions) + 1)]
    names = [name.replace(", ", "\n") for name in images]
    figure, axes = image_cells(names, numbers, more=0.11 * len(captions))
    for line, made in zip(axes, images.values(), strict=True):
        for ax, image in zip(line, made, strict=True):
            ax.imshow(image, interpolation="nearest")
    numbered(figure, captions)
    return figure
