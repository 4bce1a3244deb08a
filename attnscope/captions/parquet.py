"""Parquet: a column of text, whichever way it is stored."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from attnscope.captions.table import Table
from attnscope.errors import InputError

_INDEX = re.compile(r"__index_level_\d+__")
"""What pandas calls an index that has no name."""
_IS_TEXT = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,  # text of writers that do not say so; checked value by value
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_null,
)


def table(path: Path) -> Table:
    """The table in a file; of its columns only the one that is asked for is read.

    The index of a DataFrame is a column like others: it may hold the captions.

    Raises:
        InputError: it is no Parquet.
    """
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{str(path)!r} is not a table ({reason})") from error
    names = ["" if _INDEX.fullmatch(name) else name.strip() for name in schema.names]
    return Table(path, names, lambda place: _cells(path, schema, place))


def _cells(path: Path, schema: Any, place: int) -> Iterator[tuple[str, Any]]:
    field = schema.field(place)
    if not _is_text(field.type):
        raise InputError(
            f"column {field.name!r} of {str(path)!r} holds {field.type}, not text: choose another by "
            "`column`, or save it with one text a row"
        )
    try:
        column = pq.read_table(path, columns=[field.name], partitioning=None).column(field.name)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{str(path)!r} cannot be read ({reason})") from error
    for number, value in enumerate(column, 1):
        yield f"row {number}", value.as_py()


def _is_text(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return any(is_text(kind) for is_text in _IS_TEXT)
