"""Do maps of words point at what the words name? In images of the shapes world, it is known where that is.

A *thing* of an image is what stands out from its background; of two, the one on its side of the caption's
axis. A map *points* at it if its largest value lies on it, and its *overlap* is the intersection over union
of the thing with as many cells, those of the largest values, as it covers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attnscope.models.text_tokens import Word
from attnscope.observers.named_maps import Maps
from attnscope.shapes.scenes import FILLS, Scene

KINDS = ("size", "fill", "color", "shape")
"""What a word of a thing says of it."""
_STANDS_OUT = 40
"""Of 255, in one of the channels: less differs from the background by the autoencoder's noise alone."""
_COVERED = 0.25
"""Part of a cell that a thing must cover for the cell to be the thing's."""
_SMALLEST = 40
"""Pixels of a thing: the least that any covers is about 120."""

Mask = NDArray[np.bool_]


def silhouettes(image: NDArray[np.uint8], scene: Scene) -> list[Mask] | None:
    """Where the things of a caption stand in an image, each on the side that the caption says.

    Args:
        image: ``[height, width, 3]``.
        scene: of the caption.

    Returns:
        A mask ``[height, width]`` for each thing, in the order of the caption; ``None`` where they cannot
        be told apart: a thing is missing, or no empty row or column stands between two.
    """
    pixels = image.astype(int)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    seen: Mask = np.abs(pixels - np.median(border, axis=0)).max(-1) > _STANDS_OUT
    if len(scene.things) == 1:
        return [seen] if seen.sum() >= _SMALLEST else None
    axis = 1 if scene.relation in ("left of", "right of") else 0
    cut = _gap(np.asarray(seen.any(axis=1 - axis)))
    if cut is None:
        return None
    before = np.zeros_like(seen)
    before[(slice(None),) * axis + (slice(cut),)] = True
    parts = [seen & before, seen & ~before]
    if min(part.sum() for part in parts) < _SMALLEST:
        return None
    return parts if scene.relation in ("left of", "above") else parts[::-1]


def _gap(filled: Mask) -> int | None:
    """The middle of the widest empty stretch between two filled ones."""
    at = np.flatnonzero(filled)
    widths = np.diff(at)
    if not len(widths) or widths.max() < 2:
        return None
    widest = int(widths.argmax())
    return int(at[widest] + at[widest + 1]) // 2 + 1


def cells(mask: Mask, height: int, width: int) -> Mask:
    """A mask at the resolution of a map: cells of which it covers a quarter; one at least.

    Args:
        mask: ``[rows, columns]``, multiples of ``height`` and ``width``.
        height: of the map.
        width: of the map.
    """
    rows, columns = mask.shape[0] // height, mask.shape[1] // width
    parts = mask.reshape(height, rows, width, columns).mean((1, 3))
    return np.asarray(parts >= min(_COVERED, parts.max()))


def pointing(maps: NDArray[np.floating], where: Mask) -> NDArray[np.bool_]:
    """Whether the largest value of each map lies on a thing: ``[...]`` of ``[..., height, width]``."""
    flat = maps.reshape(*maps.shape[:-2], -1)
    found: NDArray[np.bool_] = where.ravel()[flat.argmax(-1)]
    return found


def overlap(maps: NDArray[np.floating], where: Mask) -> NDArray[np.float64]:
    """Intersection over union of a thing and as many cells of the largest values: ``[...]``."""
    count = int(where.sum())
    flat = maps.reshape(*maps.shape[:-2], -1)
    largest = np.argpartition(flat, -count, axis=-1)[..., -count:]
    shared = where.ravel()[largest].sum(-1)
    return np.asarray(shared / (2 * count - shared))


def share(maps: NDArray[np.floating], where: Mask, other: Mask) -> NDArray[np.float64]:
    """Of what a map has on two things, the part that it has on the first: ``[...]``.

    By the means over both, so that the larger thing has no advantage.
    """
    first, second = (maps[..., part].mean(-1) for part in (where, other))
    return np.asarray(first / (first + second))


@dataclass(frozen=True)
class Named:
    """A word of a caption that says something of a thing.

    Args:
        thing: 0 or 1, in the order of the caption.
        kind: of :data:`KINDS`.
        word: number among the words of the caption.
    """

    thing: int
    kind: str
    word: int


def words_of_things(scene: Scene) -> list[Named]:
    """Which words of a scene's caption say what of which thing; a plain fill goes unsaid."""
    made, place = [], 0
    for number, thing in enumerate(scene.things):
        kinds = [kind for kind in KINDS if kind != "fill" or thing.fill != FILLS[0]]
        made += [Named(number, kind, place + 1 + n) for n, kind in enumerate(kinds)]
        relation = scene.relation or ""
        place += 1 + len(kinds) + len(relation.split())
    return made


def maps_of_words(maps: Maps, sample: int, words: Sequence[Word]) -> NDArray[np.floating]:
    """The maps of the words of a caption alone, what the tokenizer added left out.

    Args:
        maps: of all of ``words``.
        sample: whose.
        words: of the caption, as of :func:`attnscope.models.text_tokens.words_of`.

    Returns:
        ``[word, ...]``: the other axes in their order, without ``sample``.
    """
    own = [place for place, word in enumerate(words) if word.kind == "word"]
    axis = maps.axes.index("word")
    return np.moveaxis(maps.values[sample].take(own, axis=axis - 1), axis - 1, 0)


def others(scene: Scene, count: int) -> Iterator[tuple[Named, list[int]]]:
    """Every word of a thing, and the words of the caption that are not of the same thing.

    Args:
        scene: of the caption.
        count: words of the caption.
    """
    named = words_of_things(scene)
    for one in named:
        same = {other.word for other in named if other.thing == one.thing}
        yield one, [word for word in range(count) if word not in same]
