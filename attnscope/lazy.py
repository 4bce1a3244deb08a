"""Public names of a package that load when they are first used, so that importing it is quick."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def load_from(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package (PEP 562).

    Args:
        package: its ``__name__``.
        homes: modules below it to the public names that each defines; a module that is public
            itself to nothing.
    """
    places = {name: home for home, names in homes.items() for name in names or [home]}

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = import_module(f"{package}.{places[name]}")
        return home if places[name] == name else getattr(home, name)

    return get
