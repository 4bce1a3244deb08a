"""Which sections a command's runs have on a page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, TypeVar

from attnscope.runs.contents import CONTENTS

if TYPE_CHECKING:
    from attnscope.pages.parts import Section
    from attnscope.runs.folder import Run

Show = Callable[["Run"], "Iterable[Section]"]
"""Takes a finished run; reads its tables and its files alone."""
S = TypeVar("S", bound=Show)
_KNOWN: dict[str, list[Show]] = {}


def shows(command: str) -> Callable[[S], S]:
    """Make a function one that says what a page of a command's runs has.

    Args:
        command: whose runs. Several functions may say it; their sections follow one another.

    Returns:
        A decorator that returns what it is given.

    Raises:
        ValueError: there are no runs of such a command.
    """
    if command not in CONTENTS:
        raise ValueError(f"there are no runs of {command!r}: say so in runs/contents.py")

    def register(show: S) -> S:
        _KNOWN.setdefault(command, []).append(show)
        return show

    return register


def sections_of(run: Run) -> list[Section]:
    """What a run has to show: what its command says, or else all its tables.

    Raises:
        InputError: the run is not finished, or a file of it is gone.
    """
    from attnscope.pages import commands
    from attnscope.pages.about import every_table

    for file in iter_modules(commands.__path__):
        import_module(f"{commands.__name__}.{file.name}")
    known = _KNOWN.get(run.command)
    if known is None:
        return [every_table(run)]
    return [section for show in known for section in show(run)]
