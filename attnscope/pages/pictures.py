"""Images of a page: encoded so small that the page stays small, and put into it."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from attnscope.errors import InputError
from attnscope.images import open_rgb

BUDGET = 9_500_000
"""Bytes of all images of a page; as text they are a third more, and a page stays under 15 MB."""
_SMALL = 128
"""Images with no side longer lose nothing where there is room: few colours, hard edges."""
_LONGEST_FRAME = 320
"""Of a frame among others on a sheet, which is shown small."""
_SAMPLED = 24


@dataclass(frozen=True)
class _Rung:
    """How images are encoded: the longest side in pixels, and WebP's quality."""

    side: int
    quality: int
    lossless: bool


_LADDER = (
    _Rung(1024, 92, True), _Rung(768, 88, True), _Rung(512, 85, True), _Rung(384, 80, True),
    _Rung(256, 76, False), _Rung(160, 72, False), _Rung(96, 65, False),
)  # fmt: skip
"""From what loses nothing that is seen to what still shows what is drawn."""


@dataclass(frozen=True, eq=False)
class Picture:
    """An image.

    Args:
        source: its file, or uint8 ``[height, width, 3]``, or ``[height, width, 4]`` with what is seen
            through.
        words: what it shows, for whoever does not see it.
    """

    source: Path | np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
    words: str

    def opened(self) -> Image.Image:
        """The image, RGB or RGBA.

        Raises:
            InputError: its file is gone, or no image any more.
        """
        if not isinstance(self.source, Path):
            return Image.fromarray(self.source)
        try:
            return open_rgb(self.source)
        except InputError as error:
            raise InputError(
                f"{str(self.source)!r} of the run is gone or is no image any more"
            ) from error


@dataclass(frozen=True, eq=False)
class Sheet:
    """Images that are one file, in rows; most often one image.

    Args:
        pictures: of one size, the first one's.
    """

    pictures: Sequence[Picture]

    @property
    def columns(self) -> int:
        """How many stand side by side: a sheet is about as wide as it is high."""
        return math.ceil(math.sqrt(len(self.pictures)))

    @property
    def rows(self) -> int:
        """How many stand below each other."""
        return math.ceil(len(self.pictures) / self.columns)


@dataclass(frozen=True)
class Printed:
    """A sheet as a page has it.

    Args:
        uri: the whole file, as ``data:`` and on.
        width: of one image in pixels.
        height: likewise.
        small: whether pixels are to be seen as squares.
    """

    uri: str
    width: int
    height: int
    small: bool


class Album:
    """The images of a page, all encoded alike.

    Args:
        sheets: all of them.
        budget: bytes that they may have together; ``None`` is :data:`BUDGET`.

    Raises:
        InputError: a file is gone, or no image any more.
    """

    def __init__(self, sheets: Iterable[Sheet], budget: int | None = None) -> None:
        every, budget = list(sheets), BUDGET if budget is None else budget
        self._rung = _LADDER[-1]
        self._printed: dict[Sheet, Printed] = {}
        for rung in _LADDER:
            sampled = every[:: max(1, len(every) // _SAMPLED)]
            guess = sum(len(_encoded(sheet, rung)[0]) for sheet in sampled) / max(1, len(sampled))
            if guess * len(every) > 1.1 * budget and rung is not _LADDER[-1]:
                continue
            made = {sheet: _encoded(sheet, rung) for sheet in every}
            if sum(len(file) for file, _ in made.values()) <= budget or rung is _LADDER[-1]:
                self._rung = rung
                self._printed = {sheet: _printed(*both) for sheet, both in made.items()}
                break

    def of(self, sheet: Sheet) -> Printed:
        """A sheet as the page has it."""
        return self._printed[sheet]

    @property
    def note(self) -> str:
        """What was done to the images so that the page stays small; empty if nothing."""
        if self._rung is _LADDER[0]:
            return ""
        return (
            f"There are many images: here they have {self._rung.side} pixels at most and are compressed "
            f"(WebP, quality {self._rung.quality}). The run directory has them as they were made."
        )


def _printed(file: bytes, size: tuple[int, int]) -> Printed:
    uri = f"data:image/webp;base64,{base64.b64encode(file).decode()}"
    return Printed(uri, *size, small=max(size) <= _SMALL)


def _encoded(sheet: Sheet, rung: _Rung) -> tuple[bytes, tuple[int, int]]:
    """A sheet as a file, and the size of one image of it."""
    several = len(sheet.pictures) > 1
    longest = min(rung.side, _LONGEST_FRAME) if several else rung.side
    first = _at_most(sheet.pictures[0].opened(), longest)
    whole = first
    if several:
        wide, tall = first.size
        whole = Image.new(first.mode, (wide * sheet.columns, tall * sheet.rows))
        for place, picture in enumerate(sheet.pictures):
            frame = first if place == 0 else picture.opened()
            at = place % sheet.columns * wide, place // sheet.columns * tall
            whole.paste(frame.convert(first.mode).resize(first.size), at)
    options: dict[str, Any] = {"quality": rung.quality, "method": 4}
    if rung.lossless and max(first.size) <= _SMALL:
        options = {"lossless": True, "quality": 60, "method": 4}
    file = io.BytesIO()
    whole.save(file, "WEBP", **options)
    return file.getvalue(), first.size


def _at_most(image: Image.Image, longest: int) -> Image.Image:
    """An image whose sides are no longer than that."""
    if max(image.size) > longest:
        image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return image
