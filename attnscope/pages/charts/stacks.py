"""Stacked bars: where time or arithmetic goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from attnscope.pages.charts.frame import WIDTH, drawing, ink, legend
from attnscope.pages.svg import Scale, number, shortened, tag, text

_ROW, _BAR = 36.0, 15.0
_QUIET = ("ink-rest", "ink-least")


@dataclass(frozen=True)
class Stack:
    """A bar.

    Args:
        name: of it, above.
        parts: how much of each, by their names.
        key: the row of a table that it leads to.
    """

    name: str
    parts: dict[str, float]
    key: str = ""


def stacks(
    title: str,
    given: Sequence[Stack],
    label: str,
    *,
    form: str = ".3g",
    quiet: Sequence[str] = (),
) -> Markup:
    """Bars one below the other; their parts have the inks of the legend.

    Args:
        title: of the chart.
        given: the bars.
        label: of the axis.
        form: how values are written, as a format specification.
        quiet: parts that are grey: what is not asked about.
    """
    names = list(dict.fromkeys(part for stack in given for part in stack.parts))
    looks = {
        name: _QUIET[quiet.index(name) % 2] if name in quiet else ink(name, n)
        for n, name in enumerate(names)
    }
    named, top = legend([(name, f"block {look}", None) for name, look in looks.items()], 0, 0)
    most = max((sum(max(v, 0) for v in s.parts.values()) for s in given), default=1.0) or 1.0
    x = Scale(0, most, 0, WIDTH - 8)
    bottom = top + _ROW * len(given)
    found = [named]
    for tick in x.ticks(5):
        found += [
            tag("line", class_="rule", x1=x(tick), x2=x(tick), y1=top, y2=bottom),
            text(x(tick), bottom + 14, number(tick, ".4g"), text_anchor="middle" if tick else "start", class_="tick"),
        ]  # fmt: skip
    for place, stack in enumerate(given):
        y, at = top + _ROW * place + 16, 0.0
        bars = [text(0, y - 3, shortened(stack.name, 60), class_="name")]
        for part, value in stack.parts.items():
            wide = x(max(value, 0))
            told = f"{part}: {number(value, form)}"
            bars.append(
                tag(
                    "rect",
                    class_=f"bar {looks[part]}",
                    x=at,
                    y=y,
                    width=wide,
                    height=_BAR,
                    data_tip=told,
                )
            )
            at += wide
        found.append(tag("g", *bars, data_key=stack.key or None, data_name=stack.name))
    found.append(text(WIDTH / 2, bottom + 32, label, text_anchor="middle", class_="label"))
    return drawing(title, bottom + 38, *found)
