"""A sheet of samples with their captions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from attnscope import plots
from attnscope.runs import write_whole


def save_sheet(
    images: Sequence[Any], captions: Sequence[str], path: Path, columns: int = 8
) -> None:
    """Write images with their captions below as one picture.

    Args:
        images: arrays ``[height, width, 3]`` of one size.
        captions: one per image.
        path: a PNG or PDF file.
        columns: how many images to a row.
    """
    rows = -(-len(images) // columns)
    with plots.paper_style():
        figure, ax = plt.subplots(
            figsize=(plots.TEXT_WIDTH, plots.TEXT_WIDTH / columns * 1.38 * rows)
        )
        plots.image_grid(images, columns=columns, titles=captions, ax=ax)
        write_whole(path, figure.savefig)
        plt.close(figure)
