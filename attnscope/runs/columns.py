"""Columns and values that the tables of several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

CELL = ("model", "scheduler", "steps", "noise_scale", "seed")
"""Columns that arms of an ablation share if they may be compared."""
REFERENCE = "reference"
"""The trajectory of the row that shows what images as good as the references would score."""

FULL, UNGUIDED, GATED = "S", "no guidance", "gate"
"""The trajectory that nothing is taken from, the weak baseline, and cross-attention gated alone."""
PER_IMAGE = ("prompt_id", "frame", "path", "text")
"""Columns that differ among an arm's images, besides the measures; all others are about the arm."""
FINAL = -1
"""Stands for the step of the finished image in the table ``pictures`` of a maps run."""
OWN = "own"
"""Stands for a model's own scheduler."""
READ = ("size", "fill", "color", "shape", "attributes", "relation", "background", "all")
"""What the reader of the embedded world sees, image by image (:func:`attnscope.shapes.reader.agreement`):
the part of the asked things that agree in size, fill, colour and shape, and in all four, whichever
stands where; whether two things stand where the caption puts them; the background; and everything at
once."""


@dataclass(frozen=True)
class Comparison:
    """Which arms of a table of images are compared with which; by default as in an ablation.

    Args:
        cell: columns that arms share if they may be compared.
        column: where an arm says whether it is what the others of its cell are compared with ...
        baseline: ... and what it says then.
    """

    cell: tuple[str, ...] = CELL
    column: str = "trajectory"
    baseline: str = FULL

    def is_baseline(self, table: pd.DataFrame) -> pd.Series[bool]:
        """Row by row, whether it is of a baseline."""
        return table[self.column] == self.baseline


OF_ABLATION = Comparison()
"""Every trajectory with S at the same settings."""


def of_the_old_reading(table: pd.DataFrame) -> bool:
    """Whether a table's ``relation`` is the axis alone: "side by side", whichever stands where.

    That is what it meant before there was ``attributes``, while things in each other's place counted as
    wrong in size, fill, colour and shape. Under the same names the two must not meet.

    Args:
        table: with a column per measure, or measures by name in the column ``measure``.
    """
    names = set(table.columns) | set(table.get("measure", ()))
    return "relation" in names and "attributes" not in names


def arm_shown(arm: str) -> str:
    """An arm of a benchmark as people are shown it.

    The authors' package is called ``tgate`` in tables, as it is on the command line, and the plan that
    we carry out begins with the same word: where they stand below each other, one has to say which.
    """
    return "tgate (authors' package)" if arm == "tgate" else arm
