"""MACs, latency, memory and quality of every arm in one table, as the paper has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attnscope.runs.folder import Run

_TERA = 1e12


def show_together(run: Run) -> None:
    """Print a benchmark's arms, the slowest first."""
    from attnscope.analyses.bench.together import together
    from attnscope.cli.console import show_table
    from attnscope.metrics.measures import LEADING, MEASURES
    from attnscope.runs.columns import arm_shown

    table = together(run)
    shown = table[["arm"]].assign(
        **{
            "10^12 MACs": table["paper_macs"] / _TERA,
            "s/image": table["seconds"],
            "peak MB": table["peak_mb"],
            "kept MB": table["kept_mb"],
        }
    )
    shown["arm"] = shown["arm"].map(arm_shown)
    formats = {"10^12 MACs": ".4g", "s/image": ".3g", "peak MB": ".0f", "kept MB": ".1f"}
    for name in [name for name in LEADING if name in table]:
        heading = MEASURES[name].heading
        shown[heading], formats[heading] = table[name], MEASURES[name].form
    title = "all together, the slowest first (MACs by the paper's convention, of an image)"
    show_table(shown, title, formats)
