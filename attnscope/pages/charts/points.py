"""Points in a plane, each with a letter: what speed costs in quality."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from attnscope.pages.charts.frame import LINE, WIDTH, axes, drawing, ink
from attnscope.pages.svg import number, scale, shortened, tag, text

_HEIGHT = 200.0


@dataclass(frozen=True)
class Place:
    """A point.

    Args:
        name: of it.
        x: how far right.
        y: how far up.
        low: the lower end of its interval; not a number where it has none.
        high: the upper one.
        key: the row of a table that it leads to.
        letter: beside it, and before its name below.
        place: of its ink.
    """

    name: str
    x: float
    y: float
    low: float = math.nan
    high: float = math.nan
    key: str = ""
    letter: str = ""
    place: int = 1


def points(title: str, given: Sequence[Place], x_label: str, y_label: str) -> Markup:
    """The points, and their names in two columns below, if they have letters."""
    top = 26.0
    x = scale([place.x for place in given], 52, WIDTH - 14)
    y = scale([v for p in given for v in (p.y, p.low, p.high)], top + _HEIGHT, top)
    found = [axes(x, y, x_label, y_label)]
    for place in given:
        if not (math.isfinite(place.x) and math.isfinite(place.y)):
            continue
        parts = [tag("circle", class_="mark", cx=x(place.x), cy=y(place.y), r=4)]
        told = number(place.y)
        if math.isfinite(place.low) and math.isfinite(place.high):
            at = x(place.x)
            parts.insert(0, tag("line", class_="whisker", x1=at, x2=at, y1=y(place.low), y2=y(place.high)))  # fmt: skip
            told += f" ({number(place.low)} to {number(place.high)})"
        if place.letter:
            parts.append(text(x(place.x) + 6, y(place.y) - 5, place.letter, class_="name"))
        found.append(
            tag("g", *parts, class_=f"dot {ink('', place.place)}", data_key=place.key or None,
                data_tip=f"{place.name}\n{x_label}: {number(place.x)}\n{y_label}: {told}")
        )  # fmt: skip
    bottom = y.start + 46
    lettered = [place for place in given if place.letter]
    rows = -(-len(lettered) // 2)
    for number_, place in enumerate(lettered):
        left = 200.0 * (number_ // rows)
        line = f"{place.letter}  {shortened(place.name, 27)}"
        found.append(text(left, bottom + LINE * (number_ % rows) + 6, line, class_="name"))
    return drawing(title, bottom + LINE * rows, *found)
