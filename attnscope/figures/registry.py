"""Which figures are drawn of which command's runs, from which of their tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from attnscope.runs.contents import CONTENTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    Draw = Callable[..., Figure | None]
    """Takes tables of a run; ``None`` if it has no data for the figure."""

D = TypeVar("D", bound="Draw")


@dataclass(frozen=True)
class Registered:
    """A figure of a command's runs.

    Args:
        command: whose runs it is drawn of.
        table: of the run, by its name.
        name: of its files, without their endings.
        draw: from the table to the figure.
        beside: further tables, which every run of the command has, that are given to it as well.
    """

    command: str
    table: str
    name: str
    draw: Draw
    beside: tuple[str, ...] = ()

    @property
    def on_request(self) -> bool:
        """Whether a run may lack its table."""
        return self.table in CONTENTS[self.command].on_request


_KNOWN: list[Registered] = []


def draws(
    command: str, table: str, *, name: str = "", beside: tuple[str, ...] = ()
) -> Callable[[D], D]:
    """Make a figure one of those that are drawn of a command's runs.

    Args:
        command: see :class:`Registered`.
        table: see there.
        name: see there; by default the function's.
        beside: see there.

    Returns:
        A decorator that returns what it is given.

    Raises:
        ValueError: the command's runs have no such table, or a figure of this name.
    """
    for asked in (table, *beside):
        if command not in CONTENTS or asked not in CONTENTS[command].tables:
            raise ValueError(
                f"runs of {command!r} have no table {asked!r}: say so in runs/contents.py"
            )

    def register(draw: D) -> D:
        figure = Registered(command, table, name or getattr(draw, "__name__", ""), draw, beside)
        if any((known.command, known.name) == (command, figure.name) for known in _KNOWN):
            raise ValueError(f"there are two figures {figure.name!r} of {command!r}")
        _KNOWN.append(figure)
        return draw

    return register


def figures_of(command: str) -> list[Registered]:
    """The figures of a command's runs: those of every run first, then those of what it may lack."""
    found = [figure for figure in _KNOWN if figure.command == command]
    return sorted(found, key=lambda figure: figure.on_request)
