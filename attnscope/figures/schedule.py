"""Figure 5 of the paper: what a plan does at every step."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from attnscope import plots
from attnscope.plots import schedule as plot_schedule


def schedule(table: pd.DataFrame) -> Figure:
    """A plan's schedule.

    Args:
        table: of :meth:`attnscope.plans.trajectory.Trajectory.table`.
    """
    height = 0.75 + 0.35 * ("log_snr" in table) + plot_schedule.plan_height(table)
    figure, ax = plt.subplots(figsize=(plots.COLUMN_WIDTH, height))
    plots.plan(table, ax=ax)
    return figure
