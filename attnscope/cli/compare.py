"""``attnscope compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnscope.cli import options as o
from attnscope.cli.grouping import grouped
from attnscope.cli.reports.comparison import show_comparison


@grouped
def compare(
    paths: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run directories of one command.")],
    as_json: o.AsJson = False,
) -> None:  # fmt: skip
    """Set runs beside each other: where their settings differ, and what came out, with intervals."""
    from attnscope.analyses.side_by_side import differing_settings, outcomes
    from attnscope.cli.console import show_json
    from attnscope.errors import InputError
    from attnscope.runs.folder import Run, telling

    if len(paths) < 2:
        raise InputError("compare takes two run directories or more: 'attnscope runs' lists them")
    opened = [Run(path) for path in paths]
    with telling(*paths):
        if as_json:
            show_json({"settings": differing_settings(opened), "outcomes": outcomes(opened)})
        else:
            show_comparison(opened)
