"""What the tables of an ablation hold: their columns, and measures of image quality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

CELL = ("model", "scheduler", "steps", "noise_scale", "seed")
"""Columns that arms of an ablation share if they may be compared."""
LEADING = ("kid", "fid", "clip", "all", "attributes", "relation", "psnr", "ssim", "frames")
"""Measures to show in tables where there is no room for all."""
DRAWN = tuple(name for name in LEADING if name not in ("attributes", "relation"))
"""Those that figures have axes for, the first ones first: ``all`` stands for its parts."""
REFERENCE = "reference"
"""The trajectory of the row that shows what images as good as the references would score."""
READ = ("size", "fill", "color", "shape", "attributes", "relation", "background", "all")
"""What the reader of the embedded world sees, image by image (:func:`attnscope.shapes.reader.matches`):
the part of the asked things that agree in size, fill, colour and shape, and in all four, whichever
stands where; whether two things stand where the caption puts them; the background; and everything at
once."""


@dataclass(frozen=True)
class Measure:
    """One measure.

    Args:
        label: for axes and tables.
        higher: whether a higher value is better.
        form: how values are written, as a format specification.
    """

    label: str
    higher: bool
    form: str = ".3f"

    @property
    def heading(self) -> str:
        """The label with an arrow that points to the better."""
        return f"{self.label} {'↑' if self.higher else '↓'}"


MEASURES: dict[str, Measure] = {
    "fid": Measure("FID", higher=False, form=".2f"),
    "kid": Measure("KID", higher=False, form=".3g"),
    "clip": Measure("CLIP score", higher=True, form=".2f"),
    **{name: Measure(name, higher=True) for name in READ if name != "all"},
    "all": Measure("all as asked", higher=True),
    "psnr": Measure("PSNR to S (dB)", higher=True, form=".1f"),
    "ssim": Measure("SSIM to S", higher=True),
    "lpips": Measure("LPIPS to S", higher=False),
    "frames": Measure("frame distance", higher=False),
}
"""By the name that tables use; those that lead come first."""


def of_the_old_reading(table: pd.DataFrame) -> bool:
    """Whether a table's ``relation`` is the axis alone: "side by side", whichever stands where.

    That is what it meant before there was ``attributes``, while things in each other's place counted as
    wrong in size, fill, colour and shape. Under the same names the two must not meet.

    Args:
        table: with a column per measure, or measures by name in the column ``measure``.
    """
    names = set(table.columns) | set(table.get("measure", ()))
    return "relation" in names and "attributes" not in names
