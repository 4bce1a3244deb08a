"""Maps of words with named axes, and the files that hold them. Nothing here needs torch."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnscope.errors import InputError
from attnscope.files import write_whole
from attnscope.html_tables import as_table

_AXES = ("sample", "step", "site", "head", "word", "frame", "height", "width")


@dataclass(frozen=True)
class Maps:
    """Maps of the words of every sample of a run.

    Args:
        values: ``[sample, step, word, height, width]``; before ``word`` come ``site`` and ``head``
            where each has its own, and after it ``frame`` for videos. NaN where a plan left all attention
            of a step out, and where a sample has fewer words than another.
        axes: their names.
        steps: the first step of each that was averaged, ``[step]``.
        sites: names, ``[site]``; empty where sites are averaged.
        words: of every sample, ``[sample][word]``.
    """

    values: NDArray[np.floating[Any]]
    axes: tuple[str, ...]
    steps: tuple[int, ...]
    sites: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]

    @property
    def nbytes(self) -> int:
        """Memory of the maps in bytes."""
        return int(self.values.nbytes)

    def _repr_html_(self) -> str:
        sizes = zip(self.axes, self.values.shape, strict=True)
        facts = {"axes": ", ".join(f"{size} {axis}" for axis, size in sizes)}
        facts |= {f"words of sample {n}": ", ".join(own) for n, own in enumerate(self.words)}
        if self.sites:
            facts["sites"] = ", ".join(self.sites)
        return as_table("Maps", facts | {"memory": f"{self.nbytes / 2**20:.3g} MiB"})

    def of(self, sample: int) -> Maps:
        """Those of one sample alone, with as many words as it has."""
        words = self.words[sample]
        place = self.axes.index("word")
        own = self.values[sample : sample + 1].take(range(len(words)), axis=place)
        return Maps(own, self.axes, self.steps, self.sites, (words,))

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
        return Maps(values, left, self.steps, () if "site" in there else self.sites, self.words)


def write(path: Path, maps: Maps, **about: Any) -> None:
    """Write maps as safetensors: ``maps`` in half precision, and what its axes are as JSON.

    Args:
        path: of the file, which is whole or not there.
        maps: to write.
        about: what else is to stand in the file, such as the prompt; of plain values.
    """
    from safetensors.numpy import save_file

    told = {
        "axes": maps.axes, "steps": maps.steps, "sites": maps.sites, "words": maps.words, **about,
    }  # fmt: skip
    metadata = {name: json.dumps(value) for name, value in told.items()}
    half = np.ascontiguousarray(maps.values.astype(np.float16))
    write_whole(path, lambda partial: save_file({"maps": half}, partial, metadata))


def read(path: Path) -> tuple[Maps, Mapping[str, Any]]:
    """Maps, and all that stands in their file.

    Raises:
        InputError: it is gone, or holds none.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            values, metadata = file.get_tensor("maps"), file.metadata() or {}
        about = {name: json.loads(text) for name, text in metadata.items()}
        axes, steps, sites = (tuple(about[name]) for name in ("axes", "steps", "sites"))
        words = tuple(tuple(own) for own in about["words"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{str(path)!r} is gone or holds no maps: {error}") from error
    if len(axes) != values.ndim or any(axis not in _AXES for axis in axes):
        raise InputError(f"{str(path)!r} holds {list(values.shape)} under the axes {axes}")
    return Maps(values.astype(np.float32), axes, steps, sites, words), about
