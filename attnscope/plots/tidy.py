"""What plots ask of the tables they are given."""

from __future__ import annotations

import pandas as pd


def units(table: pd.DataFrame) -> list[str]:
    """The columns that tell one image from another."""
    return [name for name in ("prompt_id", "image", "run", "sample") if name in table]


def require(table: pd.DataFrame, *columns: str) -> None:
    """Refuse a table that lacks a column.

    Raises:
        ValueError: it does.
    """
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(
            f"the table has no column {', '.join(missing)} (it has {', '.join(map(str, table))})"
        )


def of_measure(table: pd.DataFrame, measure: str, *columns: str) -> pd.DataFrame:
    """The rows of one measure, which may be drawn on one axis.

    Raises:
        ValueError: there are none, a column is missing, or they cannot be compared.
    """
    require(table, "arm", "trajectory", "measure", "value", "low", "high", "features", *columns)
    chosen = table[table["measure"] == measure]
    if chosen.empty:
        raise ValueError(
            f"the table has no measure {measure!r} (it has {', '.join(table['measure'].unique())})"
        )
    of_sets = (chosen["features"] != "").any()
    if chosen["features"].nunique() > 1 or (of_sets and chosen["n"].nunique() > 1):
        raise ValueError(f"{measure} of different features or counts cannot be compared")
    return chosen
