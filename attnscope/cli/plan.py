"""``attnscope plan``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnscope.cli import options as o
from attnscope.cli.grouping import OUTPUT, grouped

if TYPE_CHECKING:
    import pandas as pd

    from attnscope.plans.trajectory import Trajectory

_CELLS = {
    "compute": ("█", "blue"),
    "store": ("●", "blue"),
    "reuse": ("·", "bright_black"),
    "both": ("█", "green"),
    "one": ("▒", "green"),
    "uncond": ("u", "green"),
    "cond": ("c", "green"),
    "prompt": ("█", "yellow"),
    "null": ("∅", "yellow"),
}
_MEANING = {
    "compute": "compute",
    "store": "compute and store",
    "reuse": "reuse",
    "both": "both branches",
    "one": "one branch",
    "uncond": "unconditional branch alone",
    "cond": "conditional branch alone",
    "prompt": "prompt",
    "null": 'encoding of ""',
}


@grouped
def plan(
    tgate: o.TGate = None,
    other: o.OtherPlan = None,
    steps: Annotated[int, typer.Option(min=1, help="Denoising steps.")] = 25,
    out: Annotated[Path | None, typer.Option(help="Also draw it as a PNG or PDF: the paper's Figure 4.", rich_help_panel=OUTPUT)] = None,
    as_json: o.AsJson = False,
) -> None:  # fmt: skip
    """Show what a plan does at every step, as a picture in the terminal.

    Without a plan: the paper's T-GATE, m=10 and k=5 of 25 steps.
    """
    from attnscope.cli.console import results, show_json
    from attnscope.cli.parsing import chosen_plan
    from attnscope.errors import InputError
    from attnscope.plans.reuse import paper_plan
    from attnscope.plans.trajectory import made

    if out is not None and (out.suffix not in (".png", ".pdf") or not out.parent.is_dir()):
        raise InputError(f"--out {str(out)!r} is not a .png or .pdf in a folder that exists")
    chosen = chosen_plan(tgate, other) or paper_plan(steps)
    trajectory = made(chosen, steps)
    table = trajectory.table()
    if as_json:
        show_json({"plan": str(chosen), "steps": steps, "schedule": table})
    else:
        show(trajectory, table)
    if out is not None:
        from attnscope.figures.saving import save
        from attnscope.figures.schedule import schedule

        save(lambda: schedule(table), out)
        if not as_json:
            results.print(f"figure: {out}", soft_wrap=True)


def show(trajectory: Trajectory, table: pd.DataFrame) -> None:
    """Print a schedule: a row per kind of attention, a column per step."""
    from rich.text import Text

    from attnscope.cli.console import results

    results.print(f"{trajectory.plan}, {trajectory.steps} steps", style="bold", soft_wrap=True)
    label = max(len(row) for row in table["row"]) + 2
    width = max(10, (results.width - label) // 10 * 10)
    for first in range(0, trajectory.steps, width):
        numbers = range(first, min(first + width, trajectory.steps))
        ruler = "".join(f"{step:<5}" for step in numbers if step % 5 == 0)
        results.print(" " * label + ruler[: len(numbers) + 4].rstrip())
        for row, cells in table[table["step"].isin(numbers)].groupby("row", sort=False):
            line = Text(f"{row:<{label}}")
            for what in cells["what"]:
                line.append(*_CELLS[what])
            results.print(line)
    for part in (
        table["row"].isin(["self", "cross"]),
        table["row"] == "branches",
        table["row"] == "text",
    ):
        legend = Text(" " * label)
        for what in [what for what in _CELLS if what in set(table.loc[part, "what"])]:
            legend.append(*_CELLS[what])
            legend.append(f" {_MEANING[what]}   ")
        if part.any():
            results.print(legend)
    computed = table[table["what"].isin(["compute", "store"])].groupby("row").size()
    parts = [f"{kind}-attention computed in {computed.get(kind, 0)}" for kind in ("self", "cross")]
    parts.append(f"guided {trajectory.guided_steps}")
    results.print(f"of {trajectory.steps} steps: {', '.join(parts)}", soft_wrap=True)
