"""Elements of SVG whose attributes and texts are data, and scales from values to places."""

from __future__ import annotations

import math
from dataclasses import dataclass

from markupsafe import Markup, escape

Child = Markup | str | None
CHARACTER = 7.0
"""The width of a character of 12 pixels, more or less."""


def tag(name: str, *children: Child, **attributes: str | float | None) -> Markup:
    """An element; texts and values of attributes are escaped.

    Args:
        name: of the element.
        children: markup as it is, text escaped; ``None`` is left out.
        attributes: ``class_`` is ``class`` and ``data_key`` is ``data-key``; ``None`` is left out.
    """
    told = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _written(value))
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(escape(child) for child in children if child is not None)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), told, inner)


def _written(value: str | float) -> Markup:
    """Text whose lines stay lines in XML, too; a number with as many digits as a screen shows."""
    if isinstance(value, str):
        return escape(value).replace("\n", Markup("&#10;"))
    return Markup(f"{round(value, 1):g}")


def text(x: float, y: float, words: str, **attributes: str | float | None) -> Markup:
    """A line of text."""
    return tag("text", words, x=x, y=y, **attributes)


def shortened(words: str, most: int) -> str:
    """Words in so many characters at most: what is left out of their middle is an ellipsis."""
    if len(words) <= most:
        return words
    end = most // 3
    return f"{words[: most - end - 1]}…{words[-end:]}"


def number(value: float, form: str = ".3g") -> str:
    """A number for people; a dash where there is none."""
    if value != value:
        return "-"
    return ("∞" if value > 0 else "-∞") if math.isinf(value) else format(value, form)


@dataclass(frozen=True)
class Scale:
    """From values to places.

    Args:
        low: the least value.
        high: the greatest.
        start: where the least stands, in pixels.
        end: where the greatest stands.
        log: whether equal ratios are equally far apart; both ends are over zero then.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Where a value stands."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, self.low))
        part = (value - low) / (high - low) if high > low else 0.5
        return self.start + part * (self.end - self.start)

    def ticks(self, most: int = 5, *, whole: bool = False) -> list[float]:
        """Round values within the scale.

        Args:
            most: about how many.
            whole: whether they are whole numbers.
        """
        if self.log:
            return _decades(self.low, self.high)
        from matplotlib.ticker import MaxNLocator

        found = MaxNLocator(nbins=most, integer=whole, steps=[1, 2, 2.5, 5, 10])
        slack = 1e-9 * (self.high - self.low)
        ticks = [float(tick) for tick in found.tick_values(self.low, self.high)]
        return [tick for tick in ticks if self.low - slack <= tick <= self.high + slack]


def scale(
    values: list[float], start: float, end: float, *, log: bool = False, zero: bool = False
) -> Scale:
    """A scale that holds values, with a little room.

    Args:
        values: what is not finite, and on a logarithmic scale not over zero, is passed over.
        start: see :class:`Scale`.
        end: see there.
        log: see there.
        zero: whether it begins at zero.
    """
    seen = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    low, high = (min(seen), max(seen)) if seen else (1.0, 2.0)
    if log:
        return Scale(low / 1.15, high * 1.15, start, end, log=True)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    room = 0.06 * ((high - low) or abs(high) or 1.0)
    return Scale(low - room * (low != 0 or not zero), high + room, start, end)


def _decades(low: float, high: float) -> list[float]:
    """1, 10, 100 … within two ends; 2 and 5 between them, too, where these are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    parts = (1,) if len(powers) > 4 else (1, 2, 5)
    return [
        part * 10.0**power
        for power in powers
        for part in parts
        if low <= part * 10.0**power <= high
    ]
