"""Images by a plan, beside those without it; what was computed and what reused."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from attnscope.metrics.measures import DRAWN
from attnscope.pages.charts import Stack, stacks
from attnscope.pages.commands.shared import of_measure, schedule_of, side_by_side, wide
from attnscope.pages.parts import Chart, Part, Section, Table
from attnscope.pages.registry import shows
from attnscope.runs.folder import Run


@shows("generate")
def sections(run: Run) -> Iterator[Section]:
    """Images, the plan, calls and times."""
    images, calls, times = (run.read_table(name) for name in ("images", "calls", "times"))
    found = set(images["arm"])
    arms = [name for name in ("baseline", "plan") if name in found]
    title = "Without the plan and with it" if len(arms) > 1 else "Images"
    yield Section("Images", [side_by_side(run, images, arms, title=title)])
    steps = int(times.loc[times["arm"] == "plan", "steps"].iloc[0])
    yield Section("The plan", [schedule_of(run.settings["plan"], steps), _calls(calls)])
    if run.has_table("quality"):
        yield Section("How good they are", list(_quality(run.read_table("quality"))))
    per_arm = times.groupby("arm", sort=False)[["seconds", "images"]].sum().reset_index()
    per_arm = per_arm.assign(each=per_arm["seconds"] / per_arm["images"])
    guided = times.drop_duplicates("arm")[["arm", "steps", "guided_steps"]]
    parts = [
        Table("Times", per_arm.merge(guided, on="arm"), {"each": "s/image"}, {"each": ".3g"}),
        Table("Every image", images),
    ]
    yield Section("Tables", parts)


def _quality(quality: pd.DataFrame) -> Iterator[Part]:
    """The measures that figures have axes for as dots, then all of them; of runs that were judged."""
    made = quality[quality["arm"].isin(["baseline", "plan"])]
    names = dict.fromkeys(made["key"].astype(str))
    found = [name for name in DRAWN if name in set(made["measure"])]
    for name in found:
        yield of_measure(made, name, names={key: key for key in names}, to="the baseline")
    frame, headings, forms = wide(made, ["key", "arm"])
    yield Table("Every measure", frame[["arm", *headings, "key"]], headings, forms, key="key")


def _calls(calls: pd.DataFrame) -> Chart:
    """What a call did, by kind: what is stored was computed."""
    given = [
        Stack(f"{row['kind']}-attention", {"computed": row["computed"] - row["stored"],
              "computed and stored": row["stored"], "reused": row["reused"]})
        for row in calls.to_dict("records")
    ]  # fmt: skip
    title = "Calls of modules"
    return Chart(title, stacks(title, given, "calls", form=".0f", quiet=("reused",)), calls)
