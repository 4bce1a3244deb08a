"""A heat map: rows of sites, columns of steps, colour on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from attnscope.pages.charts.frame import WIDTH, drawing
from attnscope.pages.svg import number, shortened, tag, text

_MOST_NAMED = 44
_ROW, _TALLEST = 12.0, 460.0
_COLORS = 32


@dataclass(frozen=True)
class HeatRow:
    """A row.

    Args:
        name: of it.
        values: one a column; zero and what is no number have no colour.
        key: the row of a table that its cells lead to.
        group: rows of one group stand together, with its name above.
    """

    name: str
    values: Sequence[float]
    key: str
    group: str = ""


def heat(
    title: str, rows: Sequence[HeatRow], columns: Sequence[int], x_label: str, label: str
) -> Markup:
    """The map, and what its colours mean above it."""
    named = len(rows) <= _MOST_NAMED
    left = 122.0 if named else 8.0
    tall = _ROW if named else max(2.0, _TALLEST / len(rows))
    wide = (WIDTH - left - 4) / max(1, len(columns))
    seen = [v for row in rows for v in row.values if v == v and v > 0]
    low, high = (min(seen), max(seen)) if seen else (1.0, 1.0)
    found, y, group = [_bar(label, low, high)], 44.0, None
    for row in rows:
        if row.group != group:
            group, y = row.group, y + 16
            found.append(text(left, y - 4, row.group, class_="label"))
        cells = [
            tag("rect", x=left + n * wide, y=y, width=wide + 0.3, height=tall + 0.2, fill=_color(value, low, high), data_tip=f"{x_label} {step}: {number(value)}")
            for n, (step, value) in enumerate(zip(columns, row.values, strict=True))
        ]  # fmt: skip
        if named:
            cells.insert(0, text(left - 6, y + tall - 2.5, shortened(row.name, 20), text_anchor="end", class_="name"))  # fmt: skip
        found.append(tag("g", *cells, class_="row", data_key=row.key, data_name=row.name))
        y += tall
    every = max(1, math.ceil(len(columns) / 8))
    found += [
        text(left + (n + 0.5) * wide, y + 15, f"{step}", text_anchor="middle", class_="tick")
        for n, step in enumerate(columns)
        if n % every == 0
    ]
    found.append(text((left + WIDTH) / 2, y + 32, x_label, text_anchor="middle", class_="label"))
    return drawing(title, y + 38, *found)


def _bar(label: str, low: float, high: float) -> Markup:
    """What the colours mean."""
    wide = 150.0 / _COLORS
    cells = [
        tag("rect", x=n * wide, y=18, width=wide + 0.3, height=8, fill=_palette()[n])
        for n in range(_COLORS)
    ]
    ends = [text(0, 39, number(low), class_="tick"), text(150, 39, number(high), text_anchor="end", class_="tick")]  # fmt: skip
    return tag("g", text(0, 12, label, class_="label"), *cells, *ends)


def _color(value: float, low: float, high: float) -> str:
    if not value > 0:
        return "none"
    part = math.log(value / low) / math.log(high / low) if high > low else 0.5
    return _palette()[min(_COLORS - 1, int(part * _COLORS))]


def _palette() -> list[str]:
    """Cividis, which is read in grey and without red and green."""
    if not _KNOWN:
        from matplotlib import colormaps
        from matplotlib.colors import to_hex

        _KNOWN.extend(
            to_hex(colormaps["cividis"](place / (_COLORS - 1))) for place in range(_COLORS)
        )
    return _KNOWN


_KNOWN: list[str] = []
