import itertools
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from attnscope.analyses.tuning import budget, calibration, schedules, search
from attnscope.analyses.tuning.cheapest import cheapest_schedules
from attnscope.analyses.tuning.outcome import by_hand
from attnscope.analyses.tuning.refinement import Search
from attnscope.plans.timetable import fresh as computing

STEPS = 6
LEVELS = np.linspace(-8, 4, STEPS)
PRICE = schedules.Price((1, 0.5), (0.1, 0.05))
WORTHS = (0.1, 1.0, 3.0, 10.0, 100.0, 1000.0)


def damages(seed, guided=True):
    """Damages that anything may have, but that windows do more the longer they are."""
    random = np.random.default_rng(seed)
    rows = []

    def drawn(low, high):
        return float(10 ** random.uniform(low, high))

    def window(what, group, letter, step):
        damage = 0.0
        for length in range(1, STEPS - step + 1):
            damage += drawn(-6, -2)
            rows.append((what, group, letter, step, 0.0, length, 0, damage))

    for step in range(1, STEPS):
        for family in ("all", "all but x"):
            window("window", family, ".", step)
            if step > 1:
                window("window", family, "~", step)
        rows += [("final", "", ".", step, 0.0, 1, 0, 1e-3), ("final", "", ".", step, 0.0, 0, 0, drawn(-4, -2))]  # fmt: skip
        if guided:
            window("guidance", "", "d", step)
    if guided:
        rows += [("guidance", "", "c", step, 0.0, 1, 0, drawn(-5, -1)) for step in range(STEPS)]
    return search.Damages(pd.DataFrame(rows, columns=list(calibration.COLUMNS)), LEVELS)


def is_one_way(letters, guidance):
    """Whether what lies between steps that compute is done in one way, and guidance comes back at these."""
    stale = [step for step in range(1, STEPS) if letters[step] != "#"]
    return (
        not any(pair in letters for pair in (".~", "~."))
        and all(guidance[step] == guidance[step - 1] or letters[step - 1] == "#" for step in stale)
        and all({guidance[step - 1], guidance[step]} != {"c", "d"} for step in stale)
        and computing(letters, guidance.replace("d", "c")) == letters
    )


def all_schedules(guided=True, fresh=()):
    for rest in itertools.product("#.~", repeat=STEPS - 1):
        for after in itertools.product("bcd" if guided else "b", repeat=STEPS - 1):
            letters, guidance = "#" + "".join(rest), "b" + "".join(after)
            if is_one_way(letters, guidance):
                yield schedules.Schedule(letters, guidance, fresh)


@pytest.mark.parametrize(("guided", "fresh"), [(True, ()), (True, ("x",)), (False, ())])
@pytest.mark.parametrize("seed", range(3))
def test_dynamic_programming_finds_what_trying_all_finds(seed, guided, fresh):
    found = damages(seed, guided)

    def spent(schedule, worth):
        lost = sum(found._windows(schedule)) + found.guidance(schedule)
        return PRICE.of(schedule) + worth * lost

    tried = list(all_schedules(guided, fresh))
    cheapest = cheapest_schedules(found, PRICE, WORTHS, fresh)
    for worth, schedule in zip(WORTHS, cheapest, strict=True):
        least = min(spent(one, worth) for one in tried)
        assert spent(schedule, worth) == pytest.approx(least), worth
        assert is_one_way(schedule.letters, schedule.guidance)


def test_guidance_comes_back_where_that_is_worth_it():
    """Going on for long is dear, for a step or two it is not; all else is dear, too."""
    found = damages(0)
    found._mean = {key: 1.0 if key[0] == "window" else value for key, value in found._mean.items()}
    for step in range(1, STEPS):
        for length in range(1, STEPS - step + 1):
            found._mean["guidance", "", "d", step, length] = 1e-12 if length < 3 else 1.0
        found._mean["guidance", "", "c", step, 1] = 1.0
    (schedule,) = cheapest_schedules(found, PRICE, [5.0])
    assert schedule.letters == "#" * STEPS
    assert schedule.guidance in ("bddbdd", "bddbdb", "bdbddb")


def test_guidance_that_goes_on_beside_stale_modules_does_no_damage_of_its_own():
    found = damages(0)
    assert found.guidance(schedules.Schedule("#..#..", "bddbdd")) == 0
    assert found.guidance(schedules.Schedule("#..#..", "bbbbbb")) == 0
    left = found.guidance(schedules.Schedule("#..#..", "bddddd"))
    assert left == pytest.approx(max(0, found._going("d", 1, 6) - found._going("d", 1, 3)))
    dropped = found.guidance(schedules.Schedule("#..#..", "bddccc"))
    assert dropped == pytest.approx(sum(found._going("c", step, step + 1) for step in (3, 4, 5)))
    moves_on = schedules.Schedule("#..#..", "bddbdd", ("x",))  # the conditional branch does, by x
    apart = found._going("d", 1, 3) + found._going("d", 4, 6)
    assert found.guidance(moves_on) == pytest.approx(apart)
    assert apart > 0


def test_what_is_promising_is_dearer_the_better_it_is():
    found = search.promising(damages(0), {(): PRICE})
    assert len(found) >= 5
    costs = [PRICE.of(schedule) for schedule in found]
    lost = [damages(0).of(schedule) for schedule in found]
    assert costs == sorted(costs)
    assert lost == sorted(lost, reverse=True)
    assert found == search.promising(damages(0), {(): PRICE})


SCHEDULES = [
    ("##.#.~", "bbbccc"),
    ("##.#.~", "b" * STEPS),
    ("##.#.#", "bbbddb"),
    ("#.#.#.", "bbdddd"),
]


@pytest.mark.parametrize(("letters", "guidance"), SCHEDULES)
def test_moves_cost_less_and_shifts_have_as_many_refreshes(letters, guidance):
    schedule = schedules.Schedule(letters, guidance)
    moves, shifts = dict(schedules.moves(schedule)), dict(schedules.shifts(schedule))
    assert moves
    assert shifts
    for name, other in moves.items():
        assert PRICE.of(other) < PRICE.of(schedule), name
    for name, other in shifts.items():
        assert len(other.refreshes) == len(schedule.refreshes), name
        assert other != schedule
    for name, other in (moves | shifts).items():
        assert computing(other.letters, other.branches) == other.letters, name
        assert "d" not in other.guidance.partition("b")[0], name


def test_guidance_may_leave_any_refresh_and_move_to_another():
    every = schedules.Schedule("##.##.", "bbbbbb")
    left = {other.guidance for _, other in schedules.moves(every)}
    assert {"bddbbb", "bbdbbb", "bbbdbb", "bbbbdd", "bbbbbd", "bbbddd", "bddddd"} <= left
    one = schedules.Schedule("##.##.", "bddbdd")
    moved = {other.guidance for _, other in schedules.shifts(one)}
    assert {"bbdddd", "bdddbd"} <= moved


def test_exceptions_leave_out_one_refresh_of_a_group():
    schedule = schedules.Schedule("##.#.~", "b" * STEPS)
    for name, other in schedules.exceptions(schedule, ["resnet down_blocks.0"]):
        ((group, letters),) = other.apart
        assert group == "resnet down_blocks.0"
        assert letters.count("#") == schedule.letters.count("#") - 1, name


@dataclass
class Made:
    """Measures schedules by what they lose, and, like other captions, by somewhat more."""

    loss: float = 0.1
    groups: tuple = ()
    asked: list = field(default_factory=list)

    def speedup(self, schedule):
        return STEPS / PRICE.of(schedule)

    def measure(self, schedule):
        if schedule not in self.asked:
            self.asked.append(schedule)
        saved = 1 - PRICE.of(schedule) / STEPS
        return {"ssim": 1 - self.loss * saved, "ssim_error": 0.0}

    def margin(self, schedule, wanted):
        row = self.measure(schedule)
        return wanted.margin(row["ssim"], row["ssim_error"])

    def within(self, wanted):
        return [schedule for schedule in self.asked if self.margin(schedule, wanted) >= 0]

    @property
    def count(self):
        return len(self.asked)


def searched(confirming, bound=0.95, most=40):
    found = damages(0)
    listed = search.promising(found, {(): PRICE})
    here = Made()
    looked = Search(here, listed, found, most, confirming)
    return looked.within(budget.parse(f"ssim>={bound}")), here


def test_a_plan_has_to_keep_to_its_budget_on_other_captions_too():
    wanted = budget.parse("ssim>=0.95")
    alone, here = searched(None)
    there = Made(loss=0.15)
    assert here.margin(alone, wanted) >= 0 > there.margin(alone, wanted)
    found, here = searched(there)
    assert there.margin(found, wanted) >= 0
    assert 1 < here.speedup(found) < here.speedup(alone)
    kept = [one for one in there.asked if there.margin(one, wanted) >= 0]
    assert kept == [found]  # the fastest come first


def test_no_plan_is_taken_that_others_refute():
    there = Made(loss=1e6)
    assert searched(there)[0] is None
    assert there.asked
    assert searched(Made(loss=0.0))[0] == searched(None)[0]


@pytest.mark.parametrize(("ssim", "told"), [(0.5, True), (0.999, False)])
def test_a_schedule_set_by_hand_that_is_better_than_a_plan_is_told(tmp_path, ssim, told):
    measured = {"ideal": 2.0, "ssim": 0.9}
    written, said = [], []
    candidates = SimpleNamespace(
        levels=LEVELS, guided=True, damages=damages(0), measure=lambda one: measured,
        plan=lambda one, found: SimpleNamespace(write=written.append),
    )  # fmt: skip
    rows = [{"file": "plan.json", "ideal": 2.0, "ssim": ssim}]
    run, progress = SimpleNamespace(path=tmp_path), SimpleNamespace(say=said.append)
    by_hand(run, candidates, PRICE, rows, progress)
    assert written == [tmp_path / "uniform.json"]
    assert bool(said) == told
    assert all("as fast as plan.json and nearer: SSIM 0.9000 and 0.5000" in line for line in said)
