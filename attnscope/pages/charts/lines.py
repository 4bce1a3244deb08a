"""Curves over steps: a few with bands, or many thin ones whose points lead somewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from attnscope.pages.charts.frame import LINE, WIDTH, axes, dash, drawing, ink, legend
from attnscope.pages.svg import Scale, number, scale, tag

_HEIGHT, _LEFT, _RIGHT, _BELOW = 190.0, 46.0, 10.0, 40.0


@dataclass(frozen=True)
class Curve:
    """A curve.

    Args:
        name: of it.
        x: where its points stand.
        y: how high.
        low: the lower edge of its band, if it has one.
        high: the upper one.
        of: what has the ink: a kind; by default its name.
        key: the row of a table that its points lead to.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = field(default=())
    high: Sequence[float] = field(default=())
    of: str = ""
    key: str = ""


def lines(
    title: str,
    given: Sequence[Curve],
    x_label: str,
    y_label: str,
    *,
    log: bool = False,
    log_x: bool = False,
) -> Markup:
    """Curves with bands; pointing at a step tells the values of all.

    Args:
        title: of the chart.
        given: the curves.
        x_label: what is across.
        y_label: what is up.
        log: whether the axis of y is logarithmic.
        log_x: whether that of x is.
    """
    named, top = legend(
        [(c.name, ink(c.of or c.name, n), dash(c.of or c.name, n)) for n, c in enumerate(given)],
        0,
        0,
    )
    x, y = _scales(given, top + LINE, log, log_x)
    found = [named, axes(x, y, x_label, y_label, whole=True)]
    for place, curve in enumerate(given):
        look = ink(curve.of or curve.name, place)
        if len(curve.low):
            edges = [*zip(curve.x, curve.high, strict=True)]
            edges += [*zip(curve.x, curve.low, strict=True)][::-1]
            found.append(tag("path", class_=f"band {look}", d=_path(edges, x, y) + "Z"))
        found.append(_line(curve, look, dash(curve.of or curve.name, place), x, y))
    found += _columns(given, x, y, x_label)
    return drawing(title, y.start + _BELOW, *found)


def curves(
    title: str, given: Sequence[Curve], x_label: str, y_label: str, *, log: bool = False
) -> Markup:
    """Many thin curves in the inks of what they are of; every point leads to its key's row."""
    kinds = list(dict.fromkeys(curve.of for curve in given))
    named, top = legend([(k, ink(k, n), dash(k, n)) for n, k in enumerate(kinds)], 0, 0)
    x, y = _scales(given, top + LINE, log)
    found = [named, axes(x, y, x_label, y_label, whole=True)]
    for curve in given:
        place = kinds.index(curve.of)
        look = ink(curve.of, place)
        marks = [
            tag("circle", class_="mark", cx=x(at), cy=y(value), r=2.2, data_tip=f"step {at:g}: {number(value)}")
            for at, value in zip(curve.x, curve.y, strict=True)
            if value == value and (value > 0 or not log)
        ]  # fmt: skip
        line = _line(curve, look, dash(curve.of, place), x, y)
        found.append(
            tag("g", line, *marks, class_=f"thin {look}", data_key=curve.key, data_name=curve.name)
        )
    return drawing(title, y.start + _BELOW, *found)


def _scales(
    given: Sequence[Curve], top: float, log: bool, log_x: bool = False
) -> tuple[Scale, Scale]:
    across = [float(value) for curve in given for value in curve.x]
    parts = ("y", "low", "high")
    heights = [float(value) for curve in given for part in parts for value in getattr(curve, part)]
    x = Scale(min(across, default=1), max(across, default=2), _LEFT, WIDTH - _RIGHT, log_x)
    return x, scale(heights, top + 12 + _HEIGHT, top + 12, log=log, zero=not log)


def _line(curve: Curve, look: str, dashes: str | None, x: Scale, y: Scale) -> Markup:
    points = list(zip(curve.x, curve.y, strict=True))
    return tag("path", class_=f"curve {look}", d=_path(points, x, y), stroke_dasharray=dashes)


def _path(points: Sequence[tuple[float, float]], x: Scale, y: Scale) -> str:
    """A path through points; what has no value parts it, what has no logarithm lies at the bottom."""
    told, pen = [], "M"
    for at, value in points:
        if value != value:
            pen = "M"
            continue
        told.append(f"{pen}{x(at):.1f} {y(value):.1f}")
        pen = "L"
    return "".join(told) or "M0 0"


def _columns(given: Sequence[Curve], x: Scale, y: Scale, x_label: str) -> list[Markup]:
    """A strip for every step, which tells the values of all curves there."""
    known = [
        (c, {float(at): n for n, at in enumerate(c.x)})
        for c in given
    ]  # fmt: skip
    steps = sorted({at for _, places in known for at in places})
    half = (x(steps[1]) - x(steps[0])) / 2 if len(steps) > 1 else 20.0
    found = []
    for step in steps:
        said = [f"{x_label} {step:g}"]
        dots = []
        for place, (curve, places) in enumerate(known):
            if step not in places or curve.y[places[step]] != curve.y[places[step]]:
                continue
            at, value = places[step], curve.y[places[step]]
            band = (
                f" ({number(curve.low[at])} to {number(curve.high[at])})" if len(curve.low) else ""
            )
            said.append(f"{curve.name}: {number(value)}{band}")
            look = ink(curve.of or curve.name, place)
            dots.append(tag("circle", class_=f"mark {look}", cx=x(step), cy=y(value), r=3))
        rule = tag("line", class_="hair", x1=x(step), x2=x(step), y1=y.start, y2=y.end)
        hit = tag("rect", class_="hit", x=x(step) - half, y=y.end, width=2 * half, height=y.start - y.end)  # fmt: skip
        found.append(tag("g", rule, *dots, hit, class_="column", data_tip="\n".join(said)))
    return found
