"""The options of plans: what the text form calls them, and which values they may have."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from decimal import Decimal
from math import isfinite
from typing import Any, get_type_hints

from attnscope.errors import InputError

Levels = tuple[float, ...] | None
"""Log-SNR of x_t at every step in nats, rising; ``None`` where it is not known."""
TELLING = "a `model` that is on this machine, with a scheduler that tells them, as dpm does"
"""What knows noise levels, as an error says it."""


class UnknownLevelsError(InputError):
    """A plan goes by noise levels, and those of the steps are not known here.

    Some schedulers tell them only when a run begins, so what looks ahead may go on without.
    """


class Nats(float):
    """A noise level in the place of a number of steps: log-SNR in nats, ``-1nat`` in the text form.

    A gate belongs to a noise level rather than to a number of steps, so said like this it holds for
    any number of them, and for any scheduler.
    """

    __slots__ = ()

    def __str__(self) -> str:
        # All its digits, and never an exponent, so that it reads back as it is.
        return f"{Decimal(repr(float(self))).normalize():f}nat"


def nats_of(text: str) -> Nats | None:
    """A noise level from its text form, such as ``-1nat`` or ``0.5 nats``; ``None`` if it is none."""
    match = re.fullmatch(r"([+-]?[0-9]*\.?[0-9]+) ?nats?", text.strip())
    return None if match is None else Nats(match.group(1))


@dataclass(frozen=True)
class Option:
    """What the text form calls a value of a plan, and what it may be.

    A field that is not one of the :data:`USUAL` says it in its annotation, as in
    ``shift: Annotated[int, Option("s", least=1)]``.

    Args:
        letter: the paper's letter, or a word.
        least: the smallest whole number that it may be.
        choices: what it may be instead of a whole number.
        nats: whether it may also be a noise level, :class:`Nats`.
    """

    letter: str
    least: int = 0
    choices: tuple[str, ...] = ()
    nats: bool = False

    def named(self, name: str) -> str:
        """The option by its letter and the name of its field."""
        return name if self.letter == name else f"{self.letter} ({name})"

    def read(self, text: str) -> Any:
        """A value from its text form.

        Raises:
            InputError: it is none.
        """
        level = nats_of(text) if self.nats else None
        if level is not None:
            return level
        if self.choices:
            return text
        if not re.fullmatch(r"-?[0-9]+", text):
            raise InputError(f"{text!r} is no whole number")
        return int(text)

    def write(self, value: Any) -> str:
        """The text form of a value."""
        return str(value)

    def check(self, name: str, value: Any) -> None:
        """Refuse a value that it may not have.

        Raises:
            InputError: with what it may be.
        """
        if self.choices:
            if value not in self.choices:
                *most, last = self.choices
                raise InputError(
                    f"{self.named(name)}={value!r}: choose {', '.join(most)} or {last}"
                )
        elif self.nats and isinstance(value, Nats) and isfinite(value):
            pass
        elif isinstance(value, bool) or not isinstance(value, int) or value < self.least:
            raise InputError(
                f"{self.named(name)}={value!r} is no whole number from {self.least} on"
            )

    def placed(self, name: str, value: Nats, levels: Levels) -> int:
        """How many steps lie before a noise level.

        Raises:
            UnknownLevelsError: the levels of the steps are not known.
            InputError: too few lie before it.
        """
        if levels is None:
            raise UnknownLevelsError(
                f"{self.named(name)}={value} is a noise level, and those of the steps are not known "
                f"here: say it in steps, or choose {TELLING}"
            )
        found = sum(level < value for level in levels)
        if found < self.least:
            raise InputError(
                f"{self.named(name)}={value} lies before the first of the steps, which begins at "
                f"{levels[0]:.3g}nat and ends at {levels[-1]:.3g}nat"
            )
        return found


USUAL = {
    "gate": Option("m", least=1, nats=True),
    "interval": Option("k", least=1),
    "warmup": Option("w"),
    "late_interval": Option("f", least=1),
    "keep": Option("keep", choices=("cond", "uncond", "model's")),
}
"""Options by the names of the fields that are usual for them: the paper's letters."""


def options_of(kind: type[Any]) -> dict[str, Option]:
    """The options of a class of plans by the names of their fields.

    Fields are options if they say so or are named as the :data:`USUAL` ones; others, a plan of
    one's own checks itself.
    """
    try:
        hints = get_type_hints(kind, include_extras=True)
    except NameError:  # annotations that type checkers alone can read
        hints = {}
    found = {}
    for name in (field.name for field in fields(kind)):
        said = getattr(hints.get(name), "__metadata__", ())
        option = next((extra for extra in said if isinstance(extra, Option)), USUAL.get(name))
        if option is not None:
            found[name] = option
    return found
