"""How small a difference so many prompts can show.

A test of a difference d with the standard error e and f degrees of freedom says "beyond chance" where
|d| > t e, t being Student's quantile of 97.5 %. It does so in 80 of 100 samples where the true
difference is the noncentrality c times e at which a noncentral t exceeds t with probability 0.8
(Cohen, "Statistical Power Analysis for the Behavioral Sciences", 1988, chapter 2; c is 2.80 for many
prompts, 2.95 for 20). Errors shrink with the root of the number of prompts, which tells how many a
smaller difference would take.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, isfinite, nan

from attnscope.metrics.intervals import LEVEL

POWER = 0.8
"""How often a difference that is there is to be told."""


def detectable(error: float, freedom: int) -> float:
    """The difference that is told in 80 of 100 samples, by one two-sided test at 5 %.

    Args:
        error: the standard error of the difference, in its unit.
        freedom: degrees of freedom: prompts less one, or subsets less one.

    Returns:
        NaN where the error is not known, or is zero because no two images differ, which says nothing of
        others.
    """
    return _noncentrality(freedom) * error if error > 0 and isfinite(error) else nan


def needed(difference: float, seen: float, n: int) -> float:
    """About how many prompts would tell a difference as large as the one that was seen.

    Args:
        difference: that was seen; one that is larger than ``seen`` would have taken fewer.
        seen: what n prompts can tell, of :func:`detectable`.
        n: prompts that there are.

    Returns:
        A whole number; NaN where there is no difference, or nothing is known.
    """
    if not difference or not isfinite(difference) or not isfinite(seen):
        return nan
    return float(ceil(n * (seen / abs(difference)) ** 2))


@lru_cache(maxsize=1024)
def _noncentrality(freedom: int) -> float:
    from scipy import special, stats

    quantile = stats.t.ppf((1 + LEVEL) / 2, freedom)
    return float(special.nctdtrinc(freedom, 1 - POWER, quantile))
