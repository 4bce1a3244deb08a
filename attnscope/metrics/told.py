"""What the differences of a table say, in words: which are told apart, and what so many prompts can show.

A difference is told apart where its own interval lies on one side of zero and its p-value, adjusted
over all differences of the table that were tested, is at most 5 %.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from attnscope.metrics.adjusting import ADJUSTMENTS, COLUMNS, NAMES
from attnscope.metrics.intervals import LEVEL, differs
from attnscope.metrics.measures import LEADING, MEASURES
from attnscope.runs.columns import OF_ABLATION, REFERENCE, Comparison, arm_shown

_BETTER, _WORSE, _NOT, _SINGLY = (
    "better", "worse", "not told apart", "beyond its own interval alone, not told apart",
)  # fmt: skip


def is_told(table: pd.DataFrame, adjust: str = ADJUSTMENTS[0]) -> pd.Series[bool]:
    """Row by row, whether a difference is told apart; never where nothing was tested.

    Args:
        table: with ``difference_low`` and ``difference_high``; of tables of before, which have no
            p-values, the interval alone decides.
        adjust: how p-values are adjusted, one of :data:`attnscope.metrics.adjusting.ADJUSTMENTS`.
    """
    apart = _apart(table)
    column = COLUMNS[adjust]
    if adjust == "none" or column not in table:
        return apart
    return apart & (table[column] <= 1 - LEVEL)


def verdicts(table: pd.DataFrame, adjust: str = ADJUSTMENTS[0]) -> pd.Series[str]:
    """Row by row what is said of a difference to S: "better", "worse" or "not told apart".

    Where it would be told if it were the only one of its table, that is said; where nothing was tested,
    it is empty.
    """
    told, apart = is_told(table, adjust), _apart(table)
    higher = table["measure"].map(lambda name: MEASURES[name].higher)
    found = pd.Series(_NOT, index=table.index)
    found[apart & ~told] = _SINGLY
    found[told] = np.where((table["difference_low"] > 0) == higher, _BETTER, _WORSE)[told]
    found[table["difference_low"].isna()] = ""
    return found


def larger_than_chance(
    arms: pd.DataFrame,
    *,
    compared: Comparison = OF_ABLATION,
    adjust: str = ADJUSTMENTS[0],
) -> list[str]:
    """Which differences to S are larger than chance, in words.

    The last line says what was tested together.

    Args:
        arms: from :func:`attnscope.metrics.summaries.summarise`.
        compared: which arms were compared with which.
        adjust: how p-values are adjusted.
    """
    lines = []
    arms = arms.assign(verdict=verdicts(arms, adjust))
    varying = [name for name in compared.cell if name in arms and arms[name].nunique() > 1]
    others = ~compared.is_baseline(arms) & (arms[compared.column] != REFERENCE)
    for _, group in arms[others].groupby([*varying, "arm"], sort=False):
        first = group.iloc[0]
        where = ", ".join(f"{name} {first[name]}" for name in varying)
        told = {name: group[group["verdict"] == name] for name in (_BETTER, _WORSE, _SINGLY, _NOT)}
        if any(map(len, told.values())):
            arm = arm_shown(str(first["arm"]))
            lines.append(f"{arm}{f' ({where})' if where else ''} against {compared.baseline}")
        lines += [
            f"  {verdict}: {', '.join(_written(rows, ends=verdict != _NOT))}"
            for verdict, rows in told.items()
            if len(rows)
        ]
    tested = int((arms["verdict"] != "").sum())
    if tested:
        lines.append(_family(tested, adjust if COLUMNS[adjust] in arms else "none"))
    return lines


def family(table: pd.DataFrame, adjust: str = ADJUSTMENTS[0]) -> str:
    """How the differences of a table are tested, for a legend: "p ≤ 0.05 by Holm over its 12 differences"."""
    tested = int(table["difference_low"].notna().sum())
    if adjust == "none" or COLUMNS[adjust] not in table:
        return "each is a test by itself, and by chance one in twenty says so"
    return f"p ≤ 0.05 by {NAMES[adjust]} over the {tested} differences of the table"


def seen(arms: pd.DataFrame, *, compared: Comparison = OF_ABLATION) -> list[str]:
    """What difference so many prompts can show, and how many the largest one below that would take.

    Of the leading measure that was tested.

    Args:
        arms: from :func:`attnscope.metrics.summaries.summarise`.
        compared: which arms were compared with which.

    Returns:
        One line, or none where nothing was tested or the table is of before.
    """
    if "detectable" not in arms:
        return []
    tested = arms[arms["detectable"].notna()]
    name = next((name for name in _ORDER if name in set(tested["measure"])), None)
    if name is None:
        return []
    rows, measure = tested[tested["measure"] == name], MEASURES[name]
    least, most = (f"{value:{_form(value)}}" for value in _ends(rows["detectable"]))
    size = least if least == most else f"{least} to {most}, by arm,"
    count = int(rows["prompts"].max())
    line = f"{count} prompts show a difference of {size} in {measure.label} 4 times in 5 (alone, two-sided 5 %)"
    short = rows[rows["needed"] > rows["prompts"]]
    if len(short):
        row = short.iloc[int(short["difference"].abs().to_numpy().argmax())]
        amount = abs(row["difference"])
        line += (
            f"; to see the {amount:{_form(amount)}} of {arm_shown(str(row['arm']))} you need about "
            f"{rounded(row['needed']):,}"
        )
    return [line]


def rounded(count: float) -> int:
    """A number of prompts as it is told: two digits of it."""
    return int(float(f"{count:.1e}"))


_ORDER = tuple(dict.fromkeys(("all", *LEADING, *MEASURES)))
"""Measures in the order in which one is chosen: of single images first, as people read them."""


def _apart(table: pd.DataFrame) -> pd.Series[bool]:
    ends = zip(table["difference_low"], table["difference_high"], strict=True)
    return pd.Series([differs(low, high) for low, high in ends], index=table.index, dtype=bool)


def _written(rows: pd.DataFrame, *, ends: bool) -> Iterator[str]:
    for row in rows.to_dict("records"):
        measure = MEASURES[row["measure"]]
        values = (row["difference"], row["difference_low"], row["difference_high"])
        value, *between = (f"{x:+{measure.form}}" for x in values)
        yield f"{measure.label} {value} [{', '.join(between)}]" if ends else measure.label


def _family(tested: int, adjust: str) -> str:
    many = f"{tested} difference{'s' * (tested != 1)}"
    if adjust == "none":
        chance = (1 - LEVEL) * tested
        return f"of {many} chance alone would put {chance:.0f} beyond theirs"
    if adjust == "holm":
        return f"of {many} tested together: 5 % for even one that is chance (Holm)"
    return (
        f"of {many} tested together: of those told apart 5 % are chance, on average "
        "(Benjamini-Hochberg)"
    )


def _ends(values: pd.Series[float]) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _form(value: float) -> str:
    """Two digits that count."""
    return ".2g" if value < 1 else ".3g"
