"""Several runs of one command on one page: where they differ, and what came out of each."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from attnscope.analyses.side_by_side import differing_settings, outcomes
from attnscope.metrics.measures import MEASURES
from attnscope.pages.charts import Curve, Dot, dots, lines
from attnscope.pages.commands.convergence import means
from attnscope.pages.parts import Chart, Note, Part, Section, Table
from attnscope.plots.style import letter
from attnscope.runs.folder import Run

_MOST_CHARTS, _MOST_DOTS = 8, 60


def compared(runs: Sequence[Run]) -> list[Section]:
    """The sections that runs have in common.

    Raises:
        InputError: they are of several commands, of one that measures nothing, or one stands twice.
    """
    found, settings = outcomes(runs), differing_settings(runs)
    letters = {str(run.path): letter(place).upper() for place, run in enumerate(runs)}
    named = pd.DataFrame({"run": list(letters.values()), "directory": list(letters)})
    parts: list[Part] = [Table("Runs", named)]
    if settings.empty:
        parts.append(Note("The settings of these runs are the same."))
    else:
        parts.append(Table("Settings that differ", settings.rename(columns=letters)))
    found = found.assign(run=found["run"].map(letters))
    charts = list(_charts(found))
    if runs[0].command == "convergence":
        charts.insert(0, _curves(runs, letters))
    table = Table(
        "Every value", found.assign(measure=[_heading(name) for name in found["measure"]]),
        note="Intervals hold 95 %; of a speed-up they are the range of its rounds.",
    )  # fmt: skip
    return [Section("Where they differ", parts), Section("What came out", [*charts, table])]


def _charts(found: pd.DataFrame) -> list[Chart]:
    """A chart a measure: a row for every run and what was measured of it."""
    charts = []
    for name, rows in list(found.groupby("measure", sort=False))[:_MOST_CHARTS]:
        shown = rows.sort_values(
            "what", kind="stable", key=lambda c: c.map(list(dict.fromkeys(c)).index)
        )
        shown = shown.head(_MOST_DOTS)
        runs = list(dict.fromkeys(found["run"]))
        given = [
            Dot(f"{row['run']} · {row['what']}", row["value"], row["low"], row["high"], place=runs.index(row["run"]) + 1)
            for row in shown.to_dict("records")
        ]  # fmt: skip
        title = _heading(str(name))
        charts.append(Chart(title, dots(title, given, title), shown))
    return charts


def _curves(runs: Sequence[Run], letters: dict[str, str]) -> Chart:
    """Relative change over the steps, a curve for every run and kind."""
    given, tables = [], []
    for run in runs:
        name = letters[str(run.path)]
        table = means(run.read_table("records"), "relative")
        tables.append(table.assign(run=name))
        for kind, curve in table.groupby("kind", observed=True, sort=False):
            given.append(Curve(f"{name} · {kind}", list(curve["step"]), list(curve["mean"])))
    title = "Relative change of every run"
    return Chart(title, lines(title, given, "step", "relative change"), pd.concat(tables))


def _heading(measure: str) -> str:
    return MEASURES[measure].heading if measure in MEASURES else measure
