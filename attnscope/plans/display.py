"""How a plan shows itself in notebooks: a strip for every kind of module, a square a step."""

from __future__ import annotations

from attnscope.errors import InputError
from attnscope.html_tables import as_strips, as_table
from attnscope.plans.base import Plan
from attnscope.plans.trajectory import made

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
}
"""The same in words."""


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
        str(row): [
            (ACTION_COLORS[what], f"step {step}: {what}")
            for step, what in zip(own["step"], own["what"], strict=True)
        ]
        for row, own in table.groupby("row", sort=False)
    }
    weights = [plan.weights(step) for step in range(steps)]
    for word in dict.fromkeys(word for step in weights for word in step):
        factors = [step.get(word, 1.0) for step in weights]
        rows[f"attention to {word}"] = [
            ("#dcdcdc" if factor == 1 else "#b0413e", f"step {step}: times {factor:g}")
            for step, factor in enumerate(factors)
        ]
    return as_strips(str(plan), rows)
