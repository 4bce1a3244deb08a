"""``attnscope report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnscope.cli import options as o
from attnscope.cli.grouping import OUTPUT, grouped
from attnscope.cli.places import check_file

if TYPE_CHECKING:
    import pandas as pd

_DEFAULT = Path("runs")


@grouped
def report(
    paths: Annotated[list[Path] | None, typer.Argument(metavar="RUN", help="Run directories, of one command; with --bundle of any, or folders of them.", show_default="with --bundle: runs")] = None,
    out: Annotated[Path | None, typer.Option(help="The HTML file.", show_default="RUN/report.html; of several runs report.html", rich_help_panel=OUTPUT)] = None,
    bundle: Annotated[Path | None, typer.Option(help="Write a site instead: a folder with a page for every run and an index.", rich_help_panel=OUTPUT)] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the file only.", rich_help_panel=OUTPUT)] = False,
    as_json: o.AsJson = False,
) -> None:  # fmt: skip
    """Turn runs into one HTML file to explore in a browser: charts, tables, images side by side.

    The file holds all that it shows and loads nothing, so it can be sent to anybody. Several runs are
    compared first. Needs no model and no torch.
    """
    from attnscope.errors import InputError

    if quiet and as_json:
        raise InputError("--quiet prints the file only and --json the result: give one")
    if bundle is not None:
        if out is not None:
            raise InputError("--out names one file and --bundle a folder of many: give one")
        _site(paths or [_DEFAULT], bundle, quiet=quiet, as_json=as_json)
    else:
        _page(paths or [], out, quiet=quiet, as_json=as_json)


def _page(paths: list[Path], out: Path | None, *, quiet: bool, as_json: bool) -> None:
    """One file of one run or several."""
    from attnscope.analyses.side_by_side import names_of
    from attnscope.cli.console import results, show_json
    from attnscope.errors import InputError
    from attnscope.runs.folder import Run
    from attnscope.runs.reading import telling

    if not paths:
        raise InputError("report takes a run directory or more: 'attnscope runs' lists them")
    runs = [Run(path) for path in paths]
    names_of(runs)
    file = out or (paths[0] / "report.html" if len(runs) == 1 else Path("report.html"))
    check_file("--out", file, (".html", ".htm"))
    from attnscope.pages.bundle import write
    from attnscope.pages.page import report as made

    with telling(*paths):
        page = made(runs)
    write(file, page)
    size = file.stat().st_size
    if as_json:
        show_json({"file": file, "bytes": size, "runs": paths})
    elif quiet:
        print(file)
    else:
        results.print(f"report: {file} ({_size(size)}; opens in any browser)", soft_wrap=True)


def _site(paths: list[Path], folder: Path, *, quiet: bool, as_json: bool) -> None:
    """A page for every run, and an index."""
    from attnscope.cli.console import messages, results, show_json
    from attnscope.errors import InputError
    from attnscope.pages.bundle import INDEX, check_target, write_site
    from attnscope.plain import how_many

    found = _found(paths)
    if found.empty:
        raise InputError(f"there are no runs in {', '.join(str(path) for path in paths)}")
    check_target(folder)
    entries = write_site(found, folder)
    for entry in entries:
        if entry.reason:
            messages.print(f"warning: no page of {entry.name}: {entry.reason}", soft_wrap=True)
    if as_json:
        pages = [{"name": e.name, "file": e.file or None, "reason": e.reason or None} for e in entries]  # fmt: skip
        show_json({"index": folder / INDEX, "pages": pages})
    elif quiet:
        print(folder / INDEX)
    else:
        pages_made = sum(bool(entry.file) for entry in entries)
        results.print(f"site: {folder / INDEX} ({how_many(pages_made, 'page')})", soft_wrap=True)


def _found(paths: list[Path]) -> pd.DataFrame:
    """The runs among paths, and those in folders among them, the newest first."""
    import warnings

    import pandas as pd

    from attnscope.analyses.side_by_side import listed
    from attnscope.cli.console import messages

    with warnings.catch_warnings(record=True) as unread:
        warnings.simplefilter("always")
        table = pd.concat([listed(path) for path in paths], ignore_index=True)
    for warning in unread:
        messages.print(f"warning: {warning.message}", soft_wrap=True)
    table = table.drop_duplicates("run")
    return table.sort_values("created", ascending=False, ignore_index=True)


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size > 1e5 else f"{size / 1e3:.0f} kB"
