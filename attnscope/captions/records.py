"""JSON: COCO's annotations, a list of records, and JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attnscope.captions.table import Table
from attnscope.captions.text import clean, decode, lines
from attnscope.errors import InputError

_CAPTION = "caption"
_NOT_JSON = (ValueError, RecursionError)


class _TwiceError(ValueError):
    """A key stands twice in an object, of which JSON's readers would keep the last."""


def is_json(text: str) -> bool:
    """Whether a text is a JSON document that holds others."""
    try:
        return isinstance(json.loads(text), dict | list)
    except _NOT_JSON:
        return False


def captions_of_json(path: Path, column: str | None) -> list[str]:
    """The captions in COCO's annotations, a list of records, or what is in truth JSON lines.

    Raises:
        InputError: it is none of these, or an entry holds no text.
    """
    text = decode(path)
    try:
        document = _loads(text)
    except _TwiceError as error:
        raise InputError(f"{str(path)!r}: {error}") from error
    except _NOT_JSON as error:
        first = next((line for line in lines(text) if clean(line)), "")
        if is_json(first):
            return captions_of_json_lines(path, column)  # what pandas and datasets call .json
        raise _no_captions(path) from error
    if isinstance(document, dict) and isinstance(document.get("annotations"), list):
        entries = document["annotations"]
        column = column or _CAPTION
    elif isinstance(document, list):
        entries = document
    else:
        raise _no_captions(path)
    places = [f"entry {number}" for number in range(1, len(entries) + 1)]
    if entries and not isinstance(entries[0], dict | str):
        raise _no_captions(path)
    return _captions(path, places, entries, column)


def captions_of_json_lines(path: Path, column: str | None) -> list[str]:
    """The captions of a file that holds a JSON object, or string, a line.

    Raises:
        InputError: a line is none, or holds no text.
    """
    places, entries = [], []
    for number, line in enumerate(lines(decode(path)), 1):
        if not clean(line):
            continue
        try:
            entries.append(_loads(clean(line)))
        except _TwiceError as error:
            raise InputError(f"{str(path)!r}, line {number}: {error}") from error
        except _NOT_JSON as error:
            raise InputError(f"{str(path)!r}, line {number} is no JSON ({error})") from error
        places.append(f"line {number}")
    return _captions(path, places, entries, column)


def _captions(
    path: Path, places: Sequence[str], entries: Sequence[Any], column: str | None
) -> list[str]:
    if not entries:
        return []
    strings = isinstance(entries[0], str)
    for place, entry in zip(places, entries, strict=True):
        if not isinstance(entry, str if strings else dict):
            kind = "null" if entry is None else f"a {type(entry).__name__}"
            wanted = "string" if strings else "object"
            raise InputError(f"{str(path)!r}, {place} is {kind}, not a JSON {wanted}")
    if strings:
        if column is not None:
            raise InputError(f"`column` needs a table, and {path.name!r} is a list of strings")
        entries = [{_CAPTION: entry} for entry in entries]
    keys = list(dict.fromkeys(key for entry in entries for key in entry))
    names = [clean(key) for key in keys]
    if column == _CAPTION and column not in names:
        keys, names = [*keys, column], [*names, column]  # so that the first entry without is told

    def cells(number: int) -> Iterator[tuple[str, Any]]:
        for place, entry in zip(places, entries, strict=True):
            if keys[number] not in entry:
                raise InputError(f"{str(path)!r}, {place} has no {names[number]!r}")
            yield place, entry[keys[number]]

    return Table(path, names, cells).captions(column)


def _loads(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in made if keys.count(key) > 1)
        raise _TwiceError(f"an object has {twice!r} twice")
    return made


def _no_captions(path: Path) -> InputError:
    return InputError(
        f"{str(path)!r} is not COCO captions (expected annotations with a caption each, or a list of "
        "records or strings)"
    )
