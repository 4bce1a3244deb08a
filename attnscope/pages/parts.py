"""What a page is made of, as plain values: they say what there is, templates say how it looks.

A new sort of part is a dataclass here with the name of a macro in ``templates/parts.html``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from markupsafe import Markup

from attnscope.errors import InputError
from attnscope.pages.pictures import Picture, Sheet
from attnscope.pages.svg import number

MOST_ROWS = 1000
"""Of a table on a page."""
_LONG = 64
"""Characters that a table has room for in one line."""


@dataclass(frozen=True)
class Part:
    """Something on a page."""

    macro: ClassVar[str]
    """What draws it in ``templates/parts.html``."""
    wide: ClassVar[bool] = True
    """Whether it has a row of the page for itself."""

    def sheets(self) -> Iterator[Sheet]:
        """All its images."""
        return iter(())


@dataclass(frozen=True)
class Note(Part):
    """A sentence or two."""

    macro: ClassVar[str] = "note"

    text: str


@dataclass(frozen=True)
class Facts(Part):
    """Names and values.

    Args:
        title: above them.
        rows: a name and a value each.
    """

    macro: ClassVar[str] = "facts"
    wide: ClassVar[bool] = False

    title: str
    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Cell:
    """A value in a table.

    Args:
        text: as it is shown.
        value: as it is sorted by.
    """

    text: str
    value: str

    @property
    def long(self) -> bool:
        """Whether it is given several lines."""
        return len(self.text) > _LONG


@dataclass(frozen=True)
class Table(Part):
    """A table that is sorted by whichever column is asked.

    Args:
        title: above it.
        frame: its rows.
        headings: what columns are called, where not by their names.
        forms: how values are written, as format specifications by column.
        key: a column whose values charts lead to (``key`` of a dot, a curve, a row); its column is
            shown like every other one.
        note: below it.
    """

    macro: ClassVar[str] = "table"

    title: str
    frame: pd.DataFrame
    headings: Mapping[str, str] = field(default_factory=dict)
    forms: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    note: str = ""

    @property
    def columns(self) -> list[tuple[str, bool]]:
        """The heading of every column, and whether it has numbers."""
        numeric = pd.api.types.is_numeric_dtype
        boolean = pd.api.types.is_bool_dtype
        return [
            (
                self.headings.get(str(name), str(name).replace("_", " ")),
                numeric(column) and not boolean(column),
            )
            for name, column in self.frame.items()
        ]

    @property
    def rows(self) -> Iterator[tuple[str, list[Cell]]]:
        """The key of every row, and its cells; no more than :data:`MOST_ROWS`."""
        names = [str(name) for name in self.frame]
        keys = self.frame[self.key] if self.key else [""] * len(self.frame)
        shown = zip(keys, self.frame.itertuples(index=False), strict=True)
        for (key, row), _ in zip(shown, range(MOST_ROWS), strict=False):
            cells = zip(names, row, strict=True)
            yield str(key), [_cell(value, self.forms.get(name, "")) for name, value in cells]

    @property
    def left_out(self) -> int:
        """Rows that a page has no room for."""
        return max(0, len(self.frame) - MOST_ROWS)


@dataclass(frozen=True)
class Chart(Part):
    """A chart, and the table behind it.

    Args:
        title: above it.
        svg: of :mod:`attnscope.pages.charts`.
        table: the values that are drawn.
        note: below it.
    """

    macro: ClassVar[str] = "chart"
    wide: ClassVar[bool] = False

    title: str
    svg: Markup
    table: pd.DataFrame
    note: str = ""

    @property
    def behind(self) -> Table:
        """Its table as a part."""
        return Table(f"Values of: {self.title}", self.table)


@dataclass(frozen=True)
class Choice(Part):
    """One of several parts, as the reader chooses.

    Args:
        label: what is chosen.
        options: a name and a part each; the first one is shown at first.
    """

    macro: ClassVar[str] = "choice"

    label: str
    options: Sequence[tuple[str, Part]]

    def sheets(self) -> Iterator[Sheet]:
        """Those of all parts."""
        for _, part in self.options:
            yield from part.sheets()


@dataclass(frozen=True, eq=False)
class Prompt:
    """What several arms made of a caption.

    Args:
        caption: of the images.
        pictures: by arm; an arm may have none.
        told: what is said of an arm's image, by arm.
    """

    caption: str
    pictures: Mapping[str, Picture]
    told: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def sheets(self) -> dict[str, Sheet]:
        """The pictures as the album has them, by arm."""
        return {arm: Sheet([picture]) for arm, picture in self.pictures.items()}


@dataclass(frozen=True)
class Arms(Part):
    """Images of arms side by side, and two of them under a slider.

    Args:
        title: above them.
        arms: their names; the first two are compared at first. One alone is a gallery.
        prompts: what they made.
        note: below.
    """

    macro: ClassVar[str] = "arms"

    title: str
    arms: Sequence[str]
    prompts: Sequence[Prompt]
    note: str = ""

    def sheets(self) -> Iterator[Sheet]:
        """A sheet per image."""
        for prompt in self.prompts:
            yield from prompt.sheets.values()


@dataclass(frozen=True)
class Layer:
    """A picture that changes along the steps: an image, a map of a word, features of a site.

    Args:
        name: of it.
        frames: a picture a step.
        over: the name of the layer that it lies upon, by its alpha; by default it has a place of its
            own beside the others.
    """

    name: str
    frames: Sequence[Picture]
    over: str = ""

    @cached_property
    def sheet(self) -> Sheet:
        """All frames as one file."""
        return Sheet(self.frames)


@dataclass(frozen=True)
class Word:
    """A word of a prompt.

    Args:
        text: of it.
        layers: the names of those that are shown while it is chosen; without any it cannot be.
        first: whether it is chosen at first, before others that could be.
    """

    text: str
    layers: Sequence[str] = ()
    first: bool = False


@dataclass(frozen=True)
class Chooser:
    """A row of names of which one is chosen, such as points of the image.

    Args:
        label: what they are.
        words: the names. The first that has layers is chosen at first, if none says that it is.
    """

    label: str
    words: Sequence[Word]

    @property
    def chosen(self) -> Word | None:
        """The word that is chosen at first."""
        able = [word for word in self.words if word.layers]
        return next((word for word in able if word.first), able[0] if able else None)


@dataclass(frozen=True)
class Filmstrip(Part):
    """Layers that one slider moves along the steps; words of the prompt choose among them.

    A layer that no word names is always shown. The first word that has layers is chosen at first.

    Args:
        title: above it.
        steps: what every position of the slider is called, such as ``step 3 · log-SNR -4.1``.
        layers: what moves.
        words: of the prompt, all of them in order.
        note: below.
        others: what else is chosen, each by itself.

    Raises:
        InputError: there are no steps or layers, a layer has not as many frames as there are steps, two
            layers have one name, or a word or a layer names one that is not there.
    """

    macro: ClassVar[str] = "filmstrip"

    title: str
    steps: Sequence[str]
    layers: Sequence[Layer]
    words: Sequence[Word] = ()
    note: str = ""
    others: Sequence[Chooser] = ()

    def __post_init__(self) -> None:
        names = [layer.name for layer in self.layers]
        if not self.steps or not names:
            raise InputError("a filmstrip has one step and one layer at least")
        for layer in self.layers:
            if len(layer.frames) != len(self.steps):
                raise InputError(
                    f"layer {layer.name!r} has {len(layer.frames)} frames: give one for each of the "
                    f"{len(self.steps)} steps"
                )
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"there are two layers {twice!r}: give each a name of its own")
        asked = [name for word in self._every_word for name in word.layers]
        asked += [layer.over for layer in self.layers if layer.over]
        missing = next((name for name in asked if name not in names), None)
        if missing is not None:
            raise InputError(f"no such layer: {missing!r} (choose of {', '.join(names)})")

    def sheets(self) -> Iterator[Sheet]:
        """A sheet per layer."""
        return (layer.sheet for layer in self.layers)

    @property
    def choosers(self) -> list[Chooser]:
        """All that is chosen, the words of the prompt first."""
        return [*([Chooser("Words of the prompt", self.words)] if self.words else ()), *self.others]

    @property
    def _every_word(self) -> list[Word]:
        return [word for chooser in self.choosers for word in chooser.words]

    @property
    def grid(self) -> Sheet:
        """How frames are placed on the sheet of every layer."""
        return self.layers[0].sheet

    @property
    def places(self) -> list[tuple[Layer, list[Layer]]]:
        """The layers that have a place of their own, and those that lie upon each."""
        return [
            (layer, [upper for upper in self.layers if upper.over == layer.name])
            for layer in self.layers
            if not layer.over
        ]

    def named(self, layer: Layer) -> list[int]:
        """The numbers of the words that choose a layer; none if it is always shown."""
        return [n for n, word in enumerate(self._every_word) if layer.name in word.layers]

    def numbered(self, chooser: Chooser) -> list[tuple[int, Word]]:
        """The words of a chooser with their numbers among those of all."""
        before = 0
        for other in self.choosers:
            if other.label == chooser.label:
                break
            before += len(other.words)
        return list(enumerate(chooser.words, before))

    def hidden(self, layer: Layer) -> bool:
        """Whether a layer is not shown at first."""
        chosen = [chooser.chosen for chooser in self.choosers]
        at_first = any(word is not None and layer.name in word.layers for word in chosen)
        return bool(self.named(layer)) and not at_first


@dataclass(frozen=True)
class Section:
    """Parts under one heading.

    Args:
        title: the heading.
        parts: in order.
        lead: a sentence below the heading.
    """

    title: str
    parts: Sequence[Part]
    lead: str = ""

    def sheets(self) -> Iterator[Sheet]:
        """All images."""
        for part in self.parts:
            yield from part.sheets()


def _cell(value: Any, form: str) -> Cell:
    if isinstance(value, list | tuple | dict | np.ndarray):
        return Cell(str(value), str(value))
    if pd.isna(value):
        return Cell("-", "")
    if isinstance(value, bool | np.bool_):
        return Cell("yes" if value else "no", str(int(value)))
    if isinstance(value, float | np.floating):
        return Cell(number(float(value), form or ".4g"), repr(float(value)))
    if isinstance(value, int | np.integer):
        return Cell(format(int(value), form), str(int(value)))
    return Cell(str(value), str(value))
