"""Text that is shown and steers nothing: captions and names of files are strangers' words."""

from __future__ import annotations

import re

_STEERING = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # escape sequences begin with one of these; lines and tabs stay
    "\u2028\u2029"  # end lines
    "\u202a-\u202e\u2066-\u2069"  # turn around what follows, so that gpj.exe is read as exe.jpg
    "\ud800-\udfff"  # halves of characters, which cannot be written
    "]"
)


def printable(text: str) -> str:
    """A text with ``\ufffd`` for every character that steers a terminal; lines and tabs stay."""
    return _STEERING.sub("\ufffd", text)


def one_line(text: str) -> str:
    """A text in one line, as :func:`printable` leaves it."""
    return printable(" ".join(text.split()))


def how_many(count: int, noun: str) -> str:
    """A number of things, such as "1 prompt" and "2 prompts"."""
    return f"{count} {noun}{'s' * (count != 1)}"
