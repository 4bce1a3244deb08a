"""What the table of arms may say: which arm is the single best, and what was not tested and why.

A best value alone says little: of two arms that are equal, or whose difference is within chance, one
comes out on top anyhow. An arm is best where the 95 % interval of its difference to *every* other arm
of its cell lies on one side of zero; where there is no such arm, none is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import pandas as pd

from attnscope.metrics.intervals import Interval
from attnscope.metrics.measures import MEASURES

T = TypeVar("T")

FEWEST = 20
"""Of fewer prompts no difference is tested: intervals of so few do not hold what they promise."""
FEWEST_OF_SETS = 2 * FEWEST
"""Of measures of sets: two disjoint subsets at least have to be as large."""
FEW = 10_000
"""Of fewer images FID is too biased to be read by itself."""
_OF_SETS = [name for name, measure in MEASURES.items() if measure.of == "sets"]
_UNTESTED = [name for name, measure in MEASURES.items() if measure.of == "pairs" or measure.biased]
"""Distances to S, which leave no difference to S to be tested, and what is biased."""


def single_best(
    name: str,
    values: Mapping[str, tuple[float, T]],
    difference: Callable[[T, T], Interval],
) -> str | None:
    """The arm that is better than every other one by more than the interval of their difference.

    Args:
        name: of the measure, which says which way is better.
        values: by arm the value and what differences are taken of.
        difference: of two arms, with its interval; ends are NaN where nothing is tested.

    Returns:
        ``None`` if there is no such arm, or no other one to be better than.
    """
    known = {key: pair for key, pair in values.items() if pair[0] == pair[0]}
    if len(known) < 2:
        return None
    sign = 1 if MEASURES[name].higher else -1
    top = max(known, key=lambda key: sign * known[key][0])
    told = (difference(known[top][1], other) for key, (_, other) in known.items() if key != top)
    return top if all(found.excludes_zero for found in told) else None


def untested(arms: pd.DataFrame) -> list[str]:
    """Which differences to S were not tested and why, in words; none if all were.

    Args:
        arms: from :func:`attnscope.metrics.summaries.summarise`.
    """
    prompts = _prompts(arms)
    if prompts < FEWEST:
        return [
            f"nothing is tested with {prompts} prompt{'s' * (prompts != 1)}: whether a difference is "
            f"larger than chance is told from {FEWEST} on (of KID from {FEWEST_OF_SETS})"
        ]
    own = arms[~arms["measure"].isin(_UNTESTED)]
    if own.empty:
        return [
            "no difference is tested: PSNR, SSIM and LPIPS are themselves distances to the images of "
            "one arm"
        ]
    missing = own[own["difference"].notna() & own["difference_low"].isna()]
    return [
        _reason(str(name), prompts if name in _OF_SETS else _count(table))
        for name, table in missing.groupby("measure", sort=False)
    ]


def biased(images: int, arms: pd.DataFrame) -> str:
    """What to read where FID is of too few images to be read itself.

    Args:
        images: that FID is of.
        arms: from :func:`attnscope.metrics.summaries.summarise`.
    """
    tested = arms.loc[arms["measure"] == "kid", "difference_low"].notna().any()
    more = "" if tested else f", which is tested from {FEWEST_OF_SETS} captions on"
    return f"FID of {images} images is biased and not tested: read KID{more}"


def about_relation(table: pd.DataFrame) -> str | None:
    """What ``relation`` is a mean of, where it was read: captions of one thing have none.

    Args:
        table: with ``measure`` and ``n``.
    """
    counts = table.loc[table["measure"] == "relation", "n"]
    if counts.empty:
        return None
    few = f", fewer than {FEWEST}: its differences are not tested" if counts.max() < FEWEST else ""
    return f"relation: of the {counts.max()} captions with two things{few}"


def _prompts(arms: pd.DataFrame) -> int:
    """How many prompts there are: as many as a measure of single images has that all have."""
    of_images = arms[~arms["measure"].isin(_OF_SETS)]
    return _count(of_images if len(of_images) else arms)


def _count(arms: pd.DataFrame) -> int:
    """Prompts; tables of before count images, of which each prompt had one."""
    return int(arms["prompts" if "prompts" in arms else "n"].max())


def _reason(name: str, n: int) -> str:
    label, fewest = MEASURES[name].label, FEWEST_OF_SETS if name in _OF_SETS else FEWEST
    if n < fewest:
        return f"{label} is not tested: {n} prompts have it, and intervals hold from {fewest} on"
    return f"{label} is not tested: some of its values are not finite"
