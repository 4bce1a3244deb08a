"""What all charts share: their size, axes, legend and inks."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from attnscope.pages.svg import CHARACTER, Child, Scale, number, shortened, tag, text

WIDTH = 400.0
"""Of all charts, in their own pixels: text of 12 of them is 10 high on a phone and 14 on a laptop."""
LINE = 17.0
INKS = 8
"""Inks that are told apart by colour; after these, dashes change."""
KINDS = ("cross", "self", "joint", "feed-forward", "other")
"""What has an ink of its own."""
DASHES = ("", "6 3", "2 2.5", "8 3 2 3")


def ink(name: str, place: int) -> str:
    """The class of a colour: a kind's own, or the one of a place."""
    return f"ink-{name}" if name in KINDS else f"ink-{place % INKS}"


def dash(name: str, place: int) -> str | None:
    """Dashes that tell curves apart in grey."""
    if name in KINDS:
        place = KINDS.index(name)
        return DASHES[place % len(DASHES)] or None
    return DASHES[(place + place // INKS) % len(DASHES)] or None


def drawing(title: str, height: float, *children: Child) -> Markup:
    """A chart of the width that all have."""
    return tag(
        "svg", *children, class_="drawing", viewBox=f"0 0 {WIDTH:g} {height:g}", role="img", tabindex="0",
        aria_label=f"{title}. Arrow keys go from value to value; a table of them follows.",
        xmlns="http://www.w3.org/2000/svg",
    )  # fmt: skip


def legend(
    items: Sequence[tuple[str, str, str | None]], left: float, top: float
) -> tuple[Markup, float]:
    """Names with their inks and dashes, in as many lines as they take.

    Args:
        items: a name, the class of its ink, and its dashes, each.
        left: where lines begin.
        top: where the first one stands.

    Returns:
        The legend, and where it ends.
    """
    x, y, found = left, top, []
    for name, look, dashes in items:
        name = shortened(name, 46)
        wide = 24 + CHARACTER * len(name) + 12
        if x > left and x + wide > WIDTH:
            x, y = left, y + LINE
        found += [
            tag("line", class_=f"curve {look}", x1=x, x2=x + 18, y1=y + 8, y2=y + 8, stroke_dasharray=dashes),
            text(x + 24, y + 12, name),
        ]  # fmt: skip
        x += wide
    return Markup("").join(found), (y + LINE + 4 if items else top)


def axes(
    x: Scale, y: Scale, x_label: str, y_label: str, *, whole: bool = False, form: str = ".6g"
) -> Markup:
    """Rules, ticks and labels; the label of y stands above it, where it is read without turning."""
    found: list[Markup] = []
    for tick in y.ticks():
        found += [
            tag("line", class_="rule", x1=x.start, x2=x.end, y1=y(tick), y2=y(tick)),
            text(x.start - 6, y(tick) + 4, _short(tick), text_anchor="end", class_="tick"),
        ]
    for tick in x.ticks(6, whole=whole):
        found.append(
            text(x(tick), y.start + 16, number(tick, form), text_anchor="middle", class_="tick")
        )
    found += [
        tag("line", class_="axis", x1=x.start, x2=x.end, y1=y.start, y2=y.start),
        text((x.start + x.end) / 2, y.start + 33, x_label, text_anchor="middle", class_="label"),
        text(0, y.end - 10, y_label, class_="label"),
    ]
    return Markup("").join(found)


def _short(tick: float) -> str:
    """A tick that has room left of an axis."""
    if tick == 0 or 1e-3 <= abs(tick) < 1e5:
        return number(tick, ".5g")
    digits, power = f"{tick:.2g}".split("e") if "e" in f"{tick:.2g}" else f"{tick:.0e}".split("e")
    return f"{digits}e{int(power)}"
