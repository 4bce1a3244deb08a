"""Public names of a package that load when they are first used, so that importing it is quick."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any


def lazily(
    package: str, file: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package (PEP 562), from what it shows type checkers.

    Its public names are those that it imports as themselves under ``if TYPE_CHECKING:``
    (``import Trace as Trace``), which is how type checkers are told, too: nothing stands twice.

    Args:
        package: its ``__name__``.
        file: its ``__file__``.
    """
    homes = dict(_shown(Path(file).read_text("utf-8")))

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = homes[name]
        if home == package:  # one of its own modules
            return import_module(f"{package}.{name}")
        return getattr(import_module(home), name)

    names = sorted(homes)
    return get, lambda: names, names


def _shown(source: str) -> Iterator[tuple[str, str]]:
    """Names and the modules that they are imported from under ``if TYPE_CHECKING:``."""
    for block in ast.parse(source).body:
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
            for line in block.body:
                assert isinstance(line, ast.ImportFrom)
                assert line.module is not None
                yield from (
                    (alias.name, line.module) for alias in line.names if alias.asname == alias.name
                )
