"""CSV (RFC 4180) and TSV: a table is read whole, or refused by line.

Parsers for data make a table of anything: pandas takes a cell too many for an index, fills up rows
that are too short, and lets a stray quote swallow what follows. Each would change captions in
silence.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from attnscope.captions.table import Table
from attnscope.captions.text import clean, decode, lines
from attnscope.errors import InputError

_LONGEST = 2**27
"""Characters of a cell: other columns may hold an image."""
_REASONS = {
    "expected after": "a cell goes on after its closing quote: put quotes around the whole cell and "
    "double those inside it",
    "unexpected end": "a quote opens here and never closes: double it and put quotes around the cell",
    "new-line character": "a carriage return (\\r) stands inside a cell without quotes: remove it",
}


def table(path: Path, separator: str) -> Table:
    """The table in a file.

    Args:
        path: of the file.
        separator: of its columns.

    Raises:
        InputError: it is empty, or a line of it can be read in no way or in two.
    """
    usual = csv.field_size_limit(_LONGEST)
    try:
        rows = list(_rows(path, separator))
    finally:
        csv.field_size_limit(usual)
    if not rows:
        raise InputError(f"{str(path)!r} is not a table (empty)")
    names = [clean(name) for name in rows[0][1]]
    for line, row in rows[1:]:
        if len(row) != len(names):
            raise InputError(
                f"{str(path)!r}, line {line} has {_fields(len(row))} and the header has "
                f"{_fields(len(names))}: {_remedy(len(row) > len(names), separator)}"
            )
    return Table(
        path,
        names,
        lambda place: ((f"line {line}", row[place]) for line, row in rows[1:]),
        named_by_line=True,
    )


def _rows(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Every row that is not blank, with the number of its first line."""
    text = lines(decode(path))
    reader = csv.reader(iter(text), delimiter=separator, strict=True, skipinitialspace=True)
    first, width = 1, None
    try:
        for row in reader:
            raw = text[first - 1 : reader.line_num]
            if any(line.strip(" \r\n") for line in raw):
                width = width or len(row)
                _refuse_two_readings(path, raw, first, separator, width)
                yield first, row
            first = reader.line_num + 1
    except csv.Error as error:
        reason = next((told for part, told in _REASONS.items() if part in str(error)), str(error))
        raise InputError(f"{str(path)!r}, line {first}: {reason}") from error


def _refuse_two_readings(
    path: Path, raw: Sequence[str], first: int, separator: str, width: int
) -> None:
    """Refuse a quoted cell over several lines, each of which is a whole row without its quotes."""
    if len(raw) > 1 and all(line.count(separator) + 1 == width for line in raw):
        last = first + len(raw) - 1
        raise InputError(
            f"{str(path)!r}, line {first}: a quote opens here and closes in line {last}, and without "
            f"it these were {len(raw)} whole rows: double a quote that is part of a caption, put a "
            "caption in one line, or save the table as Parquet"
        )


def _fields(count: int) -> str:
    return f"{count} field{'s' * (count != 1)}"


def _remedy(too_many: bool, separator: str) -> str:
    if not too_many:
        return "fill in what is missing"
    name = "tab" if separator == "\t" else "comma"
    return f"put quotes around a cell with a {name} in it"
