"""Options that are one of several names, or several of them: told in help, completed by the shell.

The names come from where they are registered, and what refuses a wrong one lists them from there, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import typer

_NARROW = 24
"""Characters of a type that leave room for what an option does, in a terminal of 80."""


def one_of(*choices: str) -> Callable[[str], list[str]]:
    """What the shell completes an option to: one value, or the last of several with commas."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [f"{before}{comma}{choice}" for choice in choices if choice.startswith(last)]

    return complete


def choice(
    names: Collection[str], *flags: str, help: str = "", several: bool = False, **about: Any
) -> Any:
    """An option that is one of some names.

    Few names stand where other options say their type, many at the end of the help.

    Args:
        names: as they are registered.
        flags: if they are not those of the parameter's name.
        help: what the option says, but for the names.
        several: whether it takes several with commas.
        about: further keywords of ``typer.Option``.
    """
    joined = "|".join(names)
    fits = len(joined) <= _NARROW and not several
    some = "One or several of" if several else "One of"
    parts = [help.strip(), "" if fits else f"{some} {', '.join(names)}."]
    return typer.Option(
        *flags,
        help=" ".join(part for part in parts if part),
        metavar=f"<{joined}>" if fits else "<name,…>" if several else "<name>",
        autocompletion=one_of(*names),
        **about,
    )
