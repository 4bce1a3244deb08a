"""What the commands share: where messages go, the progress bar, tables."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import rich.progress
from rich.console import Console
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from attnscope import documents
from attnscope.cli.flags import as_typed
from attnscope.cli.rates import Rates
from attnscope.plain import printable
from attnscope.runs.progress import Progress

if TYPE_CHECKING:
    from attnscope.runs.folder import Run


class _Plain(Console):
    """Shows text as it is: a caption with markup or escape sequences in it steers nothing."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """What a console of rich prints, with texts as :func:`attnscope.plain.printable` leaves them."""
        super().print(*(printable(o) if isinstance(o, str) else o for o in objects), **options)


messages = _Plain(stderr=True)
results = _Plain()


class Bars(Progress):
    """Shows every stretch of work as a bar on stderr, and says there what has to be said.

    Args:
        quiet: whether to leave the bars out.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._advance: Callable[[int], None] = lambda count: None
        self._made: Callable[[], None] = lambda: None
        self._rates = Rates()

    @contextlib.contextmanager
    def stretch(self, label: str, total: int) -> Iterator[None]:
        """A bar, for as long as the block goes on."""
        if self._quiet or not messages.is_terminal:
            yield
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[rates]}"),
        )
        rates = Rates()
        with rich.progress.Progress(*columns, console=messages, transient=True) as bars:
            task = bars.add_task(printable(label), total=total, rates="")
            self._advance = lambda count: bars.advance(task, count)
            self._made = lambda: bars.update(task, rates=str(rates))
            self._rates = rates
            yield

    def advance(self, count: int = 1) -> None:
        """Move the bar on."""
        self._advance(count)

    def happened(self, what: str, **about: Any) -> None:
        """Show how fast workers are."""
        if what == "batch":
            self._rates.add(about["worker"], about["items"], about["seconds"])
        elif what == "lost":
            self._rates.forget(about["worker"])
        self._made()

    def halved(self, size: int) -> None:
        """Say it."""
        self.say(f"out of memory: going on with batches of {size}")

    def failed(self, name: str, reason: str) -> None:
        """Say it."""
        self.say(f"no images of {name}: {reason}")

    def say(self, line: str) -> None:
        """Print a line on stderr."""
        messages.print(as_typed(line), soft_wrap=True)


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence what diffusers, transformers and the hub say about themselves while they load."""
    import diffusers
    import huggingface_hub
    import transformers

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    huggingface_hub.utils.logging.set_verbosity(logging.ERROR)
    said: set[str] = set()

    def say_once(message: Warning | str, *where: Any, **more: Any) -> None:
        """Python forgets what it said wherever filters change, as they do around every arm."""
        if str(message) not in said:
            said.add(str(message))
            messages.print(f"warning: {message}", soft_wrap=True)

    with warnings.catch_warnings():
        for library in ("diffusers", "transformers", "huggingface_hub", "torch"):
            warnings.filterwarnings("ignore", module=rf"{library}\.")
        warnings.showwarning = say_once
        yield


def show_table(table: pd.DataFrame, title: str, formats: dict[str, str] | None = None) -> None:
    """Print a DataFrame; ``formats`` gives format specifications by column.

    It keeps to the width of a terminal. What is piped or written to a file is as wide as it is, so that
    paths and names can be searched for.
    """
    results.print(title, style="bold", soft_wrap=True)
    shown = Table(header_style="bold")
    for name in table:
        numeric = pd.api.types.is_numeric_dtype(table[name])
        shown.add_column(
            Text(printable(str(name))), justify="right" if numeric else "left", overflow="fold"
        )
    for row in table.itertuples(index=False):
        cells = []
        for name, value in zip(table, row, strict=True):
            spec = (formats or {}).get(str(name), "")
            cells.append(_cell(value, spec))
        shown.add_row(*cells)
    if results.is_terminal:
        results.print(shown)
        return
    unbounded = results.options.update(max_width=100_000)
    width = Measurement.get(results, unbounded, shown).maximum
    _Plain(width=width).print(shown)


def show_json(value: Any) -> None:
    """Print one JSON document for machines; see :mod:`attnscope.documents`."""
    print(documents.text(value))


def show_places(run: Run, figures: Sequence[Path], more: str = "") -> None:
    """Print where a run is, and its figures; ``more`` says what else is there."""
    results.print(f"run directory: {run.path}{more}", soft_wrap=True)
    for figure in figures:
        results.print(f"figure: {figure} and .pdf", soft_wrap=True)


def _cell(value: Any, spec: str) -> str:
    if pd.isna(value):
        return "-"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return printable(format(value, spec))
