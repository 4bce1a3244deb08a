"""``attnscope runs``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnscope.cli import options as o


def runs(
    folder: Annotated[Path, typer.Argument(help="Where runs were written to.")] = Path("runs"),
    as_json: o.AsJson = False,
) -> None:
    """List the runs in a folder, the newest first, and whether they came to their end."""
    from attnscope.analyses.side_by_side import listed
    from attnscope.cli.console import results, show_json, show_table

    table = listed(folder)
    if as_json:
        show_json(table)
    elif table.empty:
        results.print(f"{folder} holds no runs", soft_wrap=True)
    else:
        created = [created[:16].replace("T", " ") for created in table["created"].fillna("-")]
        names = [path.relative_to(folder).as_posix() for path in table["run"]]
        show_table(table.assign(run=names, created=created), f"Runs in {folder}, times in UTC")
