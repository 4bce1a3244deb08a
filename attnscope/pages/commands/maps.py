"""Where words are attended to: maps that move with the images along the steps, and how much."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from attnscope.observers import named_maps
from attnscope.pages.charts import Curve, lines
from attnscope.pages.commands.shared import schedule_of
from attnscope.pages.parts import Chart, Choice, Filmstrip, Layer, Note, Part, Section, Table, Word
from attnscope.pages.pictures import Picture
from attnscope.pages.registry import shows
from attnscope.runs.folder import Run

_MOST_PROMPTS = 8
"""Of which a page shows maps: each word has a picture a step."""
_FINAL = -1
_STRONGEST = 0.8
"""How much of the image the largest value of a word's map hides."""
_SIDE = 128
"""Pixels of a map's longer side; its cells are blocks."""
_IMAGE, _UNDER = "the image that the step predicts", "where the word is attended to"
_MEASURES = {
    "mass": "Attention paid to each word",
    "peak": "The largest attention paid to each word",
    "spread": "How widely each word is attended to",
}
_UNITS = {"mass": "probability", "peak": "probability", "spread": "entropy over positions (nats)"}


@shows("maps")
def sections(run: Run) -> Iterator[Section]:
    """A strip a prompt, curves, the plan and all numbers."""
    pictures, attention = run.read_table("pictures"), run.read_table("attention")
    prompts, words = run.read_table("prompts"), run.read_table("words")
    levels = attention.drop_duplicates("step").set_index("step")["log_snr"].to_dict()
    shown = prompts.head(_MOST_PROMPTS)
    strips = [
        (text, _strip(run, text, pictures[pictures["prompt_id"] == number], levels))
        for number, text in zip(shown["prompt_id"], shown["text"].astype(str), strict=True)
    ]
    parts: list[Part] = [Choice("Prompt", strips) if len(strips) > 1 else strips[0][1]]
    if len(shown) < len(prompts):
        parts.append(Note(f"The first {len(shown)} of {len(prompts)} prompts."))
    yield Section(
        "Where words are attended to",
        parts,
        "The slider moves the image that each step predicts and the map of the chosen word upon it. "
        "A word's map is on one scale over all steps.",
    )
    charts: list[Part] = [_curves(attention, name) for name in _MEASURES]
    yield Section("How much", [*charts, _entropy(attention)])
    steps = int(attention["step"].max()) + 1
    yield Section("The plan", [schedule_of(run.settings["plan"], steps)])
    means = attention.groupby(["word", "step"], observed=True, sort=False)[[*_MEASURES, "entropy"]]
    yield Section(
        "Tables",
        [
            Table("Words", words.drop(columns="positions")),
            Table("Every word at every step", means.mean().reset_index()),
        ],
    )


def _strip(run: Run, prompt: str, pictures: pd.DataFrame, levels: Mapping[Any, float]) -> Filmstrip:
    """The image of every step, and a layer a word that lies upon it."""
    maps, about = named_maps.read(run.path / str(pictures["maps"].iloc[0]))
    values = maps.mean("site", "head", "frame").values[0]  # [step, word, height, width]
    by_step = pictures[pictures["frame"] == 0].set_index("step")["path"]
    images = [
        Picture(run.path / str(by_step.get(step, by_step[_FINAL])), f"the image at step {step}")
        for step in maps.steps
    ]
    layers, words = [Layer(_IMAGE, images), Layer(_UNDER, images)], []
    added = {"special", "padding"}
    for place, (name, kind) in enumerate(zip(maps.words[0], about["kinds"], strict=True)):
        key = f"{place + 1}. {name}"
        own = values[:, place]
        peak = float(np.nanmax(own)) if np.isfinite(own).any() else 1.0
        frames = [
            Picture(_colored(part / max(peak, 1e-12)), f"where {name!r} is attended to")
            for part in own
        ]
        layers.append(Layer(key, frames, over=_UNDER))
        shown = re.sub(r"#\d+$", "", name)  # which of several it is, its place says
        words.append(Word(name if kind in added else shown, (key,)))
    return Filmstrip(prompt, [_named(step, levels) for step in maps.steps], layers, words)


def _named(step: int, levels: Mapping[Any, float]) -> str:
    level = levels.get(step, float("nan"))
    return f"step {step}" + (f" · log-SNR {level:.1f}" if np.isfinite(level) else "")


def _colored(part: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """A map as colours with transparency: what is not attended to is seen through."""
    value = np.clip(np.nan_to_num(part), 0, 1)
    colors = mpl.colormaps["inferno"](value)
    colors[..., 3] = _STRONGEST * np.sqrt(value)
    block = max(1, _SIDE // max(part.shape))
    pixels = np.asarray((colors * 255).round(), dtype=np.uint8)
    large: NDArray[np.uint8] = pixels.repeat(block, axis=0).repeat(block, axis=1)
    return np.asarray(Image.fromarray(large))


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
