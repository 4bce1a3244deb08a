"""Values with their intervals, a row each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from attnscope.pages.charts.frame import WIDTH, drawing, ink
from attnscope.pages.svg import CHARACTER, Scale, number, scale, shortened, tag, text

_ROW, _MOST_NAME = 20.0, 26


@dataclass(frozen=True)
class Dot:
    """A value.

    Args:
        name: of its row.
        value: not a number where there is none.
        low: the lower end of its interval; not a number where it has none.
        high: the upper one.
        key: the row of a table that it leads to.
        place: of its ink.
    """

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    key: str = ""
    place: int = 1


def dots(
    title: str, given: Sequence[Dot], label: str, *, form: str = ".3g", line: float | None = None
) -> Markup:
    """A dot a row with its interval; ``line`` is a value to compare with."""
    longest = min(_MOST_NAME, max((len(dot.name) for dot in given), default=0))
    left = longest * CHARACTER * 0.93 + 12
    ends = [end for dot in given for end in (dot.value, dot.low, dot.high)]
    x = scale([*ends, *([] if line is None else [line])], left + 6, WIDTH - 12)
    bottom = 8 + _ROW * len(given)
    found = []
    for tick in x.ticks(4):
        found += [
            tag("line", class_="rule", x1=x(tick), x2=x(tick), y1=4, y2=bottom),
            text(x(tick), bottom + 15, number(tick, ".5g"), text_anchor="middle", class_="tick"),
        ]
    if line is not None:
        found.append(tag("line", class_="reference", x1=x(line), x2=x(line), y1=4, y2=bottom))
    for place, dot in enumerate(given):
        found.append(_row(dot, 8 + _ROW * (place + 0.5), left, x, form))
    found.append(text((left + WIDTH) / 2, bottom + 33, label, text_anchor="middle", class_="label"))
    return drawing(title, bottom + 40, *found)


def _row(dot: Dot, y: float, left: float, x: Scale, form: str) -> Markup:
    parts = [
        tag("rect", class_="hit", x=0, y=y - _ROW / 2, width=WIDTH, height=_ROW),
        text(left - 6, y + 4, shortened(dot.name, _MOST_NAME), text_anchor="end", class_="name"),
    ]
    told = number(dot.value, form)
    if math.isfinite(dot.low) and math.isfinite(dot.high):
        parts.append(tag("line", class_="whisker", x1=x(dot.low), x2=x(dot.high), y1=y, y2=y))
        told += f" ({number(dot.low, form)} to {number(dot.high, form)})"
    if math.isfinite(dot.value):
        parts.append(tag("circle", class_="mark", cx=x(dot.value), cy=y, r=4))
    return tag(
        "g", *parts, class_=f"dot {ink('', dot.place)}", data_key=dot.key or None,
        data_tip=f"{dot.name}: {told}",
    )  # fmt: skip
