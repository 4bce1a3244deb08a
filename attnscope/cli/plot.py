"""``attnscope plot``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnscope.cli import options as o


def plot(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    threshold: o.Threshold = 0.05,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
) -> None:
    """Draw all figures of a run again, from its tables alone. Needs no model and no torch."""
    from attnscope.cli.reports import ablation, bench, convergence, generation
    from attnscope.errors import InputError
    from attnscope.runs.folder import Run

    opened = Run(run)
    if opened.command == "convergence":
        convergence.report(opened, threshold=threshold, quiet=quiet, as_json=as_json)
    elif opened.command == "ablate":
        ablation.report(opened, quiet=quiet, as_json=as_json)
    elif opened.command == "bench":
        bench.report(opened, quiet=quiet, as_json=as_json)
    elif opened.command == "generate":
        generation.report(opened, quiet=quiet, as_json=as_json)
    else:
        raise InputError(f"{str(run)!r} holds a run of '{opened.command}', which has no figures")
