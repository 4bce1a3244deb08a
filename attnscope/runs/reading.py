"""Reading the files of a run: what is damaged or of another version is told in one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from attnscope.errors import InputError, reason

_SURPRISES = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError)
"""What code raises at a table that lacks a column or has another kind of values in it."""
_FILES = {"path", "maps", "file"}
"""Columns that name files of the run, by their place in it."""


def read_whole(path: Path, command: str, columns: list[str] | None = None) -> pd.DataFrame:
    """A table of a run.

    Args:
        path: of the file, which was written whole, so what cannot be read was damaged since.
        command: that writes it.
        columns: that are read; ``None`` is all.

    Raises:
        InputError: it is damaged, or names files that are not the run's.
    """
    with reading(path, command):
        table = pd.read_parquet(path, columns=columns)
    for column in _FILES & {*map(str, table.columns)}:
        for name in table[column].dropna().unique():
            if not isinstance(name, str) or Path(name).is_absolute() or ".." in Path(name).parts:
                raise InputError(f"{str(path)!r} names {name!r}, which is no file of the run")
    return table


def files_named(path: Path, command: str) -> list[str]:
    """The files that a table of a run names, by their place in the run directory.

    Args:
        path: of the table's file.
        command: that writes it.

    Raises:
        InputError: it is damaged, or names files that are not the run's.
    """
    import pyarrow.parquet

    with reading(path, command):
        columns = sorted(_FILES & {*pyarrow.parquet.read_schema(path).names})
    table = read_whole(path, command, columns) if columns else pd.DataFrame()
    return [name for column in columns for name in table[column].dropna().unique()]


@contextlib.contextmanager
def reading(path: Path, command: str) -> Iterator[None]:
    """What goes wrong while a file of a run is read is the file's, which was written whole.

    Args:
        path: of the file.
        command: that writes it.

    Raises:
        InputError: it is damaged.
    """
    try:
        yield
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise InputError(
            f"{str(path)!r} is damaged ({reason(error)}): restore it, or remove it and give the same "
            f"'{command}' command again"
        ) from error


@contextlib.contextmanager
def telling(*paths: Path) -> Iterator[None]:
    """What goes wrong while runs are told or drawn from their tables lies in these.

    They are another version's, or somebody changed them: every one of them was written whole.

    Args:
        paths: of the runs.

    Raises:
        InputError: a column is missing, or has values of another kind.
    """
    try:
        yield
    except InputError:
        raise
    except _SURPRISES as error:
        names = " or ".join(repr(str(path)) for path in paths)
        raise InputError(
            f"the tables of {names} are not as this attnscope writes them ({type(error).__name__} "
            f"{error}): restore them, or make the run anew (attnscope --debug … shows what was missed)"
        ) from error
