"""How a plan shows itself in notebooks: a strip for every kind of module, a square a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnscope.errors import InputError
from attnscope.html_tables import as_strips, as_table
from attnscope.plans.base import Plan
from attnscope.plans.trajectory import SCALED, made

if TYPE_CHECKING:
    import pandas as pd

_STEPS = 25
"""Of a plan that fits any number."""
ACTION_COLORS = {
    "compute": "#0173b2",
    "store": "#0173b2",
    "reuse": "#dcdcdc",
    "forecast": "#de8f05",
    "both": "#005c44",
    "one": "#a5d8c7",
    "uncond": "#a5d8c7",
    "cond": "#f3d9a0",
    "prompt": "#a0622d",
    "null": "#ecd9c6",
    "unscaled": "#ece6da",
    "removed": "#7a1f1c",
    "less": "#d98880",
    "more": "#7d3c98",
}
"""What a plan does at a step, to its colour."""
ACTION_NAMES = {
    "compute": "computed",
    "store": "computed and stored",
    "reuse": "reused",
    "forecast": "forecast",
    "both": "both branches",
    "one": "one branch",
    "uncond": "unconditional branch",
    "cond": "conditional branch",
    "prompt": "prompt",
    "null": 'encoding of ""',
    "unscaled": "word as it is",
    "removed": "word removed",
    "less": "less attention",
    "more": "more attention",
}
"""The same in words."""


def row_name(cells: pd.DataFrame) -> str:
    """What a row of a schedule is called; of a word also by what attention to it is scaled.

    Args:
        cells: the row, of :meth:`attnscope.plans.trajectory.Trajectory.table`.
    """
    name = str(cells["row"].iloc[0])
    if not name.startswith(SCALED):
        return name
    scaled = [factor for factor in dict.fromkeys(cells["factor"]) if factor != 1]
    return f"{name} " + ", ".join(f"\u00d7{factor:g}" for factor in scaled)


def factors_of(cells: pd.DataFrame) -> list[float]:
    """By what attention is scaled at the steps of a row; NaN where it is not of a word."""
    return [float("nan")] * len(cells) if "factor" not in cells else list(cells["factor"])


def told(what: str, factor: float = float("nan")) -> str:
    """What is done at a step in words, with the factor where there is one."""
    return ACTION_NAMES[what] + ("" if factor != factor or factor == 1 else f" (times {factor:g})")


def as_html(plan: Plan) -> str:
    """What a plan does at every step; of one that does not fit 25 steps, its text form alone.

    Args:
        plan: of any kind.
    """
    steps = plan.own_steps or _STEPS
    levels = getattr(plan, "log_snr", None)
    try:
        table = made(plan, steps, levels=levels).table()
    except (InputError, ValueError):
        return as_table("Plan", {"plan": str(plan)})
    rows = {
        row_name(own): [
            (ACTION_COLORS[what], f"step {step}: {told(what, factor)}")
            for step, what, factor in zip(own["step"], own["what"], factors_of(own), strict=True)
        ]
        for _, own in table.groupby("row", sort=False)
    }
    return as_strips(str(plan), rows)
