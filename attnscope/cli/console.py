"""What the commands share: where messages go, the progress bar, tables."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from attnscope import documents

messages = Console(stderr=True, highlight=False, markup=False)
results = Console(highlight=False, markup=False)


@contextlib.contextmanager
def progress(label: str, total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr; yields the function that moves it on."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=messages, disable=quiet or not messages.is_terminal, transient=True
    ) as bar:
        task = bar.add_task(label, total=total)
        yield lambda count: bar.advance(task, count)


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
    with warnings.catch_warnings():
        for library in ("diffusers", "transformers", "huggingface_hub", "torch"):
            warnings.filterwarnings("ignore", module=rf"{library}\.")
        warnings.showwarning = lambda message, *where: messages.print(
            f"warning: {message}", soft_wrap=True
        )
        yield


def show_table(table: pd.DataFrame, title: str, formats: dict[str, str] | None = None) -> None:
    """Print a DataFrame; ``formats`` gives format specifications by column."""
    results.print(title, style="bold", soft_wrap=True)
    shown = Table(header_style="bold")
    for name in table:
        numeric = pd.api.types.is_numeric_dtype(table[name])
        shown.add_column(str(name), justify="right" if numeric else "left", overflow="fold")
    for row in table.itertuples(index=False):
        cells = []
        for name, value in zip(table, row, strict=True):
            spec = (formats or {}).get(str(name), "")
            cells.append(_cell(value, spec))
        shown.add_row(*cells)
    results.print(shown)


def show_json(value: Any) -> None:
    """Print one JSON document for machines; see :mod:`attnscope.documents`."""
    print(documents.text(value))


def _cell(value: Any, spec: str) -> str:
    if pd.isna(value):
        return "-"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return format(value, spec)
