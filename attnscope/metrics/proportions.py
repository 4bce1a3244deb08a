"""Shares of images: how many of n were drawn as asked, were won, are the baseline's to the bit.

The bootstrap resamples what was seen, so of 30 successes in 30 it says [1, 1], as if nothing else
could have been. Wilson's score interval ("Probable inference, the law of succession, and statistical
inference", 1927; equation 4 of Brown, Cai and DasGupta, "Interval estimation for a binomial
proportion", 2001, who recommend it for small n) holds what a score test does not refuse::

    (p + z²/2n ± z sqrt(p(1 - p)/n + z²/4n²)) / (1 + z²/n)

Where prompts have several images, which are alike, n is the number of independent ones that would tell
as much: n over the design effect, the ratio of the variance of p clustered by prompt to that of
independent images, and less where prompts are few, by Student's quantiles of n - 1 and of prompts - 1
degrees of freedom (Korn and Graubard, "Confidence intervals for proportions with small expected number
of positive counts estimated from survey data", 1998; Dean and Pagano, "Evaluating confidence interval
methods for binomial proportions in clustered surveys", 2015, by Wilson's formula).
"""

from __future__ import annotations

from math import nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from attnscope.metrics.comparing import standard_error
from attnscope.metrics.intervals import LEVEL, Interval, bootstrap, known, totals


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
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} cannot be: choose 0 to {n}")
    if n == 0:
        return Interval(nan, nan, nan, 0)
    return Interval(successes / n, *_ends(successes / n, n), n)


def share(values: ArrayLike, *, clusters: ArrayLike | None = None, seed: int = 0) -> Interval:
    """The mean of what is yes or no of an image, with its 95 % Wilson interval.

    Where it is neither, since the frames of a video were averaged, it is
    :func:`attnscope.metrics.intervals.bootstrap`.

    Args:
        values: ``[n]``, 0 or 1; NaN is left out.
        clusters: ``[n]``, the prompt that each is of.
        seed: of the resampling, where there is any.

    Returns:
        NaN for what cannot be told: all of no values, the interval of several of a single prompt.
    """
    array, groups = known(values, clusters)
    if not is_share(array):
        return bootstrap(values, clusters=clusters, seed=seed)
    sums, counts = totals(array, groups)
    if len(sums) == len(array):
        return wilson(int(array.sum()), len(array))
    value, n = float(array.mean()), len(array)
    if len(sums) == 1:
        return Interval(value, nan, nan, n, clusters=1)
    return Interval(value, *_ends(value, effective(sums, counts)), n, clusters=len(sums))


def effective(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> float:
    """How many independent images would tell a share as well as these.

    Args:
        sums: ``[prompts]``, images of each that are yes; two prompts or more.
        counts: ``[prompts]``, images of each.

    Returns:
        At most the number of images; the number of prompts where all images are yes or all are no.
    """
    from scipy import stats

    n, prompts = float(counts.sum()), len(sums)
    value = float(sums.sum()) / n
    alone = value * (1 - value) / (n - 1)
    if alone == 0:
        return float(prompts)
    together = standard_error(sums, counts) ** 2
    few, many = stats.t.ppf((1 + LEVEL) / 2, [prompts - 1, n - 1])
    return float(min(n, n * alone / together if together else n) * (many / few) ** 2)


def is_share(values: ArrayLike) -> bool:
    """Whether all values are 0 or 1."""
    return bool(np.isin(values, (0.0, 1.0)).all())


def _ends(value: float, n: float) -> tuple[float, float]:
    from scipy import stats

    z = float(stats.norm.ppf((1 + LEVEL) / 2))
    middle = value + z**2 / (2 * n)
    half = z * sqrt(value * (1 - value) / n + z**2 / (4 * n**2))
    low, high = ((middle + side * half) / (1 + z**2 / n) for side in (-1, 1))
    return max(low, 0.0) if value else 0.0, min(high, 1.0) if value < 1 else 1.0
