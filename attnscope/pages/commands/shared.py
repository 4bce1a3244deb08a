"""What several commands' pages have: plans as schedules, measures as dots, images as arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from attnscope.errors import InputError
from attnscope.metrics.measures import MEASURES
from attnscope.pages.arms import Arms, Prompt
from attnscope.pages.charts import Dot, dots, schedule
from attnscope.pages.parts import Chart, Note, Part
from attnscope.pages.pictures import Picture
from attnscope.pages.svg import number
from attnscope.plans.display import factors_of, told
from attnscope.plans.text_form import parse
from attnscope.plans.trajectory import Trajectory
from attnscope.runs.columns import arm_shown
from attnscope.runs.folder import Run

MOST_PROMPTS = 64
"""Of which a page shows images."""
_TOLD = ("psnr", "ssim", "all")


def schedule_of(
    plan: str, steps: int, *, title: str = "The plan, step by step", note: str = ""
) -> Part:
    """A plan as a chart, or a sentence where it goes by noise levels that a run does not hold.

    Args:
        plan: in its text form, or its file.
        steps: of the run.
        title: of the chart.
        note: below it; by default the plan.
    """
    try:
        table = Trajectory(parse(plan), steps).table()
    except InputError as error:
        return Note(f"The plan {plan} is not drawn: {error}")
    shown = table.assign(what=list(map(told, table["what"], factors_of(table))))
    columns = [name for name in ("row", "step", "what") if name in shown]
    wide = shown[columns].pivot(index="row", columns="step", values="what").reset_index()
    return Chart(title, schedule(title, table), wide, note or plan)


def of_measure(
    table: pd.DataFrame, measure: str, *, names: Mapping[str, str], to: str = "S"
) -> Chart:
    """The values of a measure, a row per arm.

    Args:
        table: ``key``, ``measure``, ``value``, ``low`` and ``high``.
        measure: which of them.
        names: what arms are called, by key, in order.
        to: what the measures call S here.
    """
    known = MEASURES[measure]
    chosen = table[table["measure"] == measure].drop_duplicates("key")
    rows = {str(row["key"]): row for row in chosen.to_dict("records")}
    given = []
    for place, (key, name) in enumerate(names.items()):
        if key in rows:
            row = rows[key]
            given.append(Dot(name, row["value"], row["low"], row["high"], key, place and 1))
    line = given[0].value if given and given[0].place == 0 else None
    title = known.heading.replace(" to S", f" to {to}")
    columns = [name for name in ("key", "value", "low", "high", "n") if name in chosen]
    svg = dots(title, given, title, form=known.form, line=line)
    return Chart(title, svg, chosen[columns].rename(columns={"key": "arm"}))


def side_by_side(
    run: Run, table: pd.DataFrame, arms: Sequence[str], *, title: str = "Images side by side"
) -> Arms:
    """The images of arms.

    Args:
        run: whose images they are.
        table: ``arm``, ``prompt_id``, ``path``, ``text`` and measures of every image.
        arms: which, in order.
        title: of the part.
    """
    first = table[table["frame"] == 0] if "frame" in table else table
    prompts = list(first["prompt_id"].drop_duplicates())
    shown = [_prompt(run, first[first["prompt_id"] == prompt]) for prompt in prompts[:MOST_PROMPTS]]
    notes = []
    if len(prompts) > MOST_PROMPTS:
        notes.append(f"The first {MOST_PROMPTS} of {len(prompts)} prompts.")
    if len(first) < len(table):
        notes.append("Of every video the first frame.")
    return Arms(title, [arm_shown(arm) for arm in arms], shown, " ".join(notes))


def wide(
    table: pd.DataFrame, index: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, str], dict[str, str]]:
    """A row per arm and a column per measure, with the measures' headings and forms."""
    pivoted = table.pivot_table(
        index=list(index), columns="measure", values="value", sort=False, dropna=False, observed=True
    ).dropna(how="all")  # fmt: skip
    found = [name for name in MEASURES if name in pivoted]
    frame = pivoted[found].reset_index()
    frame.columns = [str(name) for name in frame.columns]
    return (
        frame,
        {name: MEASURES[name].heading for name in found},
        {name: MEASURES[name].form for name in found},
    )


def _prompt(run: Run, rows: pd.DataFrame) -> Prompt:
    caption = str(rows["text"].iloc[0])
    pictures, told = {}, {}
    for row in rows.to_dict("records"):
        arm = arm_shown(str(row["arm"]))
        pictures[arm] = Picture(run.path / str(row["path"]), f"{caption} ({arm})")
        told[arm] = _told(row)
    return Prompt(caption, pictures, told)


def _told(row: Mapping[Any, Any]) -> str:
    """How far an image is from the baseline's, and whether it is as asked."""
    if row.get("psnr") == float("inf"):
        return "identical"
    said = []
    for name in _TOLD:
        value = row.get(name)
        if value is None or value != value:
            continue
        if name == "all":
            said.append("as asked" if value == 1 else "not as asked")
        else:
            unit = " dB" if name == "psnr" else ""
            label = "" if name == "psnr" else "SSIM "
            said.append(f"{label}{number(float(value), MEASURES[name].form)}{unit}")
    return ", ".join(said)
