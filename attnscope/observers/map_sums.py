"""Maps that are summed up on the device over sites and steps, and put together when a run is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from attnscope.hooks.moments import Denoising, Moment
from attnscope.observers.named_maps import Maps, Point

Each = Literal["model", "site", "head"]
"""What has maps of its own."""


class _Key(NamedTuple):
    """Calls whose maps are summed up: of one shape, the same rows, within steps that belong together."""

    bucket: int
    call: int
    batch: int
    first: int
    last: int
    site: str
    tokens: int


class MapSums:
    """Sums of maps, one a resolution.

    Args:
        every: steps that are averaged into one map; ``None`` averages all.
        each: what has maps of its own.
    """

    def __init__(self, every: int | None, each: Each) -> None:
        self.every, self.each = every, each
        self._sums: dict[_Key, tuple[Tensor, int]] = {}

    def clear(self) -> None:
        """Free them."""
        self._sums.clear()

    @property
    def nbytes(self) -> int:
        """Of all that is on the device."""
        return sum(total.numel() * total.element_size() for total, _ in self._sums.values())

    def add(self, site: str, moment: Moment, rows: slice, maps: Tensor) -> None:
        """Add the maps of a call.

        Args:
            site: its name.
            moment: of the call.
            rows: of the pipeline's batch that they are of.
            maps: float32 ``[rows, frames, heads, words or points, tokens]``, which is kept.
        """
        bucket = 0 if self.every is None else moment.step // self.every
        own = "" if self.each == "model" else site
        key = _Key(bucket, moment.call, moment.batch, rows.start, rows.stop, own, maps.shape[-1])
        total, count = self._sums.get(key, (None, 0))
        self._sums[key] = maps if total is None else total.add_(maps), count + 1

    def assembled(
        self,
        run: Denoising,
        branch: str,
        names: Callable[[int, int], tuple[str, ...]] | None = None,
        *,
        points: tuple[Point, ...] = (),
    ) -> Maps | None:
        """All maps at one resolution, that of the largest; ``None`` if there are none of the branch.

        Args:
            run: that is over.
            branch: of guidance.
            names: of the words of a sample, given its number and how many words the maps have.
            points: that the maps are of, in the place of words.

        Raises:
            InputError: how tokens are laid out in the image is not known.
        """
        samples = run.samples or 1
        parts: dict[tuple[int, str], list[tuple[Tensor, int]]] = {}
        for key, (total, count) in self._sums.items():
            own, branches = run.label(key.call, key.batch)
            there = np.flatnonzero(branches[key.first : key.last] == branch)
            if len(there):
                apart = total.shape[1]
                grid = run.layout.grid(key.tokens, key.site or "the sites of one size", apart)
                maps = total[torch.as_tensor(there, device=total.device)].cpu()
                maps = maps.unflatten(-1, grid)  # type: ignore[no-untyped-call]
                if grid.frames > 1:  # all frames of a video in one sequence
                    maps = maps.transpose(1, 4)
                maps = maps.squeeze(4)
                whole = maps.new_full((samples, *maps.shape[1:]), torch.nan)
                whole[torch.as_tensor(own[key.first : key.last][there])] = maps
                parts.setdefault((key.bucket, key.site), []).append((whole, count))
        if not parts:
            return None
        buckets = sorted({bucket for bucket, _ in parts})
        sites = list(dict.fromkeys(site for _, site in parts))
        shapes = [tensor.shape for found in parts.values() for tensor, _ in found]
        frames, heads, words, height, width = (
            max(shape[axis] for shape in shapes) for axis in range(1, 6)
        )
        made = torch.full(
            (samples, len(buckets), len(sites), heads, words, frames, height, width), torch.nan
        )
        for (bucket, site), found in parts.items():
            large = [_resized(tensor, height, width) for tensor, _ in found]
            mean = torch.stack(large).sum(0) / sum(count for _, count in found)
            mean = mean.movedim(1, 3)  # [samples, heads, words, frames, height, width]
            made[:, buckets.index(bucket), sites.index(site), : mean.shape[1]] = mean
        listed = tuple(names(sample, words) for sample in range(samples)) if names else ()
        for sample, own_names in enumerate(listed):
            made[sample, :, :, :, len(own_names) :] = torch.nan
        axes = ["sample", "step", "site", "head", "word", "frame", "height", "width"]
        if points:
            axes[axes.index("word")] = "point"
        wanted = {"site": self.each != "model", "head": self.each == "head", "frame": frames > 1}
        for name in [name for name, there_is in wanted.items() if not there_is]:
            made = made.squeeze(axes.index(name))
            axes.remove(name)
        return Maps(
            made.numpy(),
            tuple(axes),
            tuple(bucket * (self.every or 1) for bucket in buckets),
            tuple(filter(None, sites)),
            listed,
            points,
        )


def _resized(maps: Tensor, height: int, width: int) -> Tensor:
    """Bilinear, so that words still sum to one: ``[samples, frames, heads, words, height, width]``."""
    if maps.shape[-2:] == (height, width):
        return maps
    flat = maps.flatten(0, 3)[:, None]
    large = functional.interpolate(flat, (height, width), mode="bilinear", align_corners=False)
    return large.reshape(*maps.shape[:4], height, width)
