"""Which figures are drawn of which command's runs, from which of their tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from attnscope.runs.contents import CONTENTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    Draw = Callable[..., Figure | None]
    """Takes tables of a run; ``None`` if they have no data for the figure."""

D = TypeVar("D", bound="Draw")


@dataclass(frozen=True)
class Registered:
    """A figure of a command's runs.

    Args:
        command: whose runs it is drawn of.
        table: of the run, by its name.
        name: of its files, without their endings.
        draw: from the table, and the others, to the figure.
        others: further tables, which every finished run has.
    """

    command: str
    table: str
    name: str
    draw: Draw
    others: tuple[str, ...] = ()

    @property
    def on_request(self) -> bool:
        """Whether a run may lack its table."""
        return self.table in CONTENTS[self.command].on_request


_KNOWN: list[Registered] = []


def draws(command: str, table: str, *others: str, name: str = "") -> Callable[[D], D]:
    """Make a figure one of those that are drawn of a command's runs.

    Args:
        command: see :class:`Registered`.
        table: see there.
        others: see there.
        name: see there; by default the function's.

    Returns:
        A decorator that returns what it is given.

    Raises:
        ValueError: the command's runs have no such table, or a figure of this name.
    """
    for wanted in (table, *others):
        if command not in CONTENTS or wanted not in CONTENTS[command].tables:
            raise ValueError(
                f"runs of {command!r} have no table {wanted!r}: say so in runs/contents.py"
            )

    def register(draw: D) -> D:
        figure = Registered(command, table, name or getattr(draw, "__name__", ""), draw, others)
        if any((known.command, known.name) == (command, figure.name) for known in _KNOWN):
            raise ValueError(f"there are two figures {figure.name!r} of {command!r}")
        _KNOWN.append(figure)
        return draw

    return register


def figures_of(command: str) -> list[Registered]:
    """The figures of a command's runs: those of every run first, then those of what it may lack."""
    found = [figure for figure in _KNOWN if figure.command == command]
    return sorted(found, key=lambda figure: figure.on_request)
