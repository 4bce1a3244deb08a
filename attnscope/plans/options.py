"""The options of plans: what the text form calls them, and which values they may have."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from attnscope.errors import InputError


@dataclass(frozen=True)
class Option:
    """What the text form calls a value of a plan, and what it may be.

    A field that is not one of the :data:`USUAL` says it in its annotation, as in
    ``shift: Annotated[int, Option("s", least=1)]``.

    Args:
        letter: the paper's letter, or a word.
        least: the smallest whole number that it may be.
        choices: what it may be instead of a whole number.
    """

    letter: str
    least: int = 0
    choices: tuple[str, ...] = ()

    def named(self, name: str) -> str:
        """The option by its letter and the name of its field."""
        return name if self.letter == name else f"{self.letter} ({name})"

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
        elif isinstance(value, bool) or not isinstance(value, int) or value < self.least:
            raise InputError(
                f"{self.named(name)}={value!r} is no whole number from {self.least} on"
            )


USUAL = {
    "gate": Option("m", least=1),
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
