"""Where in the image the model looks from a point of it, step by step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd
import torch
from torch import Tensor

from attnscope.errors import InputError
from attnscope.hooks.attending import Attention
from attnscope.hooks.moments import Denoising
from attnscope.kinds import Kind
from attnscope.observers.map_observer import Branch, MapObserver
from attnscope.observers.map_sums import Each
from attnscope.observers.named_maps import Maps, Point, checked_points
from attnscope.observers.probabilities import Reduced, looking_from
from attnscope.sites.attention import Site

IMAGE_KINDS: tuple[Kind, ...] = ("self", "joint")
"""Kinds of attention in which the image looks at itself."""


class PointAttention(MapObserver):
    """Self-attention probabilities from points of the image to everywhere in it.

    Those of the points alone are computed once more from queries and keys, where a module calls its
    kernel: the kernel and the image stay what they are. Over all positions they sum to one in
    self-attention; in joint attention, where the text is looked at as well, with the share of the text.

    A point stands for the token that it lies in, which is larger where the resolution is lower. In videos
    whose frames attend apart it is that point of every frame, and its own frame is looked at; where all
    frames are one sequence, it is that point of the first frame. Attention over the frames at one position
    looks nowhere else in the image, and is left out.

    Args:
        points: (x, y), from 0 to 1 of the width and of the height, from the upper left corner.
        steps: 0-based steps that are looked at; ``None`` is all.
        every: steps that are averaged into one map; ``None`` averages all, so that memory does not depend
            on their number.
        each: ``site`` and ``head`` keep maps of every site, and of every head of each.
        heads: whether the table has a row a head.
        kinds: ``self`` and ``joint``, or one of them.
        sites: shell-style pattern of site names, or several; ``None`` is all.
        branch: guidance branch, ``cond``, ``uncond`` or ``perturbed``.

    Raises:
        InputError: no point, or one that is not in the image.
    """

    part_columns = ("point", "x", "y")

    def __init__(
        self,
        points: Sequence[Point],
        *,
        steps: Iterable[int] | None = None,
        every: int | None = 1,
        each: Each = "model",
        heads: bool = False,
        kinds: Sequence[str] = IMAGE_KINDS,
        sites: str | Sequence[str] | None = None,
        branch: Branch = "cond",
    ) -> None:
        if other := set(kinds) - set(IMAGE_KINDS):
            raise InputError(
                f"kinds={sorted(other)} do not look from the image at itself: choose self or joint"
            )
        super().__init__(
            kinds, sites, steps=steps, every=every, each=each, heads=heads, branch=branch
        )
        self.points = checked_points(points)
        self._places: dict[tuple[int, torch.device], Tensor] = {}

    def engage(self, sites: Sequence[Site]) -> None:
        """A ``Trace`` over these sites begins.

        Raises:
            InputError: in none of them the image looks at itself, or none matches the pattern.
        """
        if not any(site.kind in IMAGE_KINDS for site in sites):
            raise InputError(
                "this model has no self-attention, so no point of the image looks at another: choose "
                "one with self-attention or joint attention"
            )
        super().engage(sites)

    def _parts(self, words: int | None) -> int:
        if words is not None:
            raise InputError(
                f"words={words} is of maps of words: leave it out, these are of points"
            )
        return len(self.points)

    def _reduced(
        self,
        run: Denoising,
        site: Site,
        attention: Attention,
        rows: slice,
        within: slice,
        apart: int,
    ) -> Reduced | None:
        tokens = attention.image.stop - attention.image.start
        keys = attention.image_keys.stop - attention.image_keys.start
        if tokens != keys:
            raise InputError(
                f"{site.name} looks from {tokens} positions at {keys}, and where these lie in the "
                "image is not known: leave it out by sites"
            )
        if not run.layout.is_over_the_image(tokens, apart, site.name):
            return None
        key = tokens, attention.query.device
        if key not in self._places:
            self._places[key] = run.layout.places(self.points, tokens, site.name, key[1])
        return looking_from(attention, within, self._places[key], heads=self.each == "head")

    def _assembled(self, run: Denoising) -> Maps | None:
        return self._sums.assembled(run, self.branch, points=self.points)

    def _clear(self) -> None:
        super()._clear()
        self._places.clear()

    def _named(self, run: Denoising, table: pd.DataFrame) -> pd.DataFrame:
        at = table["point"].to_numpy()
        xs, ys = ([point[axis] for point in self.points] for axis in (0, 1))
        return table.assign(x=[xs[place] for place in at], y=[ys[place] for place in at])

    def table(self) -> pd.DataFrame:
        """How much, how sharply and how widely the image is looked at from each point.

        Returns:
            The columns of a site's row, ``head`` if asked for, ``point`` (its place in the list), ``x``,
            ``y``, ``mass`` (the probability that is paid to the image: 1 in self-attention), ``peak`` (the
            largest), ``spread`` (entropy of the map over positions, nats), and ``entropy`` of the attention
            over everything, text included, nats.
        """
        return super().table()
