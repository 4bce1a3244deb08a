"""What a page is made of, as plain values: they say what there is, templates say how it looks.

A new sort of part is a dataclass with the name of a macro in ``templates/parts.html``; those that have a
file of their own are :mod:`~attnscope.pages.arms` and :mod:`~attnscope.pages.filmstrip`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from markupsafe import Markup

from attnscope.pages.pictures import Sheet
from attnscope.pages.svg import number

MOST_ROWS = 1000
"""Of a table on a page."""
_LONG = 64
"""Characters that a table has room for in one line."""


@dataclass(frozen=True)
class Part:
    """Something on a page."""

    macro: ClassVar[str]
    """What draws it in ``templates/parts.html``."""
    wide: ClassVar[bool] = True
    """Whether it has a row of the page for itself."""

    def sheets(self) -> Iterator[Sheet]:
        """All its images."""
        return iter(())


@dataclass(frozen=True)
class Note(Part):
    """A sentence or two."""

    macro: ClassVar[str] = "note"

    text: str


@dataclass(frozen=True)
class Facts(Part):
    """Names and values.

    Args:
        title: above them.
        rows: a name and a value each.
    """

    macro: ClassVar[str] = "facts"
    wide: ClassVar[bool] = False

    title: str
    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Cell:
    """A value in a table.

    Args:
        text: as it is shown.
        value: as it is sorted by.
    """

    text: str
    value: str

    @property
    def long(self) -> bool:
        """Whether it is given several lines."""
        return len(self.text) > _LONG


@dataclass(frozen=True)
class Table(Part):
    """A table that is sorted by whichever column is asked.

    Args:
        title: above it.
        frame: its rows.
        headings: what columns are called, where not by their names.
        forms: how values are written, as format specifications by column.
        key: a column whose values charts lead to (``key`` of a dot, a curve, a row); its column is
            shown like every other one.
        note: below it.
    """

    macro: ClassVar[str] = "table"

    title: str
    frame: pd.DataFrame
    headings: Mapping[str, str] = field(default_factory=dict)
    forms: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    note: str = ""

    @property
    def columns(self) -> list[tuple[str, bool]]:
        """The heading of every column, and whether it has numbers."""
        numeric = pd.api.types.is_numeric_dtype
        boolean = pd.api.types.is_bool_dtype
        return [
            (
                self.headings.get(str(name), str(name).replace("_", " ")),
                numeric(column) and not boolean(column),
            )
            for name, column in self.frame.items()
        ]

    @property
    def rows(self) -> Iterator[tuple[str, list[Cell]]]:
        """The key of every row, and its cells; no more than :data:`MOST_ROWS`."""
        names = [str(name) for name in self.frame]
        keys = self.frame[self.key] if self.key else [""] * len(self.frame)
        shown = zip(keys, self.frame.itertuples(index=False), strict=True)
        for (key, row), _ in zip(shown, range(MOST_ROWS), strict=False):
            cells = zip(names, row, strict=True)
            yield str(key), [_cell(value, self.forms.get(name, "")) for name, value in cells]

    @property
    def left_out(self) -> int:
        """Rows that a page has no room for."""
        return max(0, len(self.frame) - MOST_ROWS)


@dataclass(frozen=True)
class Chart(Part):
    """A chart, and the table behind it.

    Args:
        title: above it.
        svg: of :mod:`attnscope.pages.charts`.
        table: the values that are drawn.
        note: below it.
    """

    macro: ClassVar[str] = "chart"
    wide: ClassVar[bool] = False

    title: str
    svg: Markup
    table: pd.DataFrame
    note: str = ""

    @property
    def behind(self) -> Table:
        """Its table as a part."""
        return Table(f"Values of: {self.title}", self.table)


@dataclass(frozen=True)
class Choice(Part):
    """One of several parts, as the reader chooses.

    Args:
        label: what is chosen.
        options: a name and a part each; the first one is shown at first.
    """

    macro: ClassVar[str] = "choice"

    label: str
    options: Sequence[tuple[str, Part]]

    def sheets(self) -> Iterator[Sheet]:
        """Those of all parts."""
        for _, part in self.options:
            yield from part.sheets()


@dataclass(frozen=True)
class Section:
    """Parts under one heading.

    Args:
        title: the heading.
        parts: in order.
        lead: a sentence below the heading.
    """

    title: str
    parts: Sequence[Part]
    lead: str = ""

    def sheets(self) -> Iterator[Sheet]:
        """All images."""
        for part in self.parts:
            yield from part.sheets()


def _cell(value: Any, form: str) -> Cell:
    if isinstance(value, list | tuple | dict | np.ndarray):
        return Cell(str(value), str(value))
    if pd.isna(value):
        return Cell("-", "")
    if isinstance(value, bool | np.bool_):
        return Cell("yes" if value else "no", str(int(value)))
    if isinstance(value, float | np.floating):
        return Cell(number(float(value), form or ".4g"), repr(float(value)))
    if isinstance(value, int | np.integer):
        return Cell(format(int(value), form), str(int(value)))
    return Cell(str(value), str(value))
