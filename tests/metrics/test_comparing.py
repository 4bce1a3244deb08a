"""Differences: p-values by other people's formulas, what so many prompts can show, shares, families."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from attnscope.metrics.adjusting import ADJUSTMENTS, adjusted
from attnscope.metrics.comparing import compared, compared_parts, sign_test, standard_error
from attnscope.metrics.intervals import bootstrap, of_parts, paired
from attnscope.metrics.power import detectable, needed
from attnscope.metrics.proportions import share, wilson

RNG = np.random.default_rng(0)


def test_a_difference_is_the_paired_one_with_the_p_value_of_the_paired_t_test():
    ours, theirs = RNG.normal(0.3, 1, 40), RNG.normal(size=40)
    found, interval = compared(ours, theirs), paired(ours, theirs)
    assert (found.value, found.low, found.high, found.n) == (
        interval.value, interval.low, interval.high, 40,
    )  # fmt: skip
    assert found.p == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)


def test_clustered_by_prompt_it_is_the_t_test_of_the_means_of_prompts():
    ours, theirs = RNG.normal(0.3, 1, 60), RNG.normal(size=60)
    prompts = np.repeat(np.arange(20), 3)
    means = (ours - theirs).reshape(20, 3).mean(axis=1)
    found = compared(ours, theirs, clusters=prompts)
    assert found.p == pytest.approx(stats.ttest_1samp(means, 0).pvalue)
    assert (found.n, found.prompts) == (60, 20)
    assert found.detectable == pytest.approx(compared(means, np.zeros(20)).detectable)


def test_the_error_of_prompts_with_unequal_numbers_of_images_is_the_sandwich():
    counts = np.array([1.0, 4.0, 2.0, 3.0])
    groups = np.repeat(np.arange(4), counts.astype(int))
    values = RNG.normal(size=10)
    design = np.ones((10, 1))
    left = values - values.mean()
    meat = sum(np.outer(*[design[groups == g].T @ left[groups == g]] * 2) for g in range(4))
    bread = np.linalg.inv(design.T @ design)
    expected = math.sqrt(4 / 3 * (bread @ meat @ bread).item())
    sums = np.array([values[groups == g].sum() for g in range(4)])
    assert standard_error(sums, counts) == pytest.approx(expected)


@pytest.mark.parametrize(("gained", "lost"), [(5, 0), (9, 2), (3, 3), (0, 0)])
def test_yes_or_no_is_tested_by_the_pairs_that_differ(gained, lost):
    ours = np.array([1.0] * gained + [0.0] * lost + [1.0] * 20)
    theirs = np.array([0.0] * gained + [1.0] * lost + [1.0] * 20)
    told = compared(ours, theirs)
    both = gained + lost
    tail = sum(math.comb(both, k) for k in range(max(gained, lost), both + 1)) / 2**both
    assert told.p == pytest.approx(min(1.0, 2 * tail))


def test_five_gained_and_none_lost_are_beyond_the_interval_and_not_beyond_chance():
    """Heads five times: one in sixteen. The bootstrap alone would call it better."""
    ours = np.array([1.0] * 25)
    found = compared(ours, np.array([0.0] * 5 + [1.0] * 20))
    assert found.excludes_zero
    assert found.p == pytest.approx(0.0625)


def test_two_images_of_a_prompt_are_not_two_tosses():
    ours, theirs = np.repeat([1.0] * 25, 2), np.repeat([0.0] * 5 + [1.0] * 20, 2)
    twice = compared(ours, theirs, clusters=np.repeat(np.arange(25), 2))
    assert twice.p == pytest.approx(0.0625)
    assert compared(ours, theirs).p == pytest.approx(2 * 0.5**10)
    assert twice.detectable == pytest.approx(compared(ours[::2], theirs[::2]).detectable)


def test_signs_of_prompts_are_tested_by_going_through_all_of_them():
    sums = np.array([2.0, -1.0, 3.0, 1.0, 0.0, 2.0])
    every = [abs(np.dot(signs, sums)) for signs in itertools.product((-1, 1), repeat=len(sums))]
    assert sign_test(sums) == pytest.approx(np.mean(np.array(every) >= sums.sum()))
    assert sign_test(np.zeros(3)) == 1.0


@pytest.mark.parametrize("difference", [0.0, 0.1])
def test_where_no_two_differences_differ_nothing_is_said_of_others(difference):
    theirs = RNG.normal(size=30)
    found = compared(theirs + difference, theirs)
    assert found.p == (1.0 if difference == 0 else 0.0)
    assert math.isnan(found.detectable)
    assert math.isnan(found.needed)


@pytest.mark.parametrize("values", [[1.0], [1.0, math.inf, 2.0], []])
def test_what_cannot_be_told_has_no_p_value(values):
    found = compared(values, np.zeros(len(values)))
    assert math.isnan(found.p)
    assert math.isnan(found.needed)


def test_subsets_are_compared_by_their_own_t():
    ours, theirs = np.array([1.0, 2.0, 4.0]), np.array([0.5, 1.0, 2.0])
    found, interval = compared_parts(ours, theirs, 1.2, 60), of_parts(ours - theirs, 1.2, 60)
    assert (found.low, found.high) == (interval.low, interval.high)
    error = (ours - theirs).std(ddof=1) / math.sqrt(3)
    assert found.p == pytest.approx(2 * stats.t.sf(1.2 / error, 2))
    assert math.isnan(compared_parts([1.0], [2.0], 1.0, 20).p)


def test_the_detectable_difference_is_that_of_textbooks():
    """34 pairs for d = 0.5 at 80 % and two-sided 5 %, as tables of power have it; 2.8 errors for many."""
    assert detectable(1 / math.sqrt(34), 33) == pytest.approx(0.5, abs=0.005)
    assert detectable(1.0, 10**6) == pytest.approx(
        stats.norm.ppf(0.975) + stats.norm.ppf(0.8), 1e-4
    )


def test_the_detectable_difference_is_seen_four_times_in_five():
    runs, n = 1500, 25
    effect = detectable(1 / math.sqrt(n), n - 1)
    samples = np.random.default_rng(0).normal(effect, 1, (runs, n))
    seen = (stats.ttest_1samp(samples, 0, axis=1).pvalue <= 0.05).mean()
    assert abs(seen - 0.8) < 3 * math.sqrt(0.8 * 0.2 / runs)


def test_a_quarter_of_the_difference_takes_sixteen_times_the_prompts():
    assert needed(0.05, 0.2, 100) == 1600
    assert needed(-0.4, 0.2, 100) == 25
    assert math.isnan(needed(0.0, 0.2, 100))
    assert math.isnan(needed(0.1, math.nan, 100))


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe, "Two-sided confidence intervals for the single proportion", 1998, Table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)  # fmt: skip
def test_shares_have_wilsons_interval(successes, n, low, high):
    found = wilson(successes, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    values = np.arange(n) < successes
    assert share(values.astype(float)) == found


def test_thirty_of_thirty_do_not_say_that_none_can_fail():
    assert bootstrap([1.0] * 30).low == 1.0
    assert share([1.0] * 30).low == pytest.approx(1 / (1 + 1.959964**2 / 30), abs=1e-6)


def test_shares_of_prompts_with_several_images_count_as_many_as_tell_as_much():
    values, groups = (RNG.random(40) < 0.7).astype(float), np.arange(40)
    alone, twice = share(values), share(np.repeat(values, 2), clusters=np.repeat(groups, 2))
    assert (twice.value, twice.n, twice.prompts) == (alone.value, 80, 40)
    assert (twice.low, twice.high) == pytest.approx((alone.low, alone.high), abs=0.005)
    assert share(np.repeat(values, 2)).low > alone.low + 0.02
    mixed = share(
        [1.0, 0.0] * 40, clusters=np.repeat(groups, 2)
    )  # every prompt the same: never above n
    assert mixed.high - mixed.low >= (wilson(40, 80).high - wilson(40, 80).low)
    assert share([1.0] * 80, clusters=np.repeat(groups, 2)).low == pytest.approx(wilson(40, 40).low)
    assert math.isnan(share([1.0, 0.0], clusters=[0, 0]).low)


def test_what_is_neither_yes_nor_no_is_resampled():
    frames = np.array([0.25, 0.5, 1.0, 0.0] * 8)
    assert share(frames) == bootstrap(frames)
    assert share([1.0, math.nan, 0.0]) == wilson(1, 2)


@pytest.mark.parametrize(("successes", "n"), [(3, 2), (-1, 5)])
def test_more_successes_than_prompts_are_refused(successes, n):
    with pytest.raises(ValueError, match=f"choose 0 to {n}"):
        wilson(successes, n)
    assert math.isnan(wilson(0, 0).value)


def test_holm_is_as_written_out():
    p = [0.01, 0.04, math.nan, 0.03, 0.005]
    expected = [0.03, 0.06, math.nan, 0.06, 0.02]  # 3 x, then as large as the one before, 2 x, 4 x
    assert adjusted(p, "holm") == pytest.approx(expected, nan_ok=True)
    assert adjusted([0.4, 0.9], "holm") == pytest.approx([0.8, 0.9])
    assert adjusted([0.6, 0.9], "holm") == pytest.approx([1.0, 1.0])


def test_benjamini_hochberg_is_as_written_out():
    p = [0.01, 0.04, math.nan, 0.03, 0.005]
    expected = [0.02, 0.04, math.nan, 0.04, 0.02]
    assert adjusted(p, "bh") == pytest.approx(expected, nan_ok=True)
    assert np.isnan(adjusted([math.nan], "bh")).all()


def test_no_adjustment_leaves_p_values_as_they_are_and_an_unknown_one_is_refused():
    assert list(adjusted([0.01, 0.5], "none")) == [0.01, 0.5]
    with pytest.raises(ValueError, match=", ".join(ADJUSTMENTS)):
        adjusted([0.01], "bonferroni")


@pytest.mark.parametrize("how", ["holm", "bh"])
def test_of_tables_of_chance_alone_one_in_twenty_claims_anything(how):
    runs = 1000
    p = np.random.default_rng(1).random((runs, 20))
    claimed = np.mean([(adjusted(row, how) <= 0.05).any() for row in p])
    assert abs(claimed - 0.05) < 3 * math.sqrt(0.05 * 0.95 / runs)
    assert np.mean([(row <= 0.05).any() for row in p]) > 0.5
