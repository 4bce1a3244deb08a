"""``attnscope plot``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnscope.cli import options as o
from attnscope.cli.grouping import grouped


@grouped
def plot(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Of convergence: part of the first change that counts as converged."
        ),
    ] = None,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
) -> None:
    """Draw all figures of a run again, from its tables alone. Needs no model and no torch."""
    from attnscope.cli.reports import report_of
    from attnscope.errors import InputError
    from attnscope.runs.folder import Run
    from attnscope.runs.reading import telling

    opened = Run(run)
    report = report_of(opened)
    if threshold is None or opened.command == "convergence":
        more = {} if threshold is None else {"threshold": threshold}
        with telling(run):
            report(opened, quiet=quiet, as_json=as_json, **more)
    else:
        raise InputError(
            f"--threshold says when attention has converged, and {str(run)!r} holds a run of "
            f"'{opened.command}': leave it out"
        )
