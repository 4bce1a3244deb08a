"""Images of a ``generate`` run: a sheet, or the plan beside the baseline as in Figure A6."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from attnscope import plots
from attnscope.errors import InputError
from attnscope.figures.layout import note
from attnscope.figures.registry import draws
from attnscope.figures.samples import sheet
from attnscope.images import open_rgb

MOST_COLUMNS = 8
"""How many prompts a comparison shows."""
_MOST_SAMPLES = 24


@draws("generate", "images")
def samples(images: pd.DataFrame) -> Figure:
    """The plan's images with their captions."""
    planned = images[(images["arm"] == "plan") & (images["frame"] == 0)]
    chosen = planned.head(_MOST_SAMPLES)
    figure = sheet([read_image(path) for path in chosen["path"]], list(chosen["text"]))
    if len(chosen) < len(planned):
        note(figure, f"the first {len(chosen)} of {len(planned)} images")
    return figure


@draws("generate", "images")
def comparison(images: pd.DataFrame) -> Figure | None:
    """Without the plan, with it, and where they differ: a row for each of up to eight prompts.

    ``None`` if the run made no images without the plan. The difference is the mean absolute
    difference of the three channels, on one scale for all, which reaches to 0.1 at least.
    """
    if "baseline" not in set(images["arm"]):
        return None
    chosen = images[images["frame"] == 0]
    every = chosen[chosen["arm"] == "plan"]
    planned = every.head(MOST_COLUMNS)
    baseline = chosen[chosen["arm"] == "baseline"].set_index("prompt_id")["path"]
    ours = [read_image(path) for path in planned["path"]]
    theirs = [read_image(baseline[prompt_id]) for prompt_id in planned["prompt_id"]]
    differences = [
        np.abs(a.astype(float) - b.astype(float)).mean(-1) / 255
        for a, b in zip(ours, theirs, strict=True)
    ]
    height, width = ours[0].shape[:2]
    figure, axes = plt.subplots(
        len(ours), 4, squeeze=False, width_ratios=[1, 1, 1, 1.9],
        figsize=(plots.COLUMN_WIDTH, 0.65 + 0.65 * height / width * len(ours)),
    )  # fmt: skip
    top = max(0.1, float(np.max(differences)))
    for row, (cells, image) in enumerate(zip(axes, planned.itertuples(), strict=True)):
        cells[0].imshow(theirs[row], interpolation="nearest")
        cells[1].imshow(ours[row], interpolation="nearest")
        mesh = cells[2].imshow(
            differences[row], cmap="magma", vmin=0, vmax=top, interpolation="nearest"
        )
        cells[3].text(
            0, 0.5, _told(image), va="center", fontsize=plots.SMALLEST_TEXT, linespacing=1.1,
            transform=cells[3].transAxes,
        )  # fmt: skip
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    for ax, name in zip(axes[0], ("baseline", "plan", "difference"), strict=False):
        ax.set_title(name)
    bar = figure.colorbar(
        mesh, ax=axes, location="bottom", aspect=40, pad=0.01, shrink=0.6, anchor=(0, 1)
    )
    bar.ax.tick_params(labelsize=plots.SMALLEST_TEXT)
    if len(planned) < len(every):
        note(figure, f"the first {len(planned)} of {len(every)} prompts")
    return figure


def _told(image: Any) -> str:
    """An image's caption, and how far the plan's is from the baseline's."""
    same = image.psnr == float("inf")
    far = "identical" if same else f"{image.psnr:.1f} dB, SSIM {image.ssim:.2f}"
    return f"{plots.wrapped(str(image.text), 25)}\n{far}"


def read_image(path: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """An image of a run as uint8 ``[height, width, 3]``.

    Raises:
        InputError: it is gone, or no image any more.
    """
    try:
        return np.asarray(open_rgb(Path(path)))
    except InputError as error:
        raise InputError(f"{path!r} of the run is gone or is no image any more") from error
