"""What ``attnscope cost paper`` prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attnscope.cli.reports import reports

if TYPE_CHECKING:
    import pandas as pd

    from attnscope.runs.folder import Run


def show_paper(out: Path | None, *, quiet: bool, as_json: bool) -> None:
    """Print the cost tables of the paper beside what they come to here, and write them, if wanted."""
    from attnscope.analyses.cost import write_paper
    from attnscope.cost import published

    table = published.compare()
    if out is not None:
        write_paper(out, published.source(), table)
    _show(table, out, quiet=quiet, as_json=as_json)


@reports("cost paper")
def report(run: Run, *, quiet: bool, as_json: bool) -> None:
    """Print what a run of ``cost paper`` says; it has no figures."""
    _show(run.read_table("paper"), run.path, quiet=quiet, as_json=as_json)


def _show(table: pd.DataFrame, out: Path | None, *, quiet: bool, as_json: bool) -> None:
    from attnscope.cli.console import results, show_json, show_table
    from attnscope.cli.reports.cost import show_files
    from attnscope.cost import published

    notes = published.notes()
    files = [] if out is None else [out / "paper.csv"]
    if as_json:
        show_json({"source": published.source(), "notes": notes,
                   "rows": table, "files": files})  # fmt: skip
        return
    if quiet:
        print(out)
        return
    used = [note for note in notes if note in set(table["note"])]
    numbers = {note: str(position) for position, note in enumerate(used, start=1)}
    for name, group in table.groupby("table", sort=False):
        shown = group[["row", "published", "paper", "ratio", "agrees", "full"]].assign(
            note=[numbers.get(note, "") for note in group["note"]]
        )
        shown = shown.rename(columns={"paper": "ours", "full": "ours, full"})
        formats = {"published": ".3f", "ours": ".3f", "ratio": ".4f", "ours, full": ".3f"}
        show_table(shown, f"Table {name}" if name != "README" else "README of T-GATE", formats)
    for note in used:
        results.print(f"{numbers[note]}. {notes[note]}", soft_wrap=True)
    agreeing = table["agrees"].sum()
    results.print(
        f"{agreeing} of {len(table)} rows agree within {published.TOLERANCE:.1%}", soft_wrap=True
    )
    results.print(published.source(), soft_wrap=True)
    show_files(files)
