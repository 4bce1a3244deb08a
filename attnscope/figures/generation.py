"""Images of a ``generate`` run: a sheet, or the plan beside the baseline as in Figure A7."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from attnscope import plots
from attnscope.errors import InputError
from attnscope.figures.samples import sheet
from attnscope.images import open_rgb

MOST_COLUMNS = 8
"""How many prompts a comparison shows."""
_MOST_SAMPLES = 48


def samples(images: pd.DataFrame) -> Figure:
    """The plan's images with their captions."""
    chosen = images[(images["arm"] == "plan") & (images["frame"] == 0)].head(_MOST_SAMPLES)
    return sheet([read_image(path) for path in chosen["path"]], list(chosen["text"]), MOST_COLUMNS)


def comparison(images: pd.DataFrame) -> Figure | None:
    """Without the plan, with it, and where they differ: a column for each of up to eight prompts.

    ``None`` if the run made no images without the plan. The difference is the mean absolute
    difference of the three channels, on one scale for all, which reaches to 0.1 at least.
    """
    if "baseline" not in set(images["arm"]):
        return None
    chosen = images[images["frame"] == 0]
    planned = chosen[chosen["arm"] == "plan"].head(MOST_COLUMNS)
    baseline = chosen[chosen["arm"] == "baseline"].set_index("prompt_id")["path"]
    ours = [read_image(path) for path in planned["path"]]
    theirs = [read_image(baseline[prompt_id]) for prompt_id in planned["prompt_id"]]
    differences = [
        np.abs(a.astype(float) - b.astype(float)).mean(-1) / 255
        for a, b in zip(ours, theirs, strict=True)
    ]
    columns = len(ours)
    cell = min(1.6, plots.TEXT_WIDTH / columns)
    height, width = ours[0].shape[:2]
    tall = cell * height / width
    figure, axes = plt.subplots(
        3, columns, squeeze=False, figsize=(0.35 + cell * columns + 0.55, 3 * tall + 0.75)
    )
    top = max(0.1, float(np.max(differences)))
    for column, row in enumerate(planned.itertuples()):
        axes[0, column].imshow(theirs[column], interpolation="nearest")
        axes[0, column].set_title(plots.wrapped(str(row.text)), fontsize=4.5, linespacing=1.0)
        axes[1, column].imshow(ours[column], interpolation="nearest")
        mesh = axes[2, column].imshow(
            differences[column], cmap="magma", vmin=0, vmax=top, interpolation="nearest"
        )
        same = row.psnr == float("inf")
        label = "identical" if same else f"{row.psnr:.1f} dB\nSSIM {row.ssim:.2f}"
        axes[2, column].set_xlabel(label, fontsize=6)
    for ax in axes.flat:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
    for ax, name in zip(axes[:, 0], ("baseline", "plan", "difference"), strict=True):
        ax.set_ylabel(name)
    bar = figure.colorbar(mesh, ax=axes, aspect=10, pad=0.02, shrink=0.28, anchor=(0, 0.06))
    bar.ax.tick_params(labelsize=6)
    return figure


def read_image(path: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """An image of a run as uint8 ``[height, width, 3]``.

    Raises:
        InputError: it is gone, or no image any more.
    """
    try:
        return np.asarray(open_rgb(Path(path)))
    except InputError as error:
        raise InputError(f"{path!r} of the run is gone or is no image any more") from error


FIGURES = {"samples": ("images", samples), "comparison": ("images", comparison)}
"""File name to the table and the function that draws it."""
