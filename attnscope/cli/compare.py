"""``attnscope compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnscope.cli import options as o
from attnscope.cli.grouping import grouped
from attnscope.cli.reports.comparison import show_comparison
from attnscope.metrics.adjusting import ADJUSTMENTS


@grouped
def compare(
    paths: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run directories of one command.")],
    adjust: o.Adjust = ADJUSTMENTS[0],
    as_json: o.AsJson = False,
) -> None:  # fmt: skip
    """Set runs beside each other: where their settings differ, and what came out, with intervals.

    Runs that differ by their seeds alone are then taken together: every arm on all of their images,
    those of one prompt resampled together.
    """
    from attnscope.analyses.over_runs import over_runs
    from attnscope.analyses.side_by_side import differing_settings, outcomes
    from attnscope.cli.console import show_json
    from attnscope.errors import InputError
    from attnscope.runs.folder import Run
    from attnscope.runs.reading import telling

    o.check_adjust(adjust)
    if len(paths) < 2:
        raise InputError("compare takes two run directories or more: 'attnscope runs' lists them")
    opened = [Run(path) for path in paths]
    with telling(*paths):
        if as_json:
            found = {"settings": differing_settings(opened), "outcomes": outcomes(opened)}
            together = over_runs(opened)
            show_json(found | ({"over_seeds": together} if len(together) else {}))
        else:
            show_comparison(opened, adjust=adjust)
