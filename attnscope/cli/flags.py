"""From arguments of Python to flags of the command line, in what is told to a user.

What raises an error speaks of an argument, between backticks: ``choose `dtype='float16'` ``. Here it
becomes the flag that the command line has for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

_ARGUMENT = re.compile(r"`(\w+)(?:=([^`]+))?`")
_WORD = re.compile(r"'([\w.:-]+)'")


def flag(name: str) -> str:
    """How an option is called on the command line."""
    return "--" + name.replace("_", "-")


def as_typed(message: str) -> str:
    """A message with flags for arguments: ``--dtype float16`` for `` `dtype='float16'` ``.

    Args:
        message: what is between backticks and is no option of any command stays as it is.
    """
    return _ARGUMENT.sub(_typed, message)


def _typed(found: re.Match[str]) -> str:
    name, value = flag(found[1]), found[2]
    if name not in _flags():
        return found[0]
    if value in (None, "True"):
        return name
    word = _WORD.fullmatch(value)
    return f"{name} {word[1] if word else value}"


@cache
def _flags() -> frozenset[str]:
    """All that the commands have."""
    import typer

    from attnscope.cli.app import app

    return frozenset(_of(typer.main.get_command(app)))


def _of(command: Any) -> Iterator[str]:
    for option in command.params:
        yield from option.opts
    for child in getattr(command, "commands", {}).values():
        yield from _of(child)
