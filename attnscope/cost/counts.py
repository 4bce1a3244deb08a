"""Multiply-accumulates (MACs) of one call of a denoiser, by site and by part.

Counts are those of one call of the denoiser on one row of its batch, from shapes alone. A step of a
plan costs, for each row that runs (two with guidance, one without or after the gate), everything
outside attention and the attention sites that compute; a site that reuses costs nothing.

Two conventions stand side by side: ``full`` counts everything, ``paper`` leaves out the two matrix
products inside scaled-dot-product attention (queries with keys, weights with values), as the tool
did that made the tables of "Faster Diffusion via Temporal Attention Decomposition".

Adding them up is arithmetic and needs no torch; :mod:`attnscope.cost.counting` counts a denoiser.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd

Convention = Literal["full", "paper"]
CONVENTIONS: tuple[Convention, ...] = ("paper", "full")
PARTS = (
    "convolution",
    # the kinds of attnscope.sites, which needs torch
    *(f"{k} {what}" for k in ("self", "cross", "joint") for what in ("projections", "products")),
    "feed-forward",
    "rest",
)
"""``projections`` make queries, keys, values and the output; ``products`` are the two inside
attention; ``rest`` is every other linear map: embeddings of time and text, the projections around
transformer blocks, modulations."""


@dataclass(frozen=True)
class SiteCost:
    """What one attention site costs in one call on one row.

    Args:
        name: as of :class:`attnscope.Site`, like the three that follow.
        kind: ``cross``, ``self`` or ``joint``.
        block: the stage it belongs to.
        index: position in the order of data flow.
        projections: MACs of its linear maps.
        products: MACs of its two matrix products.
        parameters: how many it has.
        outputs: elements of its output, which is what reuse keeps.
    """

    name: str
    kind: str
    block: str
    index: int
    projections: int
    products: int
    parameters: int
    outputs: int

    @property
    def parts(self) -> dict[str, int]:
        """MACs by part."""
        return {
            f"{self.kind} projections": self.projections,
            f"{self.kind} products": self.products,
        }

    def macs(self, convention: Convention) -> int:
        """All of the site."""
        return summed(self.parts, convention)


@dataclass(frozen=True)
class PartCost:
    """What a part of a denoiser costs in one call on one row, all that stands in it included.

    Args:
        name: as of :class:`attnscope.Site`, like the three that follow.
        kind: one of :data:`attnscope.kinds.AROUND`.
        block: the stage it belongs to.
        index: position in the order of data flow.
        parts: MACs by part that reuse leaves out: all but those of a shortcut.
        outputs: elements of its output, which is what reuse keeps.
        shortcut: MACs of its shortcut, all of them convolution. It is computed at every step, and
            once more where its output is stored, since what it brings is taken off again.
    """

    name: str
    kind: str
    block: str
    index: int
    parts: Mapping[str, int]
    outputs: int
    shortcut: int = 0

    def macs(self, convention: Convention) -> int:
        """All that reuse leaves out."""
        return summed(self.parts, convention)


@dataclass(frozen=True)
class Counts:
    """What one call of a denoiser costs on one row of its batch.

    Args:
        sites: attention, site by site.
        elsewhere: MACs outside attention by part: ``convolution``, ``feed-forward``, ``rest``.
        parameters: of the whole denoiser.
        modules: MACs, products left out, by the name of the module that computes them.
        around: what else a plan may act on, each with all that stands in it.
    """

    sites: tuple[SiteCost, ...]
    elsewhere: Mapping[str, int]
    parameters: int
    modules: Mapping[str, int]
    around: tuple[PartCost, ...] = ()

    @property
    def acting(self) -> tuple[SiteCost | PartCost, ...]:
        """All that a plan may act on."""
        return *self.sites, *self.around

    @cached_property
    def parts(self) -> dict[str, int]:
        """MACs by part, in the order of :data:`PARTS`, those that the denoiser has."""
        parts = Counter(self.elsewhere)
        for site in self.sites:
            parts.update(site.parts)
        return {part: parts[part] for part in PARTS if parts[part]}

    def macs(self, convention: Convention = "full") -> int:
        """All of the call."""
        return summed(self.parts, convention)

    def of_kind(self, kind: str, convention: Convention = "full") -> int:
        """All attention of a kind."""
        return sum(site.macs(convention) for site in self.sites if site.kind == kind)


def counted(parts: pd.Series[str], convention: Convention) -> pd.Series[bool]:
    """Which parts a convention counts."""
    return parts.map(partial(_counts, convention)).astype(bool)


def summed(parts: Mapping[str, int], convention: Convention) -> int:
    """All parts that a convention counts."""
    return sum(macs for part, macs in parts.items() if _counts(convention, part))


def _counts(convention: Convention, part: str) -> bool:
    """The paper leaves out the products inside attention."""
    return convention == "full" or not part.endswith("products")
