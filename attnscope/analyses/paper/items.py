"""A figure or table of the paper by its name, and all of them in order."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from attnscope.analyses.paper.parts import Part
from attnscope.errors import InputError


@dataclass(frozen=True)
class Item:
    """A figure or table.

    Args:
        name: ``figure3c``, ``tableA5``: what one types.
        shows: what it shows, in a sentence.
        claim: what the paper concludes from it, or that it concludes nothing.
        parts: the commands that make it.
        needs: what they need on the paper's models besides weights, a GPU and a data set.
        note: what else is to be known, such as what the paper does not say.
        drawn: names of the figures of runs that show it.
    """

    name: str
    shows: str
    claim: str
    parts: tuple[Part, ...] = ()
    needs: tuple[str, ...] = ()
    note: str = ""
    drawn: tuple[str, ...] = ()

    @property
    def number(self) -> str:
        """``3c``, ``A5``: by which published values are found."""
        return re.sub("^(figure|table)", "", self.name)

    @property
    def title(self) -> str:
        """``Figure 3c``, ``Table A5``."""
        return f"{'Figure' if self.name.startswith('figure') else 'Table'} {self.number}"

    @property
    def asks(self) -> bool:
        """Whether questions are asked about its images."""
        return any(part.asks for part in self.parts)

    @property
    def judges(self) -> bool:
        """Whether images are judged."""
        return any(part.judges for part in self.parts)

    @property
    def models(self) -> tuple[str, ...]:
        """The paper's models that it takes."""
        return tuple(dict.fromkeys(part.model for part in self.parts if part.model))


def items() -> dict[str, Item]:
    """All figures and tables, in the paper's order, by name."""
    from attnscope.analyses.paper.figures import FIGURES
    from attnscope.analyses.paper.tables import TABLES

    return {item.name: item for item in (*FIGURES, *TABLES)}


def find(name: str) -> Item:
    """A figure or table by its name, however it is written: ``tableA5``, ``"Table A5"``, ``figure-3c``.

    Raises:
        InputError: there is none.
    """
    known = items()
    plain = {_plain(key): item for key, item in known.items()}
    wanted = _plain(name)
    if wanted in plain:
        return plain[wanted]
    near = difflib.get_close_matches(wanted, plain, n=3)
    meant = f"did you mean {' or '.join(plain[n].name for n in near)}? " if near else ""
    raise InputError(f"the paper has no {name!r}: {meant}choose from {', '.join(known)}")


def _plain(name: str) -> str:
    return (
        re.sub(r"[^a-z0-9]", "", name.lower())
        .replace("fig", "figure")
        .replace("figureure", "figure")
    )
