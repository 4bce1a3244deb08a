"""What happens to images where attention is taken away: arms, gates, noise, images, on the way."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from attnscope.metrics.measures import DRAWN, MEASURES
from attnscope.metrics.told import seen
from attnscope.pages.charts import Curve, lines
from attnscope.pages.commands.shared import of_measure, side_by_side, wide
from attnscope.pages.filmstrip import Filmstrip, Layer
from attnscope.pages.parts import Chart, Choice, Part, Section, Table
from attnscope.pages.pictures import Picture
from attnscope.pages.registry import shows
from attnscope.plain import how_many
from attnscope.runs.columns import CELL
from attnscope.runs.folder import Run

_MOST_CHARTS, _MOST_ARMS, _MOST_LINES, _MOST_STRIPS = 6, 40, 8, 8
_FEWEST_GATES = 4


@shows("ablate")
def sections(run: Run) -> Iterator[Section]:
    """Arms by measure, then images; of several models, steps or seeds the first, all in the table."""
    every = run.read_table("arms")
    arms, told = _first(every)
    yield Section("Arms", [*_measures(arms), _table(every)], told)
    if arms["gate"].nunique() >= _FEWEST_GATES:
        yield Section("Over the gate", list(_gates(arms)))
    images, _ = _first(run.read_table("images"))
    names = list(images["arm"].drop_duplicates())[:_MOST_ARMS]
    yield Section("Images", [side_by_side(run, images, names)], told)
    strips = list(_strips(run))
    if strips:
        yield Section(
            "On the way", [Choice("Prompt", strips)], "What is to become the image, step by step."
        )
    noise = run.read_table("noise")
    if len(noise):
        yield Section("Predicted noise", list(_noise(_first(noise)[0])), told)


def _measures(arms: pd.DataFrame) -> Iterator[Chart]:
    found = [name for name in DRAWN if name in set(arms["measure"])]
    named = arms.drop_duplicates("key").head(_MOST_ARMS)
    names = dict(zip(named["key"].astype(str), named["arm"].astype(str), strict=True))
    return (of_measure(arms, name, names=names) for name in found[:_MOST_CHARTS])


def _table(arms: pd.DataFrame) -> Table:
    varying = [name for name in CELL if arms[name].nunique() > 1]
    frame, headings, forms = wide(arms, ["key", *varying, "arm"])
    order = [*varying, "arm", *headings, "key"]
    note = " ".join(f"{line}." for line in seen(arms))
    return Table(how_many(len(frame), "arm"), frame[order], headings, forms, key="key", note=note)


def _gates(arms: pd.DataFrame) -> Iterator[Chart]:
    """Every measure against the gate, a curve per trajectory, at the first interval."""
    intervals = list(arms["interval"].dropna().drop_duplicates())
    if len(intervals) > 1:
        arms = arms[arms["interval"].isna() | (arms["interval"] == intervals[0])]
    gated = arms[arms["gate"].notna()].sort_values("gate")
    for name in [name for name in DRAWN if name in set(gated["measure"])][:_MOST_CHARTS]:
        chosen = gated[gated["measure"] == name]
        given = [
            Curve(str(trajectory), [int(gate) for gate in rows["gate"]], list(rows["value"]),
                  list(rows["low"].fillna(rows["value"])), list(rows["high"].fillna(rows["value"])))
            for trajectory, rows in chosen.groupby("trajectory", sort=False)
        ]  # fmt: skip
        heading = MEASURES[name].heading
        columns = ["trajectory", "gate", "value", "low", "high"]
        yield Chart(
            f"{heading} over the gate", lines(heading, given, "gate m", heading), chosen[columns]
        )


def _noise(noise: pd.DataFrame) -> Iterator[Chart]:
    guided = noise[noise["branch"] == "guided"]
    for value, label in (("mean", "mean of the guided prediction"), ("norm", "its norm")):
        given = [
            Curve(str(arm), list(rows["step"]), list(rows[value]))
            for arm, rows in list(guided.groupby("arm", sort=False))[:_MOST_LINES]
        ]
        title = f"{label[0].upper()}{label[1:]}"
        svg = lines(title, given, "step", label)
        yield Chart(title, svg, guided[["arm", "step", "log_snr", value]])


def _strips(run: Run) -> Iterator[tuple[str, Part]]:
    """What arms hold on the way, a filmstrip per prompt."""
    pictures = run.read_table("pictures")
    if pictures.empty:
        return
    pictures, _ = _first(pictures)
    texts = run.read_table("prompts").set_index("prompt_id")["text"]
    names = list(pictures["arm"].drop_duplicates())[:_MOST_LINES]
    for prompt, rows in list(pictures.groupby("prompt_id", sort=False))[:_MOST_STRIPS]:
        steps = sorted(rows["step"].unique())
        layers = [
            Layer(str(name), [Picture(run.path / path, f"{name} at step {step}") for step, path in zip(of["step"], of["path"], strict=True)])
            for name in names
            for of in [rows[rows["arm"] == name].sort_values("step")]
            if len(of) == len(steps)
        ]  # fmt: skip
        caption = str(texts.get(prompt, prompt))
        yield caption, Filmstrip(caption, [f"step {step}" for step in steps], layers)


def _first(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows of the first model, scheduler, steps, noise scale and seed; which these are, if of many."""
    cells = table[list(CELL)].drop_duplicates()
    first = cells.iloc[0]
    varying = [name for name in CELL if cells[name].nunique() > 1]
    same = (table[list(CELL)] == first).all(axis=1)
    named = ", ".join(f"{name.replace('_', ' ')} {first[name]}" for name in varying)
    told = f"{named}: the first of {len(cells)} combinations. The table has all." if varying else ""
    return table[same], told
