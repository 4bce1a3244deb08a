"""A table of any format, and which of its columns holds the captions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnscope.captions.text import USUAL_NAMES, caption
from attnscope.errors import InputError


@dataclass(frozen=True)
class Table:
    """What a file holds, whichever format it has.

    Args:
        path: of the file.
        names: of its columns; ``""`` for one without a name, such as an index.
        cells: the place of every cell of a column, such as ``line 3``, and its value.
        named_by_line: whether the names are the first line of a text, which may be no names.
    """

    path: Path
    names: Sequence[str]
    cells: Callable[[int], Iterable[tuple[str, Any]]]
    named_by_line: bool = False

    def captions(self, column: str | None) -> list[str]:
        """The captions in a column, ``""`` for an empty cell.

        Args:
            column: its name; not needed where it is the only one, or is called like one of
                :data:`USUAL_NAMES`.

        Raises:
            InputError: there is no such column or more than one, or a cell that holds no text.
        """
        name = self._likely() if column is None else column.strip()
        count = list(self.names).count(name) if name else 0
        if not count:
            names = ", ".join(self._named)
            raise InputError(
                f"column {column!r} is not in {str(self.path.name)!r} (choose {names})"
            )
        if count > 1:
            raise InputError(f"{str(self.path)!r} has {count} columns called {name!r}: rename one")
        place = list(self.names).index(name)
        return [
            caption(value, f"column {name!r} of {str(self.path)!r}, {where}")
            for where, value in self.cells(place)
        ]

    @property
    def _named(self) -> list[str]:
        return [name for name in self.names if name]

    def _likely(self) -> str:
        """The one column that is meant where none was named."""
        if not self._named:
            raise InputError(f"{str(self.path)!r} is not a table: no column has a name")
        usual = list(dict.fromkeys(name for name in self._named if name.lower() in USUAL_NAMES))
        candidates = self._named if len(self._named) == 1 else usual
        if len(candidates) != 1:
            names = ", ".join(self._named)
            raise InputError(f"{self.path.name!r} has columns {names}: choose by `column`")
        if self.named_by_line and not usual:
            self._refuse_no_name(candidates[0])
        return candidates[0]

    def _refuse_no_name(self, name: str) -> None:
        """Refuse a first line that is a caption, or has other separators than the file's ending."""
        for separator in ",;\t|":
            if separator in name:
                raise InputError(
                    f"{str(self.path)!r} has one column, {name!r}: is it separated by {separator!r}? "
                    "Columns of .csv are separated by ',', of .tsv by tabs"
                )
        words = name.split()
        named = len(words) == 2 and any(word.lower() in USUAL_NAMES for word in words)
        if not named and not re.fullmatch(r"[\w.-]+", name):
            raise InputError(
                f"{str(self.path)!r} begins with {name!r}, which reads like no name of a column: a "
                f"table begins with the names of its columns (if this is one, say `column={name!r}`)"
            )
