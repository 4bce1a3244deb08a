"""Text that a terminal shows and does not obey: captions and names of files are strangers' words."""

from __future__ import annotations

from unicodedata import bidirectional, category

_STEERS = ("Cc", "Cs", "Zl", "Zp")
"""Categories of Unicode: escape sequences begin with one of the first, the second cannot be written as
UTF-8, the others end lines."""
_TURNS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
"""Directions that turn around what follows, so that ``gpj.exe`` is read as ``exe.jpg``."""


def printable(text: str) -> str:
    """A text with ``\ufffd`` for every character that steers a terminal; lines and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join("\ufffd" if _steers(character) else character for character in text)


def one_line(text: str) -> str:
    """A text in one line, as :func:`printable` leaves it."""
    return printable(" ".join(text.split()))


def _steers(character: str) -> bool:
    if character in "\n\t":
        return False
    return category(character) in _STEERS or bidirectional(character) in _TURNS
