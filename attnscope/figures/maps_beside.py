"""When words are looked at, beside when the same attention changes: over steps and over noise levels."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from attnscope import plots
from attnscope.figures.layout import shared_legend
from attnscope.figures.registry import draws
from attnscope.runs.paid import together


@draws("maps", "attention", "distances")
def attention_and_change(attention: pd.DataFrame, distances: pd.DataFrame) -> Figure | None:
    """Above the attention that is paid to words, below how far outputs of the same sites moved.

    Left over the steps and, where the scheduler has noise levels, right over log-SNR, both of the branch
    whose maps these are; ``None`` of a run of one step, in which nothing moves.
    """
    branch = attention["branch"].astype(str).iloc[0]
    moved = distances[distances["branch"].astype(str) == branch]
    if moved.empty:
        return None
    across = ["step"]
    if attention["log_snr"].notna().all() and moved["log_snr"].notna().all():
        across.append("log_snr")
    figure, axes = plt.subplots(
        2, len(across), squeeze=False, sharex="col", sharey="row",
        figsize=(plots.TEXT_WIDTH if len(across) > 1 else plots.COLUMN_WIDTH, 3.3),
    )  # fmt: skip
    paid = together(attention)
    for place, x in enumerate(across):
        above, below = axes[:, place]
        plots.attention_entropy(paid, x=x, ax=above)
        plots.convergence(moved, metric="relative", x=x, ax=below)
        above.set(xlabel="", ylim=(0, None))
        below.set_ylim(bottom=0)
        if place:
            above.set_ylabel("")
            below.set_ylabel("")
    shared_legend(figure, list(axes[0]), columns=4)
    for ax in axes[1, 1:]:
        ax.get_legend().remove()
    return figure
