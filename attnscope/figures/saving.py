"""Drawing all figures of a run and writing them as PNG and PDF."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from attnscope.figures import ablation, convergence, generation, latency
from attnscope.plots import paper_style
from attnscope.runs import Run, write_whole

Draw = Callable[[pd.DataFrame], Figure | None]
FIGURES: Mapping[str, Mapping[str, tuple[str, Draw]]] = {
    "ablate": ablation.FIGURES,
    "bench": latency.FIGURES,
    "convergence": convergence.FIGURES,
    "generate": generation.FIGURES,
}
"""Command to its figures: file name to the table and the function that draws it."""


def save_figures(run: Run) -> list[Path]:
    """Draw every figure that a run's tables have data for into its ``figures`` folder.

    Returns:
        The PNG files; a PDF of the same name stands beside each.

    Raises:
        InputError: the run has no table yet.
    """
    folder = run.path / "figures"
    written = []
    mpl.use("agg")
    with paper_style():
        for name, (table, draw) in FIGURES[run.command].items():
            figure = draw(_read(run, table))
            if figure is None:
                continue
            folder.mkdir(exist_ok=True)
            for suffix in (".pdf", ".png"):
                path = folder / (name + suffix)
                write_whole(path, figure.savefig)
            plt.close(figure)
            written.append(path)
    return written


def _read(run: Run, name: str) -> pd.DataFrame:
    """A table of a run; its paths lead to files from everywhere."""
    table = run.read_table(name)
    if "path" in table:
        table = table.assign(path=[str(run.path / path) for path in table["path"]])
    return table
