"""What of a file is text: its encoding, its lines, what stands in a cell."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attnscope.errors import InputError

USUAL_NAMES = ("caption", "prompt", "text")
"""What a column of captions is called, in any case."""
_MARK = "\ufeff"
_EDGES = re.compile(rf"\A[\s{_MARK}]+|[\s{_MARK}]+\Z")
_MARKS = {  # the longer ones first: UTF-32 begins like UTF-16
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def decode(path: Path) -> str:
    """The text of a file, without the mark of the byte order.

    Raises:
        InputError: it is no UTF-8, or holds a NUL, which no text does.
    """
    data = path.read_bytes()
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            raise InputError(f"{str(path)!r} is not UTF-8 text but {encoding}: save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{str(path)!r} is not UTF-8 text (byte {data[error.start]:#04x} in line {line}): "
            "save it as UTF-8"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{str(path)!r} is not UTF-8 text (NUL in line {line}): save it as UTF-8")
    return text


def lines(text: str) -> list[str]:
    r"""The lines of a text as editors and ``wc -l`` count them, each with its ``\n``.

    ``str.splitlines`` would also break at form feeds, U+0085, U+2028 and five more, which are
    characters of a caption. A file of old Macs, which has ``\r`` alone, has lines, too.
    """
    if "\n" not in text:
        text = text.replace("\r", "\n")
    found = text.split("\n")
    return [line + "\n" for line in found[:-1]] + ([found[-1]] if found[-1] else [])


def clean(text: str) -> str:
    """A text without white space and marks of the byte order at its ends."""
    return _EDGES.sub("", text)


def caption(value: Any, place: str) -> str:
    """What stands in a cell; an empty one, and one without a value, is ``""``.

    Args:
        value: of a table or a document.
        place: where it stands, for the message.

    Raises:
        InputError: it is no text, or text that nobody can read.
    """
    if value is None:
        return ""
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{place} holds bytes that are no UTF-8 text") from error
    if not isinstance(value, str):
        raise InputError(f"{place} holds {_shown(value)} ({type(value).__name__}), not text")
    if "\0" in value:
        raise InputError(f"{place} holds a NUL, which is no text")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise InputError(f"{place} holds half of a character ({value!a}), which is no Unicode text")
    return clean(value)


def captions_of_lines(path: Path) -> list[str]:
    """The captions of a text file, one a line, ``""`` for an empty line.

    Raises:
        InputError: it is no text, or in truth a table or JSON.
    """
    found = []
    for number, line in enumerate(lines(decode(path)), 1):
        text = clean(line)
        if "\r" in text:
            raise InputError(
                f"{str(path)!r}, line {number} holds a carriage return (\\r) that ends no line: "
                "remove it, or end all lines in one way"
            )
        found.append(text)
    _refuse_table(path, found)
    return found


def _refuse_table(path: Path, found: Sequence[str]) -> None:
    """Refuse what is called text and has names of columns in its first line, or is JSON."""
    from attnscope.captions.records import is_json

    number, first = next(((n, text) for n, text in enumerate(found, 1) if text), (1, ""))
    cells = re.split(r"[,;\t]", first.lower())
    named = any(cell.strip("\"'") in USUAL_NAMES for cell in cells)
    if named and all(cell == cell.strip() for cell in cells) and any(found[number:]):
        raise InputError(
            f"{str(path)!r}, line {number} ({first!r}) names columns and is no caption: call a table "
            ".csv or .tsv, or remove the line"
        )
    if first.startswith(("{", "[")) and (is_json(first) or is_json("\n".join(found))):
        raise InputError(
            f"{str(path)!r}, line {number} is JSON and no caption: call the file .jsonl if every "
            "line is a document of its own, otherwise .json"
        )


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."
