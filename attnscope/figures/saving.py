"""Drawing all figures of a run and writing them as PNG and PDF."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from attnscope.figures import controls, convergence, generation
from attnscope.plots import paper_style
from attnscope.runs import Run, write_whole

FIGURES: Mapping[str, tuple[str, Mapping[str, Callable[[pd.DataFrame], Figure | None]]]] = {
    "convergence": ("records", convergence.FIGURES),
    "generate": ("images", generation.FIGURES),
}
"""Command to the table its figures are drawn from, and the figures by file name."""

MORE_FIGURES: Mapping[str, tuple[str, Mapping[str, Callable[[pd.DataFrame], Figure | None]]]] = {
    "convergence": ("controls", controls.FIGURES),
}
"""The same for a table that a run of the command may have or not."""


def save_figures(run: Run) -> list[Path]:
    """Draw every figure that a run's table has data for into its ``figures`` folder.

    Returns:
        The PNG files; a PDF of the same name stands beside each.

    Raises:
        InputError: the run has no table yet.
    """
    chosen = [FIGURES[run.command]]
    if run.command in MORE_FIGURES and run.has_table(MORE_FIGURES[run.command][0]):
        chosen.append(MORE_FIGURES[run.command])
    folder = run.path / "figures"
    written = []
    mpl.use("agg")
    for table_name, figures in chosen:
        table = run.read_table(table_name)
        if "path" in table:
            table = table.assign(path=[str(run.path / path) for path in table["path"]])
        folder.mkdir(exist_ok=True)
        written += _save(table, figures, folder)
    return written


def _save(
    table: pd.DataFrame,
    figures: Mapping[str, Callable[[pd.DataFrame], Figure | None]],
    folder: Path,
) -> list[Path]:
    written = []
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
