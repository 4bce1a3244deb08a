"""What an arm computes, how long it takes, what it keeps and how good it is, in one row.

The shape of the paper's Tables 1 to 5 and A13.
"""

from __future__ import annotations

import pandas as pd

from attnscope.metrics.measures import MEASURES
from attnscope.runs.folder import Run

_COSTS = ["paper_macs", "seconds", "seconds_low", "seconds_high", "speedup", "speedup_low",
          "speedup_high", "peak_mb", "extra_mb", "kept_mb"]  # fmt: skip


def together(run: Run) -> pd.DataFrame:
    """The arms of a benchmark that ran, the slowest first.

    Args:
        run: of ``attnscope bench``.

    Returns:
        A row per arm: ``arm``, the columns of :func:`attnscope.analyses.bench.speedups.by_arm` about MACs, time and
        memory (NaN in runs that were made before these were told), and of every measure of quality its
        value under its name; these are missing where no images were judged.
    """
    arms = run.read_table("arms").dropna(subset=["seconds"])
    table = arms.reindex(columns=["arm", *_COSTS]).sort_values(
        "seconds", ascending=False, ignore_index=True
    )
    if not run.has_table("frontier"):
        return table
    wide = run.read_table("frontier").pivot_table(index="arm", columns="measure", values="value")
    names = [name for name in MEASURES if name in wide]
    return table.merge(wide[names].reset_index(), on="arm", how="left")
