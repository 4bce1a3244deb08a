"""Captions of a file, by its ending."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from attnscope.captions import delimited, parquet
from attnscope.captions.records import captions_of_json, captions_of_json_lines
from attnscope.captions.text import captions_of_lines
from attnscope.errors import InputError

TABLES: dict[str, Callable[[Path, str | None], list[str]]] = {
    ".csv": lambda path, column: delimited.table(path, ",").captions(column),
    ".tsv": lambda path, column: delimited.table(path, "\t").captions(column),
    ".parquet": lambda path, column: parquet.table(path).captions(column),
    ".json": captions_of_json,
    ".jsonl": captions_of_json_lines,
    ".ndjson": captions_of_json_lines,
}
"""Ending to what reads a column; any other ending is text with a caption a line."""
_NO_TEXT = (
    *(".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".7z"),
    *(".xls", ".xlsx", ".ods", ".feather", ".arrow", ".orc", ".avro", ".db", ".sqlite"),
    *(".pkl", ".pickle", ".npy", ".npz", ".pt", ".h5"),
    *(".yaml", ".yml", ".toml", ".xml", ".html", ".htm"),
)
"""What is no list of captions even where it can be read as lines."""


def read(path: Path, column: str | None = None) -> list[str]:
    """The captions of a file in its order, without white space at their ends, ``""`` for no caption.

    What is in the file comes back whole, or not at all.

    Args:
        path: of the file; see :data:`TABLES`.
        column: of a table; not needed where it is the only one, or is called ``caption``,
            ``prompt`` or ``text``.

    Raises:
        InputError: the file is missing or unreadable, or a line of it is; the column is not in it,
            or holds no text.
    """
    if not path.is_file():
        raise InputError(f"captions file {str(path)!r} does not exist")
    ending = path.suffix.lower()
    if ending in _NO_TEXT:
        raise InputError(
            f"captions cannot be read from {path.name!r}: give text (.txt, a caption a line) or a "
            f"table ({', '.join(TABLES)})"
        )
    if ending in TABLES:
        return TABLES[ending](path, column)
    if column is not None:
        raise InputError(f"`column` needs a table ({', '.join(TABLES)}), not {path.name!r}")
    return captions_of_lines(path)
