"""How fast, why, and what it costs in quality."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from attnscope.metrics.measures import MEASURES, PANELS
from attnscope.pages.charts import Dot, Place, Stack, dots, points, stacks
from attnscope.pages.commands.shared import schedule_of, side_by_side, wide
from attnscope.pages.parts import Chart, Section, Table
from attnscope.pages.registry import shows
from attnscope.plots.style import letter
from attnscope.runs.columns import arm_shown
from attnscope.runs.folder import Run

_PARTS = {
    "cross": "cross",
    "self": "self",
    "joint": "joint",
    "other": "rest of the denoiser",
    "outside": "outside of it",
}
_QUIET = (_PARTS["other"], _PARTS["outside"])
_BASES = {"time": "time", "MACs": "MACs"}


@shows("bench")
def sections(run: Run) -> Iterator[Section]:
    """Speed-ups, where time goes, what saves it, speed against quality, images."""
    arms = run.read_table("arms")
    arms = arms.assign(arm=arms["arm"].map(arm_shown))
    yield Section("Speed", [_speed(arms), _breakdown(run.read_table("parts")), _arms(arms)])
    attribution = run.read_table("attribution")
    plan = run.settings.get("plan")
    parts = []
    if isinstance(plan, str):
        parts.append(schedule_of(plan, int(run.settings["steps"])))
    if len(attribution):
        parts += list(_attribution(attribution))
    if parts:
        yield Section("What saves it", parts)
    if run.has_table("frontier"):
        frontier = run.read_table("frontier")
        frontier = frontier.assign(key=frontier["arm"].map(arm_shown), arm=frontier["arm"].map(arm_shown))  # fmt: skip
        frame, headings, forms = wide(frontier, ["arm", "speedup"])
        headings = {"speedup": "speed-up", **headings}
        table = Table("Speed and quality", frame, headings, {"speedup": ".2f", **forms}, key="arm")
        yield Section("Speed and quality", [*_frontier(frontier), table])
    if run.has_table("images"):
        images = run.read_table("images")
        names = list(images["arm"].drop_duplicates())
        yield Section("Images", [side_by_side(run, images, names)])


def _speed(arms: pd.DataFrame) -> Chart:
    ran = arms.dropna(subset=["seconds"])
    given = [
        Dot(row["arm"], row["speedup"], row["speedup_low"], row["speedup_high"], row["arm"], place and 1)
        for place, row in enumerate(ran.to_dict("records"))
    ]  # fmt: skip
    title = "How many times as fast"
    table = ran[["arm", "speedup", "speedup_low", "speedup_high", "ideal"]]
    svg = dots(title, given, "speed-up, and its range over rounds", form=".2f", line=1.0)
    return Chart(title, svg, table)


def _breakdown(parts: pd.DataFrame) -> Chart:
    parts = parts.assign(arm=parts["arm"].map(arm_shown))
    given = [
        Stack(str(arm), {_PARTS.get(p, p): s for p, s in zip(rows["part"], rows["seconds"], strict=True)}, str(arm))
        for arm, rows in parts.groupby("arm", sort=False)
    ]  # fmt: skip
    title = "Where the time goes"
    return Chart(title, stacks(title, given, "seconds per image", quiet=_QUIET), parts)


def _arms(arms: pd.DataFrame) -> Table:
    headings = {"speedup": "speed-up", "speedup_low": "at least", "speedup_high": "at most",
                "seconds": "s/image", "extra_mb": "extra MB", "kept_mb": "kept MB"}  # fmt: skip
    forms = dict.fromkeys(("speedup", "speedup_low", "speedup_high", "ideal", "of_ideal"), ".2f")
    shown = [name for name in ("arm", "seconds", "speedup", "speedup_low", "speedup_high", "ideal",
             "of_ideal", "kept_mb", "extra_mb", "note") if name in arms]  # fmt: skip
    return Table("Arms", arms[shown], headings, forms, key="arm")


def _attribution(table: pd.DataFrame) -> Iterator[Chart]:
    for basis, rows in table.groupby("basis", sort=False):
        title = f"What each part saves alone, of {_BASES.get(str(basis), str(basis))}"
        given = [
            Dot(row["saving"], row["saved"], row["low"], row["high"], place=1)
            for row in rows.to_dict("records")
        ]
        svg = dots(title, given, "part of the run without the plan", form=".1%", line=0.0)
        yield Chart(title, svg, rows[["saving", "saved", "low", "high"]])


def _frontier(table: pd.DataFrame) -> Iterator[Chart]:
    """Speed against the leading measures; the plan's parts and rivals by letters."""
    names = list(dict.fromkeys(table["arm"]))
    for measure in [name for name in PANELS if name in set(table["measure"])][:4]:
        rows = table[table["measure"] == measure]
        given = [
            Place(row["arm"], row["speedup"], row["value"], row["low"], row["high"], row["arm"],
                  letter(names.index(row["arm"])), min(names.index(row["arm"]), 1))
            for row in rows.to_dict("records")
        ]  # fmt: skip
        heading = MEASURES[measure].heading.replace(" to S", " to the baseline")
        columns = ["arm", "speedup", "value", "low", "high", "n"]
        yield Chart(f"{heading} against speed", points(heading, given, "speed-up", heading), rows[columns])  # fmt: skip
