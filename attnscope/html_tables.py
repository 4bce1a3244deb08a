"""Small HTML tables, as objects show themselves in notebooks. All text in them is escaped."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

_CELL = "display:inline-block;width:0.7em;height:0.9em;margin-right:1px;background:{color}"


def as_table(title: str, facts: Mapping[str, str]) -> str:
    """An HTML table with a row for each fact."""
    return _table(title, {name: html.escape(value) for name, value in facts.items()})


def as_strips(title: str, rows: Mapping[str, Sequence[tuple[str, str]]]) -> str:
    """A table of rows of little squares.

    Args:
        title: above it.
        rows: by name, a square each: its colour, as CSS has them, and what it says on hovering.
    """
    return _table(
        title,
        {
            name: "".join(
                f'<span title="{html.escape(said)}" style="{_CELL.format(color=html.escape(color))}">'
                "</span>"
                for color, said in squares
            )
            for name, squares in rows.items()
        },
    )


def _table(title: str, cells: Mapping[str, str]) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{cell}</td></tr>" for name, cell in cells.items()
    )
    return f"<table><caption>{html.escape(title)}</caption>{rows}</table>"
