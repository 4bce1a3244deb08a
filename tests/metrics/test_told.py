"""What is said of the differences of a table, once it is a table of many."""

import numpy as np
import pandas as pd
import pytest

from attnscope.metrics.adjusting import with_adjusted
from attnscope.metrics.told import family, is_told, larger_than_chance, seen, verdicts


def arms(*rows):
    """A table of arms: measure, difference with its ends, p; S is the baseline."""
    full = {"arm": "S", "trajectory": "S", "measure": "all", "difference": np.nan,
            "difference_low": np.nan, "difference_high": np.nan, "p": np.nan}  # fmt: skip
    others = [
        {"arm": f"arm{n}", "trajectory": "S^F", "measure": measure, "difference": value,
         "difference_low": value - half, "difference_high": value + half, "p": p}
        for n, (measure, value, half, p) in enumerate(rows)
    ]  # fmt: skip
    table = pd.DataFrame([full, *others]).assign(
        model="toy", scheduler="dpm", steps=4, noise_scale=1.0, seed=0, n=100, prompts=100
    )
    return with_adjusted(table.assign(key=table["arm"]))


def test_what_is_beyond_its_own_interval_may_not_be_beyond_that_of_the_table():
    table = arms(("all", -0.1, 0.09, 0.03), ("all", -0.3, 0.1, 0.001), ("all", 0.0, 0.1, 1.0))
    assert list(verdicts(table, "none")) == ["", "worse", "worse", "not told apart"]
    alone = "beyond its own interval alone, not told apart"
    assert list(verdicts(table, "holm")) == ["", alone, "worse", "not told apart"]
    assert list(verdicts(table, "bh")) == ["", "worse", "worse", "not told apart"]  # 0.03 * 3 / 2
    lines = larger_than_chance(table)
    assert lines[:2] == ["arm0 against S", f"  {alone}: all as asked -0.100 [-0.190, -0.010]"]
    assert lines[-1] == "of 3 differences tested together: 5 % for even one that is chance (Holm)"
    assert "chance, on average (Benjamini-Hochberg)" in larger_than_chance(table, adjust="bh")[-1]
    assert "chance alone would put 0" in larger_than_chance(table, adjust="none")[-1]
    assert family(table) == "p ≤ 0.05 by Holm over the 3 differences of the table"


def test_an_interval_with_zero_in_it_is_never_told_whatever_its_p_value():
    table = arms(("all", 0.1, 0.2, 0.001))
    assert not is_told(table).any()


@pytest.mark.parametrize("adjust", ["holm", "bh", "none"])
def test_lower_is_better_where_the_measure_says_so(adjust):
    table = arms(("lpips", -0.2, 0.1, 0.001), ("ssim", -0.2, 0.1, 0.001))
    assert list(verdicts(table, adjust)) == ["", "better", "worse"]


def test_tables_of_before_are_told_by_their_intervals():
    table = arms(("all", -0.1, 0.05, 0.03)).drop(columns=["p", "p_holm", "p_bh", "prompts"])
    assert list(verdicts(table)) == ["", "worse"]
    assert larger_than_chance(table)[-1].startswith("of 1 difference chance alone would put")
    assert "one in twenty" in family(table)
    assert seen(table) == []


def test_it_is_said_how_many_prompts_the_difference_that_was_seen_would_take():
    table = arms(("all", -0.02, 0.05, 0.4), ("all", -0.3, 0.05, 0.001)).assign(
        detectable=[np.nan, 0.06, 0.06], needed=[np.nan, 900.0, 4.0]
    )
    assert seen(table) == [
        "100 prompts show a difference of 0.06 in all as asked 4 times in 5 (alone, two-sided 5 %); "
        "to see the 0.02 of arm0 you need about 900"
    ]
    table["detectable"] = [np.nan, 0.06, 0.1]
    assert "difference of 0.06 to 0.1, by arm, in" in seen(table)[0]
    table.loc[1, ["difference", "needed"]] = [-0.0031, 37_468.0]
    assert seen(table)[0].endswith("to see the 0.0031 of arm0 you need about 37,000")
    assert "you need" not in seen(table.iloc[[0, 2]])[0]
