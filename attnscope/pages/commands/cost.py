"""What attention costs, and what a plan saves of it."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from attnscope.pages.charts import Curve, Stack, lines, stacks
from attnscope.pages.commands.shared import schedule_of
from attnscope.pages.parts import Chart, Part, Section, Table
from attnscope.pages.registry import shows
from attnscope.runs.folder import Run

_BILLION = 1e9
_WHAT = {"resolution": ("height", "height in pixels"), "tokens": ("tokens", "text tokens")}


@shows("cost")
def sections(run: Run) -> Iterator[Section]:
    """Parts, steps, savings, growth."""
    parts, steps, plan = run.read_table("parts"), run.read_table("steps"), run.settings.get("plan")
    drawn: list[Part] = [_parts(parts), _steps(steps)]
    if isinstance(plan, str):
        drawn.append(schedule_of(plan, int(run.settings["steps"])))
    tables = [
        Table("MACs of a whole run", parts.assign(saved=1 - parts["plan"] / parts["baseline"]),
              forms={"baseline": ",", "plan": ",", "saved": ".1%"}),
        Table("MACs of one call", run.read_table("call"), {"macs": "MACs"}, {"macs": ","}),
    ]  # fmt: skip
    yield Section("Where the arithmetic is", [*drawn, *tables])
    if run.has_table("attribution"):
        found = run.read_table("attribution")
        forms = {"of_baseline": ".1%", "share": ".1%", "speedup": ".3f", "saved": ","}
        table = Table("What each part saves", found, {"speedup": "ideal speed-up"}, forms)
        yield Section("What saves it", [_attribution(found), table])
    if run.has_table("scaling"):
        yield Section("How it grows", list(_scaling(run.read_table("scaling"))))


def _parts(parts: pd.DataFrame) -> Chart:
    given = [
        Stack(name, {row["part"]: row[column] / _BILLION for row in parts.to_dict("records")})
        for name, column in (("baseline", "baseline"), ("with the plan", "plan"))
    ]
    title = "A whole run"
    return Chart(title, stacks(title, given, "10⁹ MACs"), parts)


def _steps(steps: pd.DataFrame) -> Chart:
    macs = steps.groupby("step")["macs"].sum()
    curve = Curve("MACs", [int(step) for step in macs.index], [float(m) / _BILLION for m in macs])
    title = "Step by step"
    return Chart(title, lines(title, [curve], "step", "10⁹ MACs"), macs.reset_index())


def _attribution(table: pd.DataFrame) -> Chart:
    """What is left of a run, and which part saves how much of the rest."""
    given = []
    for convention, rows in table.groupby("convention", sort=False):
        saved = dict(zip(rows["saving"], rows["of_baseline"], strict=True))
        whole = saved.pop("all", sum(saved.values()))
        named = {"full": "all MACs", "paper": "the paper's MACs"}.get(
            str(convention), str(convention)
        )
        given.append(Stack(named, {"still computed": 1 - whole, **saved}))
    title = "What saves it"
    return Chart(
        title,
        stacks(
            title, given, "part of the run without the plan", form=".1%", quiet=("still computed",)
        ),
        table,
    )


def _scaling(table: pd.DataFrame) -> Iterator[Part]:
    kinds = table["part"].str.extract("^(cross|self|joint) ", expand=False).fillna("other")
    for axis, (column, label) in _WHAT.items():
        chosen = table[table["axis"] == axis]
        if chosen.empty:
            continue
        sums = chosen.groupby([column, kinds.loc[chosen.index].rename("kind")])["macs"].sum()
        wide = sums.unstack().fillna(0) / _BILLION
        given = [Curve(str(k), [float(v) for v in wide.index], list(wide[k])) for k in wide]
        title = (
            f"One call over the {'resolution' if axis == 'resolution' else 'length of the text'}"
        )
        svg = lines(title, given, label, "10⁹ MACs", log=True, log_x=True)
        yield Chart(title, svg, wide.reset_index())
