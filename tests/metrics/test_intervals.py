"""Intervals: coverage, pairs, seeds, disjoint subsets."""

from __future__ import annotations

import math
import subprocess
import sys
import tracemalloc
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from attnscope.metrics.intervals import (
    CONFIDENCE,
    DEVIATION,
    bootstrap,
    differs,
    of_parts,
    over_seeds,
    paired,
)


@pytest.mark.parametrize(
    "draw",
    [lambda rng: rng.normal(3.0, 2.0, 80), lambda rng: (rng.random(80) < 0.3) * 1.0],
    ids=["normal", "yes or no"],
)
def test_the_bootstrap_interval_holds_the_true_mean_in_95_of_100_samples(draw):
    truth = 3.0 if draw(np.random.default_rng(0)).max() > 1 else 0.3
    intervals = [bootstrap(draw(np.random.default_rng(number))) for number in range(600)]
    held = np.mean([interval.low <= truth <= interval.high for interval in intervals])
    assert 0.92 <= held <= 0.97  # 95 % less 1 for percentiles, give or take 2 standard errors


def test_the_bootstrap_interval_is_as_wide_as_theory_says():
    values = np.random.default_rng(0).normal(size=2000)
    interval = bootstrap(values)
    half = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
    assert interval.value == pytest.approx(values.mean(), abs=1e-12)
    assert interval.high - interval.value == pytest.approx(half, rel=0.1)
    assert interval.value - interval.low == pytest.approx(half, rel=0.1)
    assert (interval.n, interval.kind) == (2000, CONFIDENCE)


def test_the_bootstrap_is_the_same_every_time_and_for_any_size_of_its_batches(monkeypatch):
    values = np.random.default_rng(0).normal(size=50)
    first = bootstrap(values)
    assert bootstrap(values) == first
    monkeypatch.setattr("attnscope.metrics.intervals._AT_ONCE", 1000)
    assert bootstrap(values) == first
    monkeypatch.setattr("attnscope.metrics.intervals._AT_ONCE", 10)  # fewer than there are values
    assert bootstrap(values) == first
    assert bootstrap(values, seed=1) != first


def test_the_bootstrap_holds_no_more_resampled_values_than_it_may(monkeypatch):
    monkeypatch.setattr("attnscope.metrics.intervals._AT_ONCE", 20_000)
    bootstrap(range(10))  # imports scipy
    tracemalloc.start()
    bootstrap(np.random.default_rng(0).normal(size=1000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * 20_000 * 8  # of 2,000 resamples at once: 100 times 20,000 values


def test_what_an_image_does_not_have_is_left_out():
    values = np.random.default_rng(0).normal(size=20)
    assert bootstrap([*values, float("nan")]) == bootstrap(values)


@pytest.mark.parametrize("values", [[], [2.0], [1.0, math.inf, 3.0]], ids=["none", "one", "inf"])
def test_an_interval_that_cannot_be_told_is_nan_and_claims_nothing(values):
    interval = bootstrap(values)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    assert interval.n == len(values)
    assert not interval.excludes_zero


def test_equal_values_have_no_spread():
    interval = bootstrap([1.0] * 30)
    assert (interval.value, interval.low, interval.high) == (1.0, 1.0, 1.0)


def test_pairs_show_a_difference_that_the_spread_of_prompts_hides():
    rng = np.random.default_rng(0)
    prompts = rng.normal(0, 5, 100)
    baseline, ours = prompts + rng.normal(0, 0.2, 100), prompts + 0.5 + rng.normal(0, 0.2, 100)
    difference = paired(ours, baseline)
    apart = bootstrap(ours), bootstrap(baseline)
    assert difference.excludes_zero
    assert difference.value == pytest.approx(ours.mean() - baseline.mean())
    assert apart[0].low < apart[1].high
    assert difference.high - difference.low < 0.2 * (apart[0].high - apart[0].low)


def test_pairs_are_resampled_together():
    rng = np.random.default_rng(0)
    ours, baseline = rng.normal(size=40), rng.normal(size=40)
    assert paired(ours, baseline) == bootstrap(ours - baseline)
    assert paired(ours, baseline, seed=3) == bootstrap(ours - baseline, seed=3)


def test_pairs_without_a_partner_are_refused_or_left_out():
    with pytest.raises(ValueError, match="as many"):
        paired([1.0, 2.0], [1.0])
    assert paired([1.0, math.nan, 3.0, math.inf], [0.0, 1.0, math.nan, math.inf]).n == 1


@pytest.mark.parametrize(("low", "high", "told"), [(1, 2, True), (-2, -1, True), (-1, 1, False)])
def test_an_interval_says_whether_it_leaves_zero_out(low, high, told):
    assert bootstrap(np.linspace(low, high, 50) if told else [low, high]).excludes_zero == told


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (0.1, 0.9, True),
        (-0.9, -0.1, True),
        (-0.1, 0.9, False),
        (-0.9, 0.1, False),
        (0.0, 0.9, False),  # zero itself is one of the values that it may have
        (-0.9, 0.0, False),
        (math.nan, math.nan, False),
    ],
)
def test_a_difference_is_told_where_zero_is_outside(low, high, told):
    assert differs(low, high) == told


def test_seeds_give_mean_and_deviation():
    interval = over_seeds([1.0, 2.0, 6.0])
    assert interval.value == pytest.approx(3.0)
    assert interval.high - 3.0 == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert 3.0 - interval.low == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert (interval.n, interval.kind) == (3, DEVIATION)


def test_two_seeds_have_a_deviation():
    interval = over_seeds([1.0, 3.0])
    assert (interval.low, interval.high) == pytest.approx((2 - math.sqrt(2), 2 + math.sqrt(2)))


def test_the_deviation_of_one_seed_is_not_told():
    interval = over_seeds([1.0])
    assert interval.value == 1.0
    assert math.isnan(interval.low)
    assert not interval.excludes_zero


def test_the_interval_from_subsets_holds_an_unbiased_value_in_95_of_100_samples():
    held = []
    for number in range(600):
        values = np.random.default_rng(number).normal(1.0, 3.0, 200)
        parts = [part.mean() for part in np.split(values, 5)]
        interval = of_parts(parts, values.mean(), 200)
        held.append(interval.low <= 1.0 <= interval.high)
    assert 0.92 <= np.mean(held) <= 0.98


@pytest.mark.parametrize(
    ("parts", "quantile"),  # of Student's t with as many degrees of freedom as parts, less one
    [([0, 2], 12.7062), ([0, 1, 2], 4.3027), ([0, 2, 1, 1, 1], 2.7764)],
    ids=["two", "three", "five"],
)
def test_the_interval_from_subsets_is_students(parts, quantile):
    interval = of_parts(parts, 7.0, 100)
    half = quantile * math.sqrt(2 / (len(parts) - 1) / len(parts))  # the squares add up to two
    assert interval.value == 7.0
    assert (interval.low, interval.high) == pytest.approx((7 - half, 7 + half), rel=1e-4)
    assert (interval.n, interval.kind) == (100, CONFIDENCE)


def test_one_subset_tells_no_interval():
    interval = of_parts([1.0], 1.0, 20)
    assert math.isnan(interval.low)
    assert not interval.excludes_zero


def test_what_was_told_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        over_seeds([1.0, 2.0]).value = 0.0


def test_intervals_need_no_torch():
    script = "import sys, attnscope.metrics.intervals, attnscope.metrics.feature_sets; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
