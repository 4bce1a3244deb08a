"""Drawing all figures of a run and writing them as PNG and PDF."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from attnscope.figures import convergence, generation
from attnscope.plots import paper_style
from attnscope.runs import Run, write_whole

FIGURES: Mapping[str, tuple[str, Mapping[str, Callable[[pd.DataFrame], Figure | None]]]] = {
    "convergence": ("records", convergence.FIGURES),
    "generate": ("images", generation.FIGURES),
}
"""Command to the table its figures are drawn from, and the figures by file name."""


def save_figures(run: Run) -> list[Path]:
    """Draw every figure that a run's table has data for into its ``figures`` folder.

    Returns:
        The PNG files; a PDF of the same name stands beside each.

    Raises:
        InputError: the run has no table yet.
    """
    table_name, figures = FIGURES[run.command]
    table = run.read_table(table_name)
    if "path" in table:
        table = table.assign(path=[str(run.path / path) for path in table["path"]])
    folder = run.path / "figures"
    folder.mkdir(exist_ok=True)
    written = []
    mpl.use("agg")
    with paper_style():
        for name, draw in figures.items():
            figure = draw(table)
            if figure is None:
                continue
            for suffix in (".pdf", ".png"):
                path = folder / (name + suffix)
                write_whole(path, figure.savefig)
            plt.close(figure)
            written.append(path)
    return written
