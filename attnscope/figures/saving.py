"""Drawing all figures of a run and writing them as PNG and PDF."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from attnscope.figures.registry import figures_of
from attnscope.files import make_folder, write_whole
from attnscope.plots import paper_style
from attnscope.runs.contents import CONTENTS
from attnscope.runs.folder import Run


def save_figures(run: Run) -> list[Path]:
    """Draw every figure that a run's tables have data for into its folder for them.

    Returns:
        The PNG files; a PDF of the same name stands beside each.

    Raises:
        InputError: the run has no table yet.
    """
    written: list[Path] = []
    figures = figures_of(run.command)
    if not figures:
        return written
    folder = run.path / CONTENTS[run.command].figures
    mpl.use("agg")
    with paper_style():
        for known in figures:
            if known.on_request and not run.has_table(known.table):
                continue
            figure = known.draw(*(_read(run, name) for name in (known.table, *known.others)))
            if figure is None:
                continue
            make_folder(folder)
            png = folder / f"{known.name}.png"
            _write(figure, png.with_suffix(".pdf"), png)
            written.append(png)
    return written


def save(draw: Callable[[], Figure], *paths: Path) -> None:
    """Draw one figure in the style of papers and write it as the endings of paths say: PNG or PDF."""
    mpl.use("agg")
    with paper_style():
        _write(draw(), *paths)


def _write(figure: Figure, *paths: Path) -> None:
    with _undated_fonts():
        for path in paths:
            write_whole(path, figure.savefig)
    plt.close(figure)


@contextlib.contextmanager
def _undated_fonts() -> Iterator[None]:
    """Let fonts say no date: matplotlib's Computer Modern has none, and primes of mathematics come from it.

    fontTools, which cuts out of fonts what a PDF needs, warns of it on stderr, twice at every one.
    """
    heads = logging.getLogger("fontTools.ttLib.tables._h_e_a_d")
    heads.addFilter(_of_another_matter)
    try:
        yield
    finally:
        heads.removeFilter(_of_another_matter)


def _of_another_matter(record: logging.LogRecord) -> bool:
    return "timestamp seems very low" not in record.getMessage()


def _read(run: Run, name: str) -> pd.DataFrame:
    """A table of a run; its paths lead to files from everywhere."""
    table = run.read_table(name)
    if "path" in table:
        table = table.assign(path=[str(run.path / path) for path in table["path"]])
    return table
