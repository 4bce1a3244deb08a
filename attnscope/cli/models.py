"""``attnscope models``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnscope.cli.grouping import OUTPUT, grouped


@grouped
def models(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the list as JSON.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """List the models that have a short name, and which of them are on this machine."""
    import pandas as pd

    from attnscope.cli.console import show_json, show_table
    from attnscope.models.names import MODELS, is_local

    rows = [
        {
            "name": model.name,
            "source": "embedded" if Path(model.source).is_dir() else model.source,
            "steps": model.steps,
            "guidance": model.guidance,
            "conditioned on": model.task,
            "here": is_local(model),
        }
        for model in MODELS.values()
    ]
    if as_json:
        show_json(rows)
    else:
        show_table(pd.DataFrame(rows), "Models by short name; any hub id or folder works too")
