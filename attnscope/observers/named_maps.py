"""Maps of words and of points with named axes, and the files that hold them. Nothing here needs torch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnscope.errors import InputError
from attnscope.html_tables import as_table
from attnscope.observers import tensor_files

_AXES = ("sample", "step", "site", "head", "word", "point", "frame", "height", "width")
Point = tuple[float, float]
"""x and y in the image, from 0 to 1 of its width and of its height, so that they mean the same whatever
its resolution and its shape."""


@dataclass(frozen=True)
class Maps:
    """Maps of every sample of a run: where words are attended to, or where points of the image look.

    Args:
        values: ``[sample, step, word, height, width]``, or ``point`` in the place of ``word``; before it
            come ``site`` and ``head`` where each has its own, and after it ``frame`` for videos. NaN where
            a site has fewer heads, or a sample fewer words, than another, and where a plan left a site out.
            A step at which it left all of them out is not there.
        axes: their names.
        steps: the first step of each that was averaged, ``[step]``.
        sites: names, ``[site]``; empty where sites are averaged.
        words: of every sample, ``[sample][word]``; empty if maps are of points.
        points: ``[point]``, the same for all samples; empty if maps are of words.
    """

    values: NDArray[np.floating[Any]]
    axes: tuple[str, ...]
    steps: tuple[int, ...]
    sites: tuple[str, ...]
    words: tuple[tuple[str, ...], ...] = ()
    points: tuple[Point, ...] = ()

    @property
    def nbytes(self) -> int:
        """Memory of the maps in bytes."""
        return int(self.values.nbytes)

    def _repr_html_(self) -> str:
        sizes = zip(self.axes, self.values.shape, strict=True)
        facts = {"axes": ", ".join(f"{size} {axis}" for axis, size in sizes)}
        facts |= {f"words of sample {n}": ", ".join(own) for n, own in enumerate(self.words)}
        if self.points:
            facts["points"] = ", ".join(f"({x:g}, {y:g})" for x, y in self.points)
        if self.sites:
            facts["sites"] = ", ".join(self.sites)
        return as_table("Maps", facts | {"memory": f"{self.nbytes / 2**20:.3g} MiB"})

    def of(self, sample: int) -> Maps:
        """Those of one sample alone, with as many words as it has."""
        own = self.values[sample : sample + 1]
        if not self.words:
            return replace(self, values=own)
        words = self.words[sample]
        own = own.take(range(len(words)), axis=self.axes.index("word"))
        return replace(self, values=own, words=(words,))

    def mean(self, *axes: str) -> Maps:
        """Averaged over axes such as ``site`` and ``head``, where there are any; NaN do not count."""
        there = [axis for axis in axes if axis in self.axes]
        if not there:
            return self
        places = tuple(self.axes.index(axis) for axis in there)
        with warnings.catch_warnings():  # where there is no map at all, NaN is the answer
            warnings.simplefilter("ignore", RuntimeWarning)
            values = np.nanmean(self.values, places)
        left = tuple(axis for axis in self.axes if axis not in there)
        sites = () if "site" in there else self.sites
        return replace(self, values=values, axes=left, sites=sites)


def checked_points(points: Sequence[Point]) -> tuple[Point, ...]:
    """Points of the image as pairs of floats, each once.

    Raises:
        InputError: there is none, or one is not in the image.
    """
    found = []
    for point in points:
        try:
            x, y = map(float, point)
        except (TypeError, ValueError) as error:
            raise InputError(f"{point!r} is no point (x, y), such as (0.3, 0.5)") from error
        if not all(math.isfinite(at) and 0 <= at <= 1 for at in (x, y)):
            raise InputError(
                f"the point {x:g},{y:g} is not in the image: choose x and y from 0 to 1, as parts of "
                "its width and of its height"
            )
        found.append((x, y))
    if not found:
        raise InputError("points=() are none: give one (x, y) or more, such as (0.3, 0.5)")
    return tuple(dict.fromkeys(found))


def packed(maps: Maps, **about: Any) -> bytes:
    """Maps as the bytes of a safetensors file: ``maps`` in half precision, and what its axes are as JSON.

    Args:
        maps: to write.
        about: what else is to stand in the file, such as the prompt; of plain values.
    """
    of = {"points": maps.points} if maps.points else {"words": maps.words}
    told = {"axes": maps.axes, "steps": maps.steps, "sites": maps.sites, **of, **about}
    return tensor_files.packed({"maps": maps.values.astype(np.float16)}, told)


def read(path: Path) -> tuple[Maps, Mapping[str, Any]]:
    """Maps, and all that stands in their file.

    Raises:
        InputError: it is gone, or holds none.
    """
    tensors, about = tensor_files.read(path, "maps")
    try:
        values = tensors["maps"]
        axes, steps, sites = (tuple(about[name]) for name in ("axes", "steps", "sites"))
        words, points = (tuple(map(tuple, about.get(name, ()))) for name in ("words", "points"))
    except (KeyError, TypeError) as error:
        raise tensor_files.no(path, "maps", error) from error
    known = all(axis in _AXES for axis in axes)
    if len(axes) != values.ndim or not known or bool(words) == bool(points):
        raise InputError(f"{str(path)!r} holds {list(values.shape)} under the axes {axes}")
    return Maps(values.astype(np.float32), axes, steps, sites, words, points), about
