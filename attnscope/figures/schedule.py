"""Figure 4 of the paper: what a plan does at every step."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd

from attnscope import plots
from attnscope.runs import write_whole


def save_schedule(table: pd.DataFrame, path: Path) -> None:
    """Draw a plan's schedule and write it as PNG or PDF.

    Args:
        table: of :meth:`attnscope.plan.Trajectory.table`.
        path: a PNG or PDF file.
    """
    mpl.use("agg")
    with plots.paper_style():
        height = 0.6 + 0.22 * table["row"].nunique()
        figure, ax = plt.subplots(figsize=(plots.TEXT_WIDTH, height))
        plots.plan(table, ax=ax)
        write_whole(path, figure.savefig)
        plt.close(figure)
