"""``attnscope runs``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import typer

from attnscope.cli import options as o
from attnscope.cli.grouping import grouped

_DEFAULT = Path("runs")


@grouped
def runs(
    folder: Annotated[Path, typer.Argument(help="Where runs were written to.")] = _DEFAULT,
    as_json: o.AsJson = False,
) -> None:
    """List the runs in a folder, the newest first, and whether they came to their end."""
    from attnscope.analyses.side_by_side import listed
    from attnscope.cli.console import messages, results, show_json, show_table

    if folder == _DEFAULT and not folder.exists():
        (show_json([]) if as_json else results.print("there are no runs here yet"))
        return
    with warnings.catch_warnings(record=True) as unread:
        warnings.simplefilter("always")
        table = listed(folder)
    for warning in unread:
        messages.print(f"warning: {warning.message}", soft_wrap=True)
    if as_json:
        show_json(table)
    elif table.empty:
        results.print(f"{folder} holds no runs", soft_wrap=True)
    else:
        created = [created[:16].replace("T", " ") for created in table["created"].fillna("-")]
        names = [path.relative_to(folder).as_posix() for path in table["run"]]
        finished = [_said(*row) for row in zip(table["shard"], table["finished"], strict=True)]
        shown = table.assign(run=names, created=created, finished=finished).drop(columns="shard")
        shown = shown.rename(columns={"limit": "prompts"})
        show_table(shown, f"Runs in {folder}, times in UTC")


def _said(shard: object, finished: bool) -> str:
    """Whether a run came to its end, or a shard of one."""
    if isinstance(shard, str):
        return f"shard {shard}, {'done' if finished else 'not done'}"
    return "yes" if finished else "no"
