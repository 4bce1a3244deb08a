"""Shares of prompts: how many of n were drawn as asked, were won, are the baseline's to the bit.

The bootstrap resamples what was seen, so of 30 successes in 30 it says [1, 1], as if nothing else
could have been. Wilson's score interval ("Probable inference, the law of succession, and statistical
inference", 1927; equation 4 of Brown, Cai and DasGupta, "Interval estimation for a binomial
proportion", 2001, who recommend it for small n) holds what a score test does not refuse::

    (p + z²/2n ± z sqrt(p(1 - p)/n + z²/4n²)) / (1 + z²/n)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from attnscope.metrics.intervals import LEVEL, Interval, bootstrap, known


def wilson(successes: int, n: int) -> Interval:
    """The share of n independent prompts with its 95 % Wilson interval.

    Args:
        successes: of them.
        n: how many there are.

    Returns:
        NaN throughout if there are none.

    Raises:
        ValueError: there are more successes than prompts, or fewer than none.
    """
    from scipy import stats

    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} cannot be: choose 0 to {n}")
    if n == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    ends = stats.binomtest(successes, n).proportion_ci(LEVEL, method="wilson")
    return Interval(successes / n, float(ends.low), float(ends.high), n)


def share(values: ArrayLike, *, clusters: ArrayLike | None = None, seed: int = 0) -> Interval:
    """The mean of what is yes or no of an image.

    By :func:`wilson` where all values are 0 or 1 and each is of a prompt of its own; otherwise (frames
    of a video were averaged, or a prompt has several images, which are not independent) by
    :func:`attnscope.metrics.intervals.bootstrap` over prompts.

    Args:
        values: ``[n]``; NaN is left out.
        clusters: ``[n]``, the prompt that each is of.
        seed: of the resampling.
    """
    array, groups = known(values, clusters)
    if is_share(array) and len(np.unique(groups)) == len(array):
        return wilson(int(array.sum()), len(array))
    return bootstrap(values, clusters=clusters, seed=seed)


def is_share(values: ArrayLike) -> bool:
    """Whether all values are 0 or 1."""
    return bool(np.isin(values, (0.0, 1.0)).all())
