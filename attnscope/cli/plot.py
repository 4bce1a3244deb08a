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
    from attnscope.cli.reports import ablation, bench, convergence, generation
    from attnscope.errors import InputError
    from attnscope.runs.folder import Run

    opened = Run(run)
    if opened.command == "convergence":
        part = o.THRESHOLD if threshold is None else threshold
        convergence.report(opened, threshold=part, quiet=quiet, as_json=as_json)
        return
    reports = {"ablate": ablation.report, "bench": bench.report, "generate": generation.report}
    if opened.command not in reports:
        raise InputError(f"{str(run)!r} holds a run of '{opened.command}', which has no figures")
    if threshold is not None:
        raise InputError(
            f"--threshold says when attention has converged, and {str(run)!r} holds a run of "
            f"'{opened.command}': leave it out"
        )
    reports[opened.command](opened, quiet=quiet, as_json=as_json)
