"""Plans are searched by the time that modules take on this machine, if that is asked for."""

import itertools

import pandas as pd
import pytest
import toys
from test_tuning import STEPS, calibration, groups_in

from attnscope.analyses.bench.instruments import Stopwatch
from attnscope.analyses.tuning import calibration as calibrating
from attnscope.analyses.tuning import schedules, search, times
from attnscope.analyses.tuning.candidates import Candidates
from attnscope.analyses.tuning.modules import Group
from attnscope.analyses.tuning.refinement import Search
from attnscope.analyses.tuning.worth import COMPUTED, STALE, WHOLE, ByMacs, ByTime
from attnscope.cost.counts import Counts, SiteCost
from attnscope.errors import InputError

MANY, SLOW = Group("self", "many", ("many",)), Group("cross", "slow", ("slow",))
"""One has most of the multiply-accumulates, the other takes most of the time."""
GROUPS = (MANY, SLOW)
LEVELS = tuple(map(float, range(STEPS)))


def by_macs():
    sites = tuple(
        SiteCost(name, kind, "block", place, macs, 0, 0, 1)
        for place, (name, kind, macs) in enumerate([("many", "self", 80), ("slow", "cross", 10)])
    )
    return ByMacs(Counts(sites, {"rest": 10}, 0, {}), GROUPS, True)


def table(one_branch=1.0, *, calls=1):
    """Made-up times: of the call 10 ms stale, and 5 and 85 for the modules; one branch of two."""
    rows = []
    for branches, part in ((1, one_branch), (2, 1.0)):
        for name, computed, stale in ((WHOLE, 100, 10), (MANY.name, 6, 1), (SLOW.name, 86, 1)):
            for state, value in ((COMPUTED, computed), (STALE, stale)):
                rows.append((name, branches, state, *[part * value] * 3, calls))
    return pd.DataFrame(rows, columns=list(times.COLUMNS))


def by_time(one_branch=1.0):
    return ByTime(table(one_branch), GROUPS, True)


def made_up_damages():
    """Every module does the same damage alone, and every window more the longer it is."""
    rows = [
        ("module", group.name, ".", step, 0.0, 1, 0, 1e-6)
        for group in GROUPS
        for step in range(STEPS)
    ]
    rows += [
        ("window", family, letter, first, 0.0, length, 0, 1e-4 * length)
        for family in ("all", f"all but {MANY.name}", f"all but {SLOW.name}")
        for letter in ".~"
        for first in range(1, STEPS)
        for length in range(1, STEPS - first + 1)
    ]
    rows += [("final", "", ".", 1, 0.0, length, 0, 1e-3) for length in (0, 1)]
    for step in range(1, STEPS):
        rows.append(("guidance", "", "c", step, 0.0, 1, 0, 1e-3))
        rows += [
            ("guidance", "", "d", step, 0.0, n, 0, 1e-4 * n) for n in range(1, STEPS - step + 1)
        ]
    return search.Damages(pd.DataFrame(rows, columns=list(calibrating.COLUMNS)), LEVELS)


def candidates(worth):
    return Candidates(
        None, None, [], [], GROUPS, LEVELS, by_macs(), True, 1, made_up_damages(),
        times=worth if isinstance(worth, ByTime) else None,
    )  # fmt: skip


def first_exception(worth):
    """The group of modules that a search lets be stale first where the others compute."""
    found = Search(candidates(worth), [], made_up_damages())
    tried = []
    found._faster(
        schedules.Schedule("####..", "b" * STEPS),
        lambda one: schedules.exceptions(one, [group.name for group in GROUPS]),
        lambda other: tried.append(other) or False,
        left=100,
    )
    ((name, _),) = tried[0].apart
    return name


def test_the_search_prefers_what_saves_time_over_what_saves_arithmetic():
    assert first_exception(by_macs()) == MANY.name
    assert first_exception(by_time()) == SLOW.name


def test_shares_are_of_what_is_saved():
    assert by_macs().shares == pytest.approx({MANY.name: 0.8, SLOW.name: 0.1})
    assert by_time().shares == pytest.approx({MANY.name: 0.05, SLOW.name: 0.85})


def test_guidance_is_kept_where_a_call_on_one_branch_takes_as_long_as_one_on_two():
    damages = made_up_damages()
    dropped = {
        name: {"".join(sorted({*schedule.guidance})) for schedule in search.promising(damages, {(): worth.price(())})}
        for name, worth in (("macs", by_macs()), ("as long", by_time()), ("half", by_time(0.5)))
    }  # fmt: skip
    assert dropped["as long"] == {"b"}
    assert "bd" in dropped["macs"] & dropped["half"]


def test_a_step_costs_what_is_stale_and_what_computes_beside_it():
    price = by_time(0.75).price(())
    assert price.computed == (1.0, 0.75)
    assert price.stale == pytest.approx((0.1, 0.075))
    assert by_time(0.75).price((MANY.name,)).stale == pytest.approx((0.15, 0.1125))


def test_the_speedup_of_a_plan_is_the_time_of_its_calls():
    found = candidates(by_time(0.75))
    assert found.speedup(schedules.Schedule("#" * STEPS, "b" * STEPS)) == pytest.approx(1.0)
    one = schedules.Schedule("##..##", "bbbccc", apart=((SLOW.name, "###.##"),))
    spent = 100 + 100 + 95 + 0.75 * (10 + 100 + 100)
    assert found.speedup(one) == pytest.approx(600 / spent)
    assert candidates(by_macs()).speedup(one) != pytest.approx(600 / spent)


def test_a_search_by_time_chooses_the_fastest_by_time():
    """Of two plans that keep to the budget, each is the faster one by its own count."""
    many = schedules.Schedule("#" * STEPS, "b" * STEPS, apart=((MANY.name, "##..##"),))
    slow = schedules.Schedule("#" * STEPS, "b" * STEPS, apart=((SLOW.name, "##..##"),))
    for worth, faster, other in ((by_macs(), many, slow), (by_time(), slow, many)):
        found = candidates(worth)
        assert found.speedup(faster) > found.speedup(other)


def test_times_of_another_model_are_refused():
    with pytest.raises(InputError, match="lack 'cross slow'"):
        ByTime(table()[lambda rows: rows["group"] != SLOW.name], GROUPS, True)


@pytest.fixture
def ticking():
    """A stopwatch of which every look takes a second."""
    clock = itertools.count()
    return Stopwatch(clock=lambda: float(next(clock)))


def test_every_group_is_timed_with_one_branch_and_two_computed_and_stale(sd, ticking):
    groups, found = groups_in(sd), calibration(sd)
    rows = []
    sd.unet.conv_in.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    steps = found.look()
    rows.clear()
    measured = times.measure_times(found, steps, groups, stopwatch=ticking)
    assert set(rows) == {1, 2}
    assert sum(measured[measured["group"] == WHOLE]["calls"]) == len(rows) - STEPS  # to warm up
    wide = measured.set_index(["group", "branches", "state"])["median"] / 1000
    assert set(wide.index) == {
        (name, branches, state)
        for name in (WHOLE, *(group.name for group in groups))
        for branches in (1, 2)
        for state in (COMPUTED, STALE)
    }
    for group in groups:  # a look before and one behind every module
        assert set(wide[group.name]) == {len(group.names)}
    assert set(wide[WHOLE]) == {1 + 2 * sum(len(group.names) for group in groups)}
    assert "forward" not in vars(sd.unet)
    assert not sd.unet.conv_in._forward_hooks


def test_groups_take_no_longer_than_the_call_that_they_are_part_of(sd):
    found = calibration(sd)
    measured = times.measure_times(found, found.look(), groups_in(sd), stopwatch=Stopwatch())
    assert (measured["low"] <= measured["median"]).all()
    assert (measured["median"] <= measured["high"]).all()
    for _, rows in measured.groupby(["branches", "state"]):
        low = rows.set_index("group")["low"]
        assert 0 < low.drop(WHOLE).sum() <= low[WHOLE]


def test_without_guidance_there_is_one_branch(ticking, tokenizer_folder):
    pipe = toys.lcm_sdxl(tokenizer_folder)
    found, groups = calibration(pipe), groups_in(pipe)
    steps = found.look()
    assert not steps.guided
    measured = times.measure_times(found, steps, groups, stopwatch=ticking)
    assert set(measured["branches"]) == {1}
    assert set(measured["state"]) == {COMPUTED, STALE}
    price = ByTime(measured, groups, False).price(())
    assert price.computed == (1.0, 1.0)
