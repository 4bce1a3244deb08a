"""``attnscope compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnscope.cli import options as o
from attnscope.cli.grouping import grouped

if TYPE_CHECKING:
    import pandas as pd


@grouped
def compare(
    paths: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run directories of one command.")],
    as_json: o.AsJson = False,
) -> None:  # fmt: skip
    """Set runs beside each other: where their settings differ, and what came out, with intervals."""
    from attnscope.analyses.side_by_side import differing_settings, outcomes
    from attnscope.cli.console import results, show_json, show_table
    from attnscope.errors import InputError
    from attnscope.runs.folder import Run

    if len(paths) < 2:
        raise InputError("compare takes two run directories or more: 'attnscope runs' lists them")
    opened = [Run(path) for path in paths]
    settings, found = differing_settings(opened), outcomes(opened)
    if as_json:
        show_json({"settings": settings, "outcomes": found})
        return
    letters = {str(run.path): chr(ord("A") + place) for place, run in enumerate(opened)}
    for path, letter in letters.items():
        results.print(f"{letter}: {path}", soft_wrap=True)
    if settings.empty:
        results.print("the settings of these runs are the same")
    else:
        show_table(settings.rename(columns=letters), "Settings that differ")
    show_table(_beside(found, letters), "What came out (95 % interval; of speed-ups, the range)")


def _beside(found: pd.DataFrame, letters: dict[str, str]) -> pd.DataFrame:
    """A row for all that was measured, a column for every run."""
    import pandas as pd

    from attnscope.metrics.measures import MEASURES

    shown = found.assign(
        run=found["run"].map(letters), text=[_written(row) for row in found.to_dict("records")]
    )
    order = shown[["what", "measure"]].drop_duplicates()
    wide = shown.pivot_table(
        index=["what", "measure"], columns="run", values="text", aggfunc="first", observed=True
    )
    beside = pd.DataFrame(order).merge(wide.reset_index(), on=["what", "measure"], how="left")
    labels = {name: measure.label for name, measure in MEASURES.items()}
    return beside.assign(measure=beside["measure"].replace(labels))


def _written(row: dict[Any, Any]) -> str:
    if row["value"] != row["value"]:  # an arm that did not run
        return "-"
    value = f"{row['value']:.4g}"
    return value if row["low"] != row["low"] else f"{value} [{row['low']:.4g}, {row['high']:.4g}]"
