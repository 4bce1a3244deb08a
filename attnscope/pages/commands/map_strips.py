"""A prompt of a maps run as a filmstrip: images, maps of words and points and features, moved together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from attnscope.observers import components, named_maps
from attnscope.pages.filmstrip import Chooser, Filmstrip, Layer, Word
from attnscope.pages.pictures import Picture
from attnscope.plots import feature_colors, letter
from attnscope.runs.columns import FINAL
from attnscope.runs.folder import Run
from attnscope.runs.paid import ALL, OTHERS
from attnscope.sites.names import short_site

_STRONGEST = 0.8
"""How much of the image the largest value of a word's map hides."""
_SIDE = 128
"""Pixels of a map's longer side; its cells are blocks."""
_RING = 5
"""Pixels from a point to the ring around it."""
MOST_POINTS, MOST_SITES = 12, 8
"""Of which a strip has layers: each has a picture a step."""
_IMAGE, _UNDER = "the image that the step predicts", "where the word is attended to"
_FROM = "where the image looks from the point"
_TOGETHER = (ALL, OTHERS)
"""Several words as one."""
_NOTHING = np.zeros((1, 1, 4), np.uint8)
"""Is seen through: of a step at which there is no map."""

Pixels = NDArray[np.uint8]
Values = NDArray[np.floating[Any]]


def strip(
    run: Run, number: int, prompt: str, pictures: pd.DataFrame, levels: Mapping[Any, float]
) -> Filmstrip:
    """All that a run has of a prompt, step by step.

    Args:
        run: of ``maps``.
        number: of the prompt.
        prompt: its text.
        pictures: the rows of the table of that name that are the prompt's.
        levels: log-SNR by step.

    Raises:
        InputError: a file of the run is gone.
    """
    words = _words(run, pictures)
    points, sites = _points(run, number), list(_sites(run, number))
    steps = sorted({*words.steps, *(points.steps if points else ()), *(s for one in sites for s in one.steps)})  # fmt: skip
    by_step = pictures[pictures["frame"] == 0].set_index("step")["path"]
    images = [
        Picture(run.path / str(by_step.get(step, by_step[FINAL])), f"the image at step {step}")
        for step in steps
    ]
    layers = [Layer(_IMAGE, images), Layer(_UNDER, images)]
    layers += [layer.over(_UNDER, steps) for layer in words.layers]
    others = []
    if points:
        layers += [Layer(_FROM, images), *(layer.over(_FROM, steps) for layer in points.layers)]
        others = [Chooser("Point of the image", points.choices)]
    layers += [layer.alone(steps) for one in sites for layer in one.layers]
    shown = [_named(step, levels) for step in steps]
    return Filmstrip(prompt, shown, layers, words.choices, others=others)


@dataclass(frozen=True)
class _Moving:
    """A picture at some of the steps.

    Args:
        name: of the layer.
        at: what is seen at a step.
        words: what it shows.
        otherwise: what is seen at the other steps.
    """

    name: str
    at: Mapping[int, Pixels]
    words: str
    otherwise: Pixels

    def over(self, under: str, steps: Sequence[int]) -> Layer:
        return Layer(self.name, self._frames(steps), over=under)

    def alone(self, steps: Sequence[int]) -> Layer:
        return Layer(self.name, self._frames(steps))

    def _frames(self, steps: Sequence[int]) -> list[Picture]:
        return [Picture(self.at.get(step, self.otherwise), self.words) for step in steps]


@dataclass(frozen=True)
class _Seen:
    """Layers of one file of a run, and what chooses among them."""

    steps: Sequence[int]
    layers: Sequence[_Moving]
    choices: Sequence[Word] = ()


def _words(run: Run, pictures: pd.DataFrame) -> _Seen:
    """A layer a word; its values are on one scale over all steps.

    At first that of the prompt is chosen which is attended to most in any place.
    """
    maps, about = named_maps.read(run.path / str(pictures["maps"].iloc[0]))
    values = maps.mean("site", "head", "frame").values[0]  # [step, word, height, width]
    layers, choices = [], []
    added = {"special", "padding"}
    for place, (name, kind) in enumerate(zip(maps.words[0], about["kinds"], strict=True)):
        key = f"{place + 1}. {name}"
        frames = dict(zip(maps.steps, _colored(values[:, place]), strict=True))
        layers.append(_moving(key, frames, f"where {name!r} is attended to"))
        shown = re.sub(r"#\d+$", "", name)  # which of several it is, its place says
        choices.append(Word(name if kind in added else shown, (key,)))
    own = [
        n
        for n, kind in enumerate(about["kinds"])
        if kind == "word" and maps.words[0][n] not in _TOGETHER
    ]
    if own:
        most = max(own, key=lambda place: float(np.nan_to_num(values[:, place]).max()))
        choices[most] = replace(choices[most], first=True)
    return _Seen(maps.steps, layers, choices)


def _points(run: Run, number: int) -> _Seen | None:
    """A layer a point, with a ring where it is; ``None`` if none were asked for."""
    path = _file(run, "points", number)
    if path is None:
        return None
    maps, _ = named_maps.read(run.path / path)
    maps = maps.mean("site", "head")
    values = _first_frame(maps.values[0], maps.axes[1:])  # [step, point, height, width]
    layers, choices = [], []
    for place, point in enumerate(maps.points[:MOST_POINTS]):
        name = point_name(place, *point)
        key = f"from {name}"
        seen = zip(maps.steps, _colored(values[:, place]), strict=True)
        frames = {step: _ringed(pixels, *point) for step, pixels in seen}
        layers.append(_moving(key, frames, f"where the image looks from {name}"))
        choices.append(Word(name, (key,)))
    return _Seen(maps.steps, layers, choices)


def _sites(run: Run, number: int) -> Iterator[_Seen]:
    """A layer a site whose outputs are shown as colours."""
    path = _file(run, "features", number)
    found = () if path is None else components.read(run.path / path)[0]
    for own in found[:MOST_SITES]:
        colors = feature_colors(_first_frame(own.values, own.axes))
        frames = dict(zip(own.steps, map(_enlarged, _bytes(colors)), strict=True))
        name = f"{short_site(own.site)}: {sum(own.explained):.0%} of its variance"
        yield _Seen(own.steps, [_moving(name, frames, f"what {own.site} returns")])


def _moving(name: str, frames: Mapping[int, Pixels], words: str) -> _Moving:
    first = next(iter(frames.values()), _NOTHING)
    nothing = np.zeros((*first.shape[:2], 4), np.uint8)
    return _Moving(name, frames, words, nothing[..., : first.shape[2]])


def _file(run: Run, table: str, number: int) -> str | None:
    if not run.has_table(table):
        return None
    rows = run.read_table(table)
    own = rows.loc[rows["prompt_id"] == number, "path"]
    return None if own.empty else str(own.iloc[0])


def point_name(place: int, x: float, y: float) -> str:
    """What a point is called: ``a (0.3, 0.5)``."""
    return f"{letter(place)} ({x:g}, {y:g})"


def _first_frame(values: Values, axes: Sequence[str]) -> Values:
    return np.asarray(values.take(0, axis=axes.index("frame"))) if "frame" in axes else values


def _named(step: int, levels: Mapping[Any, float]) -> str:
    level = levels.get(step, float("nan"))
    return f"step {step}" + (f" · log-SNR {level:.1f}" if np.isfinite(level) else "")


def _colored(maps: Values) -> list[Pixels]:
    """Maps over steps as colours with transparency: what is not attended to is seen through."""
    peak = float(np.nanmax(maps)) if np.isfinite(maps).any() else 1.0
    made = []
    for part in maps:
        value = np.clip(np.nan_to_num(part / max(peak, 1e-12)), 0, 1)
        colors = mpl.colormaps["inferno"](value)
        colors[..., 3] = _STRONGEST * np.sqrt(value)
        made.append(_enlarged(_bytes(colors)))
    return made


def _bytes(colors: NDArray[np.floating[Any]]) -> Pixels:
    return np.asarray((colors * 255).round(), dtype=np.uint8)


def _enlarged(pixels: Pixels) -> Pixels:
    """Every cell as a block."""
    block = max(1, _SIDE // max(pixels.shape[:2]))
    large: Pixels = pixels.repeat(block, axis=0).repeat(block, axis=1)
    return large


def _ringed(pixels: Pixels, x: float, y: float) -> Pixels:
    """With a white ring in a black one around a point."""
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    at = x * (image.width - 1), y * (image.height - 1)
    for far, color in ((_RING + 1, "black"), (_RING, "white"), (_RING - 1, "white"), (_RING - 2, "black")):  # fmt: skip
        draw.ellipse((at[0] - far, at[1] - far, at[0] + far, at[1] + far), outline=color)
    return np.asarray(image)
