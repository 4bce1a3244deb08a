"""What plots ask of the tables they are given: nothing is averaged that should stand apart."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from attnscope.runs.columns import CELL

_APART = (
    *(name for name in CELL if name != "seed"),
    *("arm", "trajectory", "gate", "interval", "plan", "guidance", "height", "width", "dtype"),
    *("measure", "features", "reference", "convention", "axis"),
)
"""Columns that say what was done. A line is of one value of each; seeds make further images."""


def units(table: pd.DataFrame) -> list[str]:
    """The columns that tell one image from another."""
    return [name for name in ("prompt_id", "image", "seed", "run", "sample") if name in table]


def require(table: pd.DataFrame, *columns: str) -> None:
    """Refuse a table that lacks a column, or has no rows.

    Raises:
        ValueError: it does.
    """
    missing = [column for column in dict.fromkeys(columns) if column not in table]
    if missing:
        raise ValueError(
            f"the table has no column {', '.join(missing)} (it has {', '.join(map(str, table))})"
        )
    if table.empty:
        raise ValueError("the table has no rows: there is nothing to draw")


def require_numbers(table: pd.DataFrame, *columns: str) -> None:
    """Refuse a table without numbers to draw in a column.

    Raises:
        ValueError: the column is missing, holds something else, or nothing at all.
    """
    require(table, *columns)
    for column in columns:
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise ValueError(f"column {column} holds {table[column].dtype}, not numbers to draw")
        if table[column].isna().all():
            raise ValueError(f"column {column} holds no value: there is nothing to draw")


def require_one_run(
    table: pd.DataFrame, value: str, by: Sequence[str], *, apart: Sequence[str] = ()
) -> None:
    """Refuse to average what should stand apart.

    Args:
        table: a row per image, branch, step and site, or less.
        value: the column that is averaged.
        by: columns that get a line each.
        apart: further columns of which a line has one value.

    Raises:
        ValueError: runs of several settings, step counts, schedulers or sets of guidance branches
            are in one line, or one row stands there twice.
    """
    by = list(dict.fromkeys(by))
    for name, line in table.groupby(by, observed=True, dropna=False, sort=False):
        where = ", ".join(map(str, name))
        _one_setting(line, (*_APART, *apart), by, where)
        _one_clock(line, where)
        if "branch" not in by:
            _one_set_of_branches(line, where)
    keys = [*units(table), *by, *(n for n in ("branch", "step", "site") if n in table)]
    keys = list(dict.fromkeys(keys))
    twice = table.duplicated(keys, keep=False) & ~table.duplicated([*keys, value], keep=False)
    if units(table) and twice.any():
        row = table[twice].iloc[0]
        raise ValueError(
            f"{int(twice.sum())} rows stand in the table with another value beside them, as of "
            f"{', '.join(f'{key} {row[key]}' for key in keys)}: tables of several runs were put "
            "together; draw one at a time, or give each a column of its own and draw hue by it"
        )


def _one_setting(line: pd.DataFrame, columns: Sequence[str], by: Sequence[str], where: str) -> None:
    for column in columns:
        if column in by or column not in line:
            continue
        values = list(line[column].drop_duplicates())
        if len(values) > 1:
            raise ValueError(_mixed(column, values, where))


def _one_clock(line: pd.DataFrame, where: str) -> None:
    """All images of a line go through the same steps."""
    images = units(line)
    if images:
        last = sorted(set(line.groupby(images, observed=True)["step"].max()))
        if len(last) > 1:
            raise ValueError(
                f"{where}: runs of different numbers of steps are in one line (the last steps are "
                f"{_listed(last)}); draw them one at a time, as table[table['run'] == 0]"
            )
    if "timestep" in line:
        times = line[["step", "timestep"]].drop_duplicates()
        clash = times[times["step"].duplicated(keep=False)]
        if len(clash):
            step = clash["step"].iloc[0]
            found = sorted(clash.loc[clash["step"] == step, "timestep"])
            raise ValueError(
                f"{where}: runs of different schedulers or numbers of steps are in one line (step "
                f"{step} stands at the timesteps {_listed(found)}); draw them one at a time"
            )


def _one_set_of_branches(line: pd.DataFrame, where: str) -> None:
    """As many guidance branches at every step: where one is dropped, a mean would jump."""
    if "branch" not in line:
        return
    found = line[["step", "branch"]].astype({"branch": str}).drop_duplicates()
    sets = {int(str(step)): sorted(of["branch"]) for step, of in found.groupby("step")}
    first = next(iter(sets.values()))
    other = next((step for step, branches in sets.items() if branches != first), None)
    if other is not None:
        raise ValueError(
            f"{where}: the mean would be over {_listed(first)} first and over "
            f"{_listed(sets[other])} from step {other} on; draw hue='branch', or one branch, as "
            f"table[table['branch'] == {sets[other][0]!r}]"
        )


def require_one_each(table: pd.DataFrame, keys: Sequence[str]) -> None:
    """Refuse a table with more than one row for what gets one place in a plot.

    Args:
        table: to draw.
        keys: columns that name a place.

    Raises:
        ValueError: two rows have the same.
    """
    table = table.reset_index(drop=True)
    twice = table.duplicated(list(keys), keep=False)
    if not twice.any():
        return
    row = table[twice].iloc[0]
    told = table[list(keys)].astype(object).map(str)  # a missing value is one, too
    same = table[(told == told[twice].iloc[0]).all(axis=1)]
    where = ", ".join(f"{key} {row[key]}" for key in keys)
    varying = [
        name
        for name in (*CELL, *_APART, "model", "run", "branch")
        if name in same and name not in keys and same[name].nunique(dropna=False) > 1
    ]
    if varying:
        raise ValueError(_mixed(varying[0], list(same[varying[0]].drop_duplicates()), where))
    raise ValueError(
        f"{int(twice.sum())} rows share a place in the plot, as of {where}: tables of several runs "
        "were put together; draw one at a time"
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
    require_numbers(chosen, "value")
    of_sets = (chosen["features"] != "").any()
    if chosen["features"].nunique() > 1 or (of_sets and chosen["n"].nunique() > 1):
        raise ValueError(f"{measure} of different features or counts cannot be compared")
    return chosen


def _mixed(column: str, values: Sequence[object], where: str) -> str:
    return (
        f"{where}: {column} has {len(values)} values here ({_listed(values)}), which are not to be "
        f"drawn as one; choose one, as table[table['{column}'] == {values[0]!r}]"
    )


def _listed(values: Sequence[object]) -> str:
    shown = ", ".join(str(value) for value in values[:4])
    return f"{shown}, …" if len(values) > 4 else shown
