"""``attnscope merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnscope.cli import options as o
from attnscope.cli.grouping import OUTPUT, grouped


@grouped
def merge(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Run directories of all shards.")],
    out: Annotated[Path, typer.Option(help="Run directory that is made of them.", rich_help_panel=OUTPUT)],
    device: Annotated[str, typer.Option(help="For judging images: auto, cpu, cuda.", metavar="<device>", rich_help_panel=OUTPUT)] = "auto",
    offline: Annotated[bool, typer.Option("--offline", help="Use only what is on this machine.", rich_help_panel=OUTPUT)] = False,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
) -> None:  # fmt: skip
    """Join the shards of a run, made by --shard, to the run that one worker would have made.

    Shards of other settings or versions are refused, and so are those of which some are missing, twice
    there or not finished. The shards are left as they are. Of tune they are the calibration, after which
    its command goes on.
    """
    from attnscope.analyses.merging import Judging
    from attnscope.analyses.merging import merge as merged
    from attnscope.cli.console import Bars, quiet_libraries
    from attnscope.cli.crews import tell_joined
    from attnscope.cli.reports import report_of
    from attnscope.models.loading import choose_device
    from attnscope.runs.contents import is_finished
    from attnscope.runs.folder import Run

    with quiet_libraries():
        run = merged(
            [Run(path) for path in runs], out, judging=Judging(choose_device(device), offline),
            progress=Bars(quiet=quiet or as_json),
        )  # fmt: skip
    if is_finished(run):
        report_of(run)(run, quiet=quiet, as_json=as_json)
    else:
        tell_joined(run, quiet=quiet, as_json=as_json)
