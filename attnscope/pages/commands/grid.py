"""Several plans on the same noise and prompts: images side by side, and what each costs."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from attnscope.pages.charts import Dot, dots
from attnscope.pages.commands.shared import schedule_of, side_by_side
from attnscope.pages.parts import Chart, Section, Table
from attnscope.pages.registry import shows
from attnscope.runs.folder import Run

_MOST_SCHEDULES = 6


@shows("generate-plans")
def sections(run: Run) -> Iterator[Section]:
    """Images, speed, plans and every table."""
    plans, images = run.read_table("plans"), run.read_table("images")
    order = [str(plan) for plan in plans["plan"]]
    shown = images.assign(arm=images["plan"])
    yield Section(
        "Images", [side_by_side(run, shown, order, title="Plan by plan, the slowest first")]
    )
    yield Section("Speed", [_speed(plans)])
    steps = int(plans["steps"].iloc[0])
    drawn = [schedule_of(plan, steps, title=plan) for plan in order[:_MOST_SCHEDULES]]
    yield Section("The plans", drawn)
    forms = {
        "macs": ",.0f",
        "paper_macs": ",.0f",
        "seconds": ".3g",
        "speedup": ".2f",
        "ssim": ".3f",
    }
    parts = [Table("Every plan", plans.drop(columns=["key"]), forms=forms),
             Table("Every batch", run.read_table("times")), Table("Every image", images)]  # fmt: skip
    yield Section("Tables", parts)


def _speed(plans: pd.DataFrame) -> Chart:
    title = "Speed-up within a batch: median and range"
    given = [
        Dot(str(row["plan"]), row["speedup"], row["speedup_low"], row["speedup_high"], "", 1)
        for row in plans.to_dict("records")
    ]
    columns = ["plan", "speedup", "speedup_low", "speedup_high", "seconds"]
    return Chart(title, dots(title, given, "speed-up", form=".2f", line=1.0), plans[columns])
