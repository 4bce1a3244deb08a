"""When attention converges: by kind, by site, and which sites when."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from attnscope.analyses.convergence import THRESHOLD
from attnscope.analyses.convergence.measure import converged_steps
from attnscope.pages.charts import Curve, HeatRow, curves, heat, lines
from attnscope.pages.parts import Chart, Section, Table
from attnscope.pages.registry import shows
from attnscope.plain import how_many
from attnscope.plots.tidy import units
from attnscope.runs.folder import Run
from attnscope.sites.names import short_site

_MEASURES = {"relative": "relative change", "l2": "change in L2"}
_CONTROLS = {
    "step": "Step to step",
    "final": "To the last step",
    "branches": "Between guidance branches",
    "caption": "To another caption",
}


@shows("convergence")
def sections(run: Run) -> Iterator[Section]:
    """Curves, heat map and sites."""
    records = run.read_table("records")
    steps = sorted(int(step) for step in records["step"].unique())
    by_site = _by_site(records)
    yield Section(
        "When attention changes",
        [*(_by_kind(records, measure) for measure in _MEASURES), _sites(by_site), _heat(by_site, steps)],
        "How far a site's output moved since the step before. A point leads to the row of its site.",
    )  # fmt: skip
    found = converged_steps(records)
    found.insert(0, "name", [short_site(name) for name in found["site"]])
    yield Section(
        "Sites",
        [
            Table(
                how_many(len(found), "site"),
                found[["name", "kind", "block", "first", "last", "step", "stays", "site"]],
                {
                    "first": "first change",
                    "last": "last change",
                    "step": "converged at step",
                    "stays": "stays there",
                    "site": "path",
                },
                {"first": ".3f", "last": ".3f"},
                key="site",
                note=f"Converged: under {THRESHOLD:.0%} of the first change.",
            )
        ],
    )
    if run.has_table("controls"):
        yield _controls(run.read_table("controls"))


def means(records: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Mean and standard deviation over images of every kind at every step; sites are averaged first.

    Args:
        records: of a run of ``convergence``.
        measure: a column of it.

    Returns:
        Columns ``kind``, ``step``, ``mean`` and ``sd``, which is 0 of one image.
    """
    keys = list(dict.fromkeys([*units(records), "kind", "step"]))
    images = records.groupby(keys, observed=True, dropna=False)[measure].mean().reset_index()
    grouped = images.groupby(["kind", "step"], observed=True)[measure]
    return grouped.agg(mean="mean", sd="std").fillna({"sd": 0.0}).reset_index()


def _by_kind(records: pd.DataFrame, measure: str) -> Chart:
    table, given = means(records, measure), []
    for kind, curve in table.groupby("kind", observed=True, sort=False):
        ends = curve["mean"] - curve["sd"], curve["mean"] + curve["sd"]
        low, high = (list(end) for end in ends)
        given.append(Curve(f"{kind}", list(curve["step"]), list(curve["mean"]), low, high))
    label = _MEASURES[measure]
    title = f"{label[0].upper()}{label[1:]}, by kind"
    note = "Mean over sites and branches; the band is one standard deviation over images."
    return Chart(title, lines(title, given, "step", label), table, note)


def _by_site(records: pd.DataFrame) -> pd.DataFrame:
    """A row per site in the order of data flow: its kind, and its relative change at every step."""
    keys = ["kind", "site", "step"]
    table = records.groupby(keys, observed=True, sort=False)["relative"].mean().reset_index()
    order = list(dict.fromkeys(table["site"]))
    wide = table.pivot_table(
        index=["kind", "site"], columns="step", values="relative", observed=True
    )
    wide = wide.reset_index()
    wide["kind"] = wide["kind"].astype(str)
    wide["site"] = wide["site"].astype(str)
    places = {str(name): place for place, name in enumerate(order)}
    wide = wide.sort_values("site", key=lambda names: names.map(places), ignore_index=True)
    wide.columns = [str(name) for name in wide.columns]
    return wide


def _sites(table: pd.DataFrame) -> Chart:
    steps = [str(name) for name in table if name not in ("kind", "site")]
    given = [
        Curve(short_site(row["site"]), [int(step) for step in steps], [row[step] for step in steps],
              of=row["kind"], key=row["site"])
        for row in table.sort_values("kind", kind="stable").to_dict("records")
    ]  # fmt: skip
    title = "Relative change, by site"
    return Chart(title, curves(title, given, "step", "relative change", log=True), table)


def _controls(controls: pd.DataFrame) -> Section:
    """What step-to-step distances are compared with, by kind."""
    keys = ["arm", "measure", "kind", "step"]
    table = controls.groupby(keys, observed=True)["relative"].mean().reset_index()
    table = table.astype({"arm": str, "measure": str, "kind": str})
    charts = []
    for measure, rows in table[table["arm"] == "trained"].groupby("measure", sort=False):
        given = [
            Curve(str(kind), list(curve["step"]), list(curve["relative"]))
            for kind, curve in rows.groupby("kind", sort=False)
        ]
        title = _CONTROLS.get(str(measure), str(measure))
        svg = lines(title, given, "step", "relative distance", log=True)
        charts.append(Chart(title, svg, rows))
    means_of = Table("Means of all controls", table, forms={"relative": ".4g"})
    return Section(
        "Controls", [*charts, means_of], "What the change from step to step is compared with."
    )


def _heat(table: pd.DataFrame, steps: list[int]) -> Chart:
    ordered = table.sort_values("kind", kind="stable")
    rows = [
        HeatRow(short_site(row["site"]), [row[str(step)] for step in steps], row["site"], row["kind"])
        for row in ordered.to_dict("records")
    ]  # fmt: skip
    title = "All sites at all steps"
    return Chart(title, heat(title, rows, steps, "step", "relative change"), ordered)
