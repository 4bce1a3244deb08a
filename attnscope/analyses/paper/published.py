"""The values that the paper prints, table by table, as data with their source.

What stands in ``attnscope/cost/published.json`` (multiply-accumulates) is joined by the name of its row.
What the paper does not print is not there: nothing is guessed.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

RATIOS = ("macs", "latency")
"""Measures that are compared with the baseline's as a ratio; of others it is the difference."""
_FILE = Path(__file__).with_suffix(".json")
_COSTS = Path(__file__).parents[2] / "cost" / "published.json"
_ABOUT = ("row", "model", "plan", "steps", "scheduler", "seed", "gate", "interval", "arm", "base")
_FIRST = ("baseline", "S")
"""Plans that others are compared with."""


def source() -> str:
    """The paper, and where its numbers stand."""
    return str(_data()["notes"]["source"])


def note_of(name: str) -> str:
    """What is to be said of the published values of a figure or table; empty if nothing is."""
    return str(_data()["notes"].get(name, ""))


def rows_of(name: str) -> list[dict[str, Any]]:
    """The rows of a table: what they are of, and their values by measure; none if it prints none.

    Args:
        name: of a figure or table, such as ``table2`` or ``figure3c``.
    """
    macs = _macs().get(name, {})
    rows = [dict(row) for row in _data()["tables"].get(name, [])]
    for row in rows:
        if row["row"] in macs:
            row["macs"] = macs[row["row"]]
    return rows


def values_of(name: str) -> pd.DataFrame:
    """The published values beside those of their baselines.

    Returns:
        A row per row and measure: ``row``, ``model``, ``plan``, ``steps``, ``scheduler``, ``seed``, ``gate``,
        ``interval``, ``arm`` (of a rival), ``measure``, ``published``, ``published_change``: over the baseline's for
        :data:`RATIOS`, else the difference to it; NaN where there is no baseline.
    """
    import pandas as pd

    rows, found = rows_of(name), []
    for place, row in enumerate(rows):
        base = _base(rows, place)
        for measure, value in row.items():
            if measure in _ABOUT:
                continue
            theirs = None if base is None else base.get(measure)
            change = float("nan")
            if theirs is not None:
                change = value / theirs if measure in RATIOS else value - theirs
            about = {column: row.get(column) for column in _ABOUT if column != "base"}
            found.append(
                about | {"measure": measure, "published": value, "published_change": change}
            )
    columns = [name for name in _ABOUT if name != "base"]
    return pd.DataFrame(found, columns=[*columns, "measure", "published", "published_change"])


def models_of(name: str, measure: str | None = None) -> list[str]:
    """The models of a table's rows, in their order; with a measure those of which it is printed."""
    rows = [row for row in rows_of(name) if measure is None or measure in row]
    return list(dict.fromkeys(str(row["model"]) for row in rows))


def plans_of(name: str, model: str) -> tuple[str, ...]:
    """The plans of a model's rows, each once; not those of rivals, which the model itself does not run."""
    rows = [row for row in rows_of(name) if row["model"] == model and "arm" not in row]
    return tuple(dict.fromkeys(str(row["plan"]) for row in rows))


def _base(rows: list[dict[str, Any]], place: int) -> dict[str, Any] | None:
    """The row that another is compared with: what it names, or its baseline; ``None`` of a baseline."""
    row = rows[place]
    if "base" in row:
        return next(other for other in rows if other["row"] == row["base"])
    if row["plan"] in _FIRST and "arm" not in row:
        return None
    cell = ("model", "steps", "scheduler", "seed")
    alike = [
        other for other in rows
        if other["plan"] in _FIRST and "arm" not in other
        and all(other.get(name) == row.get(name) for name in cell)
    ]  # fmt: skip
    return alike[0] if alike else None


@cache
def _macs() -> dict[str, dict[str, float]]:
    """10^12 MACs of an image by the name of the table and row."""
    found: dict[str, dict[str, float]] = {}
    for row in json.loads(_COSTS.read_text("utf-8"))["rows"]:
        found.setdefault(f"table{row['table']}", {})[row["row"]] = row["published"]
    return found


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(_FILE.read_text("utf-8"))
    return data
