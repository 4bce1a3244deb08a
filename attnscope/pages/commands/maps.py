"""Where words are attended to, where points look and what sites return, along the steps; and how much."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from attnscope.pages.charts import Curve, lines
from attnscope.pages.commands.map_numbers import beside_change, by_head, by_site, when_looked_at
from attnscope.pages.commands.map_strips import MOST_POINTS, MOST_SITES, point_name, strip
from attnscope.pages.commands.shared import schedule_of
from attnscope.pages.parts import Chart, Choice, Note, Part, Section, Table
from attnscope.pages.registry import shows
from attnscope.runs.folder import Run

_MOST_PROMPTS = 8
"""Of which a page shows maps: each word has a picture a step."""
_MEASURES = {
    "mass": "Attention paid to each word",
    "peak": "The largest attention paid to each word",
    "spread": "How widely each word is attended to",
}
_UNITS = {"mass": "probability", "peak": "probability", "spread": "entropy over positions (nats)"}


_OF_POINTS = {
    "spread": "How widely the image looks from each point",
    "peak": "The largest attention paid from each point",
}


@shows("maps")
def sections(run: Run) -> Iterator[Section]:
    """A strip a prompt, curves, the plan and all numbers."""
    attention, words = run.read_table("attention"), run.read_table("words")
    yield Section(_title(run), list(_strips(run, attention)), _lead(run))
    charts: list[Part] = [_curves(attention, name) for name in _MEASURES]
    yield Section("How much", [*charts, _entropy(attention), when_looked_at(attention)])
    if beside := list(beside_change(attention, run.read_table("distances"))):
        yield Section(
            "Beside when attention changes", beside,
            "Above how much the words are looked at, below how far what the same sites return moved since the "
            "step before, over the steps and over the noise that is left.",
        )  # fmt: skip
    if of_sites := [*by_site(attention), *by_head(attention)]:
        yield Section(
            "Which sites look at words", of_sites,
            "Attention paid to all words together. A point leads to the row of its site.",
        )  # fmt: skip
    tables = [Table("Words", words.drop(columns="positions")), _means(attention)]
    if run.has_table("points"):
        points = run.read_table("points")
        yield Section("Where points look", list(_from_all_points(points)))
        tables.append(_means_of_points(points))
    if run.has_table("features"):
        yield Section("What sites return", list(_features(run.read_table("features"))))
    steps = int(attention["step"].max()) + 1
    yield Section("The plan", [schedule_of(run.settings["plan"], steps)])
    yield Section("Tables", tables)


def _title(run: Run) -> str:
    also = {"points": "where points look", "features": "what sites return"}
    told = [
        "Where words are attended to",
        *(say for name, say in also.items() if run.has_table(name)),
    ]
    return " and ".join([", ".join(told[:-1]), told[-1]] if len(told) > 1 else told)


def _lead(run: Run) -> str:
    """What the slider moves."""
    said = "The slider moves the image that each step predicts and the map of the chosen word upon it. "
    if run.has_table("points"):
        said += (
            "The ring is the point from which the image looks; where it looks lies upon the image. "
        )
    if run.has_table("features"):
        said += (
            "Colours of a site are the first three principal components of what it returns, red, green and "
            "blue; they mean the same at every step, and nothing across sites. "
        )
    maps = "word's or point's map" if run.has_table("points") else "word's map"
    return f"{said}A {maps} is on one scale over all steps."


def _strips(run: Run, attention: pd.DataFrame) -> Iterator[Part]:
    """A strip a prompt, and what is left out."""
    pictures, prompts = run.read_table("pictures"), run.read_table("prompts")
    levels = attention.drop_duplicates("step").set_index("step")["log_snr"].to_dict()
    shown = prompts.head(_MOST_PROMPTS)
    strips = [
        (text, strip(run, number, text, pictures[pictures["prompt_id"] == number], levels))
        for number, text in zip(shown["prompt_id"], shown["text"].astype(str), strict=True)
    ]
    yield Choice("Prompt", strips) if len(strips) > 1 else strips[0][1]
    if len(shown) < len(prompts):
        yield Note(f"The first {len(shown)} of {len(prompts)} prompts.")


def _curves(attention: pd.DataFrame, measure: str) -> Chart:
    by = attention.groupby(["word", "step"], observed=True, sort=False)[measure].mean()
    table = by.reset_index()
    given = [
        Curve(str(word), list(own["step"]), list(own[measure]))
        for word, own in table.groupby("word", observed=True, sort=False)
    ]
    title = _MEASURES[measure]
    return Chart(title, lines(title, given, "step", _UNITS[measure]), table, "Mean over sites.")


def _entropy(attention: pd.DataFrame) -> Chart:
    table = attention.groupby("step")["entropy"].mean().reset_index()
    title = "How widely attention is shared out over tokens"
    curve = Curve("all tokens", list(table["step"]), list(table["entropy"]))
    return Chart(title, lines(title, [curve], "step", "entropy (nats)"), table)


def _means(attention: pd.DataFrame) -> Table:
    means = attention.groupby(["word", "step"], observed=True, sort=False)[[*_MEASURES, "entropy"]]
    return Table("Every word at every step", means.mean().reset_index())


def _named_points(points: pd.DataFrame) -> pd.DataFrame:
    """With what each point is called."""
    places = zip(points["point"], points["x"], points["y"], strict=True)
    return points.assign(point=[point_name(int(n), x, y) for n, x, y in places])


def _from_all_points(points: pd.DataFrame) -> Iterator[Part]:
    yield from (_from_points(points, name) for name in _OF_POINTS)
    count = points["point"].nunique()
    if count > MOST_POINTS:
        yield Note(f"The maps above are of the first {MOST_POINTS} of {count} points.")


def _from_points(points: pd.DataFrame, measure: str) -> Chart:
    by = _named_points(points).groupby(["point", "step"], sort=False)[measure]
    table, title = by.mean().reset_index(), _OF_POINTS[measure]
    given = [
        Curve(str(point), list(own["step"]), list(own[measure]))
        for point, own in table.groupby("point", sort=False)
    ]
    return Chart(title, lines(title, given, "step", _UNITS[measure]), table, "Mean over sites.")


def _means_of_points(points: pd.DataFrame) -> Table:
    by = _named_points(points).groupby(["point", "step"], sort=False)
    means = by[["mass", "peak", "spread", "entropy"]].mean()
    note = "mass: the part of a point's attention that goes to the image, and not to the text."
    return Table("Every point at every step", means.reset_index(), note=note)


def _features(features: pd.DataFrame) -> Iterator[Part]:
    """How much of what a site returns its three colours show."""
    by = features.groupby(["site", "kind", "component"], observed=True, sort=False)["explained"]
    shares = by.mean().unstack("component")
    shares.columns = pd.Index(["first", "second", "third"][: shares.shape[1]])
    table = shares.assign(together=shares.sum(axis=1)).reset_index()
    forms = dict.fromkeys(("first", "second", "third", "together"), ".1%")
    title = "Variance that principal components explain"
    yield Table(title, table, forms=forms, note="Mean over prompts.")
    if len(table) > MOST_SITES:
        yield Note(f"The first {MOST_SITES} of {len(table)} sites are shown as colours.")
