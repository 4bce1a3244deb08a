"""What sites return, as colours, over the denoising steps (Figure A4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from attnscope.plots.sheets import ESTIMATE, Picture, Sheet, as_pictures, enlarged
from attnscope.sites.names import short_site

_COLORS = 3
_ENDS = (1, 99)
"""Percentiles that are black and full colour: a few positions may be far off all others."""


def feature_maps(
    components: Sequence[Any],
    steps: Sequence[int | str],
    *,
    sites: Sequence[str],
    images: Sequence[Any] | None = None,
    explained: Sequence[float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Principal components of sites over steps, a row a site: the first is red, then green, then blue.

    The scale of a colour is that of its component over all steps, so that it means the same in every column
    of a row, and nothing across rows.

    Args:
        components: of every site ``[step, 3, height, width]``.
        steps: ``[step]``, the columns.
        sites: their names, the rows.
        images: one a step, as arrays ``[height, width, 3]`` or PIL images: what x_0 is estimated to be. They
            are drawn in a first row.
        explained: the share of the variance that the components of each site have together.
        ax: where to draw; ``None`` is the current axes, whose maps are replaced.

    Raises:
        ValueError: components, steps, sites and images do not fit together.
    """
    arrays = [np.asarray(values, dtype=float) for values in components]
    shares = [None] * len(sites) if explained is None else list(explained)
    if not arrays or not len(arrays) == len(sites) == len(shares):
        raise ValueError(
            f"components of {len(arrays)} sites, {len(sites)} names and {len(shares)} shares do not fit"
        )
    for values in arrays:
        if values.ndim != 4 or values.shape[:2] != (len(steps), _COLORS):
            raise ValueError(
                f"components of shape {list(values.shape)} do not fit {len(steps)} steps: give "
                "[step, 3, height, width]"
            )
    pictures = as_pictures(images, len(steps))
    shape = max(values.shape[2:] for values in arrays) if pictures is None else pictures[0].shape
    height, width = shape[:2]
    sheet = Sheet(len(steps), height, width)
    if pictures is not None:
        sheet.add(ESTIMATE, pictures)
    for site, values, share in zip(sites, arrays, shares, strict=True):
        name = short_site(site) + ("" if share is None else f"\n{100 * share:.0f} %")
        sheet.add(name, [enlarged(cell, height, width) for cell in feature_colors(values)])
    return sheet.draw(steps, ax)


def feature_colors(components: NDArray[np.floating[Any]]) -> Picture:
    """Principal components as colours: the first is red, then green, then blue.

    Args:
        components: ``[step, 3, height, width]``.

    Returns:
        ``[step, height, width, 3]`` from 0 to 1, on one scale over all steps; a component that says nothing
        is gray.
    """
    low, high = np.nanpercentile(components, _ENDS, axis=(0, 2, 3), keepdims=True)
    flat = high <= low
    scaled = np.where(flat, 0.5, (components - low) / np.where(flat, 1, high - low))
    colors: Picture = np.moveaxis(np.clip(scaled, 0, 1), 1, -1)
    return colors
