"""What moves along the steps under one slider, and who chooses what is shown, as a part of a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from attnscope.errors import InputError
from attnscope.pages.parts import Part
from attnscope.pages.pictures import Picture, Sheet


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
