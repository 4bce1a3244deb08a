"""What was found on the way to a plan: what staleness costs, which modules matter when, all plans."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from attnscope import plots
from attnscope.figures.registry import draws


@draws("tune", "calibration")
def staleness(table: pd.DataFrame) -> Figure:
    """One stale step, and one without guidance, over log-SNR."""
    figure, ax = plt.subplots(figsize=(plots.COLUMN_WIDTH, 2.3))
    plots.staleness(table, ax=ax)
    return figure


@draws("tune", "calibration")
def stale_modules(table: pd.DataFrame) -> Figure | None:
    """Modules by stage and kind, those that were calibrated at every step if some were."""
    modules = table[table["what"] == "module"]
    if modules.empty:
        return None
    steps = modules.groupby("group")["step"].transform("nunique")
    table = modules[steps == steps.max()]
    groups = table["group"].nunique()
    figure, ax = plt.subplots(figsize=(plots.COLUMN_WIDTH, 0.9 + 0.13 * groups))
    plots.stale_modules(table, ax=ax)
    return figure


@draws("tune", "candidates")
def candidates(table: pd.DataFrame) -> Figure:
    """Every plan that was measured, speed against SSIM."""
    figure, ax = plt.subplots(figsize=(plots.COLUMN_WIDTH, 2.2))
    plots.candidates(table, ax=ax)
    return figure
