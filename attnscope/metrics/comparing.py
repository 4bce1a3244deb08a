"""Differences to a baseline with all that is to be said of them: interval, p-value, what could be seen.

The interval is the percentile bootstrap's, as of means. The p-value has to be finer than 2000 resamples
can tell, since it is multiplied where many differences are tested (:mod:`attnscope.metrics.adjusting`):

- of yes or no (all differences are -1, 0 or 1) the exact test of signs: with the sum of the
  differences of every prompt, how often their total is as far from zero if each might as well have the
  other sign (Fisher, "The design of experiments", 1935, section 21). With one image a prompt it is McNemar's
  test of the pairs that differ ("Note on the sampling error of the difference between correlated
  proportions", 1947) in its exact form. Where few pairs differ the bootstrap claims too much, and this
  does not;
- otherwise Student's t of the mean difference, its error clustered by prompt: with the sum s and the
  number c of the values of each of G prompts, and N values in all,
  e² = G/(G-1) Σ (s - c d)² / N² (Miller, "Adding error bars to evals", 2024, section 2.2; Cameron and Miller,
  "A practitioner's guide to cluster-robust inference", 2015), G - 1 degrees of freedom. With one image a
  prompt it is the paired t-test.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from attnscope.metrics import power
from attnscope.metrics.intervals import (
    Interval,
    bootstrap,
    differences,
    known,
    of_parts,
    totals,
)

_NOTHING = 1e-12
"""Part of the largest difference below which a spread is that of rounding."""


@dataclass(frozen=True)
class Difference(Interval):
    """A difference to a baseline.

    Args:
        p: how often so large a difference, or a larger one, comes by chance; two-sided.
        detectable: the smallest that is told 4 times in 5 at the present n, by this test alone.
        needed: about how many prompts would tell the one that was seen.
    """

    p: float = nan
    detectable: float = nan
    needed: float = nan


def compared(
    values: ArrayLike, baseline: ArrayLike, *, clusters: ArrayLike | None = None, seed: int = 0
) -> Difference:
    """The mean difference to a baseline, image by image.

    Args:
        values: ``[n]``; NaN is left out together with its partner.
        baseline: ``[n]``, of the same prompts and seeds in the same order.
        clusters: ``[n]``, the prompt that each pair is of, where some have several.
        seed: of the resampling.

    Returns:
        With NaN for what cannot be told, as of :func:`attnscope.metrics.intervals.bootstrap`.

    Raises:
        ValueError: there are not as many of both.
    """
    less = differences(values, baseline)
    found = bootstrap(less, clusters=clusters, seed=seed)
    if not np.isfinite([found.low, found.high]).all():
        return _with(found)
    array, groups = known(less, clusters)
    sums, counts = totals(array, groups)
    error = standard_error(sums, counts)
    if bool(np.isin(array, (-1.0, 0.0, 1.0)).all()):
        p = sign_test(sums)
    else:
        p = t_test(found.value, error, len(sums) - 1)
    return _with(found, p, error, len(sums) - 1)


def compared_parts(values: ArrayLike, baseline: ArrayLike, whole: float, n: int) -> Difference:
    """The difference of measures of two sets, from their values on the same disjoint subsets.

    Args:
        values: one per subset.
        baseline: of the same subsets.
        whole: the difference of all images.
        n: how many images there are in all.

    Returns:
        As of :func:`attnscope.metrics.intervals.of_parts`, with Student's t of the same error.
    """
    less = differences(values, baseline)
    found = of_parts(less, whole, n)
    if len(less) < 2:
        return _with(found)
    error = float(less.std(ddof=1)) / sqrt(len(less))
    freedom = len(less) - 1
    return _with(found, t_test(whole, error, freedom), error, freedom)


def standard_error(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> float:
    """Of the mean over all values, clustered by prompt.

    Args:
        sums: ``[prompts]``, of the values of each; two prompts or more.
        counts: ``[prompts]``, how many these are.

    Returns:
        Zero where the values of all prompts are the same but for rounding.
    """
    whole = counts.sum()
    left = sums - counts * (sums.sum() / whole)
    if np.abs(left).max() <= _NOTHING * np.abs(sums).max():
        return 0.0
    prompts = len(sums)
    return float(np.sqrt(prompts / (prompts - 1) * np.square(left).sum()) / whole)


def t_test(difference: float, error: float, freedom: int) -> float:
    """Two-sided p-value by Student's t; without an error every difference is one, and none is none."""
    from scipy import stats

    if error == 0:
        return float(difference == 0)
    return float(2 * stats.t.sf(abs(difference) / error, freedom))


def sign_test(sums: NDArray[np.float64]) -> float:
    """Two-sided exact p-value of the total of whole numbers, if each might as well have the other sign.

    Args:
        sums: ``[prompts]``, whole numbers: gained less lost, of every prompt.
    """
    from scipy import signal, stats

    sizes, times = np.unique(np.abs(sums[sums != 0]).astype(int), return_counts=True)
    chance = np.ones(1)  # of every total, from the least to the largest, in steps of one
    for size, count in zip(sizes, times, strict=True):
        of_size = np.zeros(2 * size * count + 1)
        of_size[:: 2 * size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        chance = signal.convolve(chance, of_size, method="direct")
    reached = np.arange(len(chance)) - len(chance) // 2
    return float(min(1.0, chance[np.abs(reached) >= abs(round(float(sums.sum())))].sum()))


def _with(found: Interval, p: float = nan, error: float = nan, freedom: int = 1) -> Difference:
    seen = power.detectable(error, freedom)
    return Difference(
        found.value, found.low, found.high, found.n, found.kind, found.clusters, p, seen,
        power.needed(found.value, seen, found.prompts),
    )  # fmt: skip
