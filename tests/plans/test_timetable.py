"""A plan that says of every module what it does when: its file, and other steps than its own."""

import json
import math
import random
from dataclasses import replace
from itertools import pairwise

import lettered
import pytest
import toys

from attnscope import Trace, accelerate
from attnscope.cost.counts import Counts, PartCost, SiteCost
from attnscope.cost.plans import cost_of
from attnscope.errors import InputError
from attnscope.models.schedulers import levels_of, set_scheduler
from attnscope.plans.base import Action
from attnscope.plans.parts import Alone
from attnscope.plans.text_form import Combined, find, parse
from attnscope.plans.timetable import Timetable, fresh, read
from attnscope.plans.trajectory import Trajectory, made
from attnscope.sites.attention import Site

LEVELS = (-4.0, -2.0, -1.0, 0.5, 1.0, 4.0)
TABLE = Timetable(
    LEVELS,
    (("resnet", "down.0", "##.#~."), ("cross", "mid.attn2", "#....."), ("self", "mid.attn1", "#~#~#~")),
    "bbbccc",
    (0.0, 0.0, 0.0, 1.0, 0.5, 0.25),
    about={"model": "toy", "found": {"by": "hand"}},
)  # fmt: skip


def acting(plan, name, kind="resnet"):
    letters = {Action.COMPUTE: "c", Action.STORE: "s", Action.REUSE: "r", Action.FORECAST: "f"}
    site = Site(name, kind, "down", 0)
    return "".join(letters[plan.action(site, step)] for step in range(plan.own_steps))


def test_a_row_says_what_its_module_does():
    assert acting(TABLE, "down.0") == "ssrsfr"
    assert acting(TABLE, "down.1") == "cccccc"
    assert TABLE.kinds == ("resnet", "cross", "self")
    assert TABLE.modules == ("down.0", "mid.attn2", "mid.attn1")
    trajectory = made(TABLE, 6)
    assert [len(trajectory.branches(step)) for step in range(6)] == [2, 2, 2, 1, 1, 1]
    assert trajectory.directions == (0, 0, 0, 1, 0.5, 0.25)
    assert trajectory.levels == LEVELS
    assert not trajectory.averages
    assert replace(TABLE, directions=()).direction(3) == 0


@pytest.mark.parametrize(
    "table",
    [
        TABLE,
        replace(TABLE, directions=(), about={}),
        replace(TABLE, rows=()),
        replace(TABLE, log_snr=(-math.inf, *LEVELS[1:])),
        replace(TABLE, log_snr=(-1 / 3, -0.1, 0.1, 0.1, 1e-9 + 0.1, 1e6)),
    ],
    ids=["whole", "without directions", "guidance alone", "pure noise", "odd levels"],
)
def test_a_file_reads_back_as_it_was_written(table, tmp_path):
    path = tmp_path / "plan.json"
    written = table.write(path)
    assert replace(written, source="") == table
    assert written.about == table.about
    assert read(path) == written == parse(str(path)) == find(str(path))
    assert parse(str(written)) == written
    assert str(parse(str(written))) == str(written)
    assert parse(f" {path} ") == written
    assert (tmp_path / "again.json").exists() is False
    again = written.write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()
    assert again.source != written.source


def test_a_digest_holds_a_file_to_what_it_was(tmp_path):
    path = tmp_path / "plan.json"
    written = TABLE.write(path)
    assert written.source == f"{path.as_posix()}@{str(written)[-8:]}"
    replace(TABLE, guidance="bbbbcc").write(path)
    with pytest.raises(InputError, match=r"is another plan by now: its digest is [0-9a-f]{8}, not"):
        parse(str(written))
    assert parse(str(path)).guidance == "bbbbcc"


@pytest.mark.parametrize("name", ["plan.json", "a+b.json", "m=3.json", "cross-reuse:m=3.json"])
def test_a_file_may_be_called_what_it_likes(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written = TABLE.write(tmp_path / name)
    assert replace(parse(name), source="") == replace(written, source="")
    assert parse(str(parse(name))) == parse(name)


def test_a_combined_plan_and_a_part_of_one_hold_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    replace(TABLE, guidance="bbbbbb", directions=()).write(tmp_path / "plan.json")
    for text in (
        "guidance-cutoff:m=3+plan.json",
        "plan.json+guidance-cutoff:m=3",
        f"guidance-cutoff:m=3+{tmp_path}/plan.json",
        "./plan.json+guidance-cutoff:m=-0.9nat",
    ):
        plan = parse(text)
        assert isinstance(plan, Combined)
        assert parse(str(plan)) == plan
        placed = made(plan, 6, levels=LEVELS)
        assert placed.guided_steps == 3
        assert acting(placed.plan, "down.0") == "ssrsfr"
        assert made(plan, 3, levels=LEVELS[::2]).plan.own_steps == 3
    part = Alone("plan.json", "cross")
    assert part.kinds == ("cross",)
    assert made(part, 3, levels=LEVELS[::2]).plan.own_steps == 3


@pytest.mark.parametrize("steps", [3, 12])
@pytest.mark.parametrize(
    "wrapped",
    [
        lambda table: table,
        lambda table: Alone(table, "cross"),
        lambda table: Combined((table, "null-text-late:m=2")),
    ],
    ids=["itself", "a part", "combined"],
)
def test_other_steps_of_unknown_levels_are_refused(wrapped, steps):
    plan = wrapped(TABLE)
    with pytest.raises(InputError, match=rf"was found at 6 steps, .* of these {steps} are not"):
        made(plan, steps)
    with pytest.raises(InputError, match="was found at 6 steps"):
        Trajectory(plan, steps)
    assert made(plan, 6).steps == 6
    assert made(plan, 3, levels=LEVELS[::2]).steps == 3


def table_of(file):
    return {
        "attnscope_plan": 1,
        "log_snr": [-1, 0, 1],
        "guidance": "bbc",
        "modules": {"resnet": {"down.0": "#.~"}},
    } | file


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ({"attnscope_plan": 3}, "is written as schema 3 of plans, and this attnscope reads 1 and 2"),
        ({"differences": 3}, "forecasts by differences 3: choose 1, along a line, or 2, along a parabola"),
        ({"differences": True}, "forecasts by differences True: choose 1"),
        ({"guidance": "bb"}, r"rows of \[2, 3\] steps for 3 noise levels"),
        ({"guidance": "bxc"}, "guidance has the letter 'x' \\(choose b c u\\)"),
        ({"modules": {"resnet": {"down.0": "#."}}}, r"rows of \[2, 3\] steps for 3"),
        ({"modules": {"resnet": {"down.0": "#r."}}}, "down.0 has the letter 'r'"),
        ({"modules": {"resnet": {"down.0": ".##"}}}, "down.0 reuses at its first step"),
        ({"modules": {"resnet": {"down.0": "~##"}}}, "down.0 reuses at its first step"),
        ({"modules": {"latent": {"x_t": "#.."}}}, "x_t is of no kind 'latent'"),
        ({"modules": {"block": {"mid.0": "#.."}, "cross": {"mid.0.attn2": "#.."}}},
         "names mid.0.attn2 and, around it, mid.0: name one"),
        ({"modules": {"block": {"mid.0": "#.."}, "resnet": {"mid.0": "#.#"}}}, "two rows of mid.0"),
        ({"directions": [0, 1]}, r"rows of \[2, 3\] steps"),
        ({"log_snr": [1, 0, 2]}, "noise levels that do not rise"),
        ({"log_snr": [0, math.nan, 2]}, "noise levels that do not rise"),
        ({"log_snr": [], "guidance": "", "modules": {}}, "noise levels that do not rise"),
        ({"log_snr": 5}, "is no whole plan: TypeError"),
        ({"log_snr": ["a", 0, 1]}, "is no whole plan: ValueError"),
        ({"modules": ["resnet"]}, "is no whole plan: AttributeError"),
        ({"directions": ["x"] * 3}, "is no whole plan: ValueError"),
    ],
)  # fmt: skip
def test_a_file_that_says_nonsense_is_refused_by_name(file, message, tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(table_of({})))
    assert read(path).own_steps == 3
    path.write_text(json.dumps(table_of(file)))
    with pytest.raises(InputError, match=message) as caught:
        parse(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["log_snr", "guidance", "modules"])
def test_a_file_that_lacks_something_is_refused(missing, tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({k: v for k, v in table_of({}).items() if k != missing}))
    with pytest.raises(InputError, match=f"is no whole plan: KeyError '{missing}'"):
        read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"m=10,k=5", "is no plan: it is not JSON"),
        (b"\xff\xfe", "is no plan: it is not JSON"),
        (b"[1, 2]", "is no plan: write one by attnscope tune"),
        (b'{"model": "sd15"}', "is no plan: write one by attnscope tune"),
    ],
)
def test_what_is_no_plan_is_refused(content, message, tmp_path):
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        parse(str(path))


def test_a_file_that_is_not_there_or_no_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the plan .*none\.json.*No such file"):
        parse(str(tmp_path / "none.json"))
    with pytest.raises(InputError, match=r"is no file of a plan: give one that ends in \.json"):
        read(tmp_path / "plan.yaml")
    (tmp_path / "plan.json").mkdir()
    with pytest.raises(InputError, match="cannot read the plan"):
        read(tmp_path / "plan.json")


def test_on_its_own_levels_it_is_itself():
    assert TABLE.placed(LEVELS) is TABLE
    assert TABLE.placed(None) is TABLE
    assert TABLE.placed(tuple(level + 1e-8 for level in LEVELS)) is TABLE
    near = tuple(level + 1e-3 for level in LEVELS)
    assert TABLE.placed(near) == replace(TABLE, log_snr=near)


def test_on_other_levels_every_step_does_as_the_one_of_its_noise_did():
    half = TABLE.placed(LEVELS[::2])
    assert (half.guidance, half.directions) == ("bbc", (0, 0, 0.5))
    assert half.rows[0][-1] == "###"  # it computed at -2 and at 0.5, which are passed here
    assert half.rows[1][-1] == "#.."
    double = TABLE.placed(tuple(-4 + step * 8 / 11 for step in range(12)))
    assert double.rows[0][-1] == "#.#...#~~..."
    assert double.rows[1][-1] == "#" + 11 * "."
    assert double.guidance == "bbbbbbcccccc"
    assert double.directions == (*6 * (0,), 1, 0.5, 0.5, *3 * (0.25,))


def tables(count):
    """Random tables, and random other levels in the same range."""
    numbers = random.Random(0)
    for _ in range(count):
        steps = numbers.randint(2, 30)
        levels = tuple(sorted(numbers.uniform(-8, 6) for _ in range(steps)))
        rows = tuple(
            ("resnet", f"m{i}", "#" + "".join(numbers.choices("#.~", (1, 3, 1), k=steps - 1)))
            for i in range(3)
        )
        guided = numbers.randint(1, steps)
        guidance = "b" * guided + numbers.choice("cu") * (steps - guided)
        others = numbers.choice((max(1, steps // 2), 2 * steps, numbers.randint(1, 60)))
        inside = [numbers.uniform(levels[0], levels[-1]) for _ in range(others)]
        yield Timetable(levels, rows, guidance), tuple(sorted(inside))


def ages(levels, letters):
    """How old the output of a module is at every step, in nats."""
    found, last = [], levels[0]
    for level, letter in zip(levels, letters, strict=True):
        last = level if letter == "#" else last
        found.append(level - last)
    return found


def test_outputs_are_no_older_than_where_it_was_found_but_for_one_step():
    for table, levels in tables(300):
        placed = table.placed(levels)
        assert placed.log_snr == levels
        length = max(after - before for before, after in pairwise(table.log_snr))
        for (*_, before), (*_, after) in zip(table.rows, placed.rows, strict=True):
            old = ages(table.log_snr, before)
            for level, age in zip(levels, ages(levels, after), strict=True):
                near = min(range(table.own_steps), key=lambda i: abs(table.log_snr[i] - level))
                assert age <= old[near] + length + 1e-9
            assert after.count("#") <= before.count("#") + 1  # the first of late starts
            assert after[0] == "#"


def test_guidance_is_that_of_the_nearest_noise():
    for table, levels in tables(100):
        for level, branches in zip(levels, table.placed(levels).guidance, strict=True):
            near = min(range(table.own_steps), key=lambda i: abs(table.log_snr[i] - level))
            assert branches == table.guidance[near]


@pytest.mark.parametrize("steps", range(2, 40))
def test_guidance_that_is_refreshed_with_modules_is_so_at_other_steps(steps):
    levels, rows = tuple(map(float, range(12))), (("resnet", "down.0", "#...#....#.."),)
    goes_on = (0, 1, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1)
    table = Timetable(levels, rows, "bcccbccccbcc", goes_on)
    placed = table.placed(tuple(11 * step / (steps - 1) for step in range(steps)))
    ((*_, letters),) = placed.rows
    for letter, branches, direction in zip(
        letters, placed.guidance, placed.directions, strict=True
    ):
        assert letter != "#" or branches == "b"
        assert branches == "b" or direction == 1
    assert letters.count("#") == min(3, steps)
    assert "c" in placed.guidance or steps < 4


@pytest.mark.parametrize(
    ("letters", "guidance", "found"),
    [
        ("#.#...", "bbcbbb", "#.##.."),
        ("#.#...", "bbccuu", "#.#.#."),
        ("#.#...", "bbbbcc", "#.#..."),  # of both it has either
        ("##~.~.", "cbbcbb", "##~.#."),  # at the step before, one is left
        ("#.~.~.", "cbbcbb", "##~.#."),
    ],
)
def test_a_module_computes_where_a_branch_comes_back(letters, guidance, found):
    assert fresh(letters, guidance) == found
    levels = tuple(map(float, range(6)))
    assert Timetable(levels, (("resnet", "down.0", found),), guidance).modules == ("down.0",)
    if letters != found:
        with pytest.raises(InputError, match="without the guidance branch that comes back there"):
            Timetable(levels, (("resnet", "down.0", letters),), guidance)


def test_a_run_that_begins_late_computes_first():
    late = TABLE.placed(LEVELS[3:])
    assert {letters[0] for *_, letters in late.rows} == {"#"}
    assert late.guidance == "bcc"  # which has no guidance to go on with
    padded = TABLE.placed((*LEVELS[3:], 4.0, 4.0, 4.0))
    assert padded.rows[1][-1] == "#....."


def test_a_run_that_begins_in_pure_noise_is_placed():
    levels = (-math.inf, *LEVELS[1:])
    for table in (TABLE, replace(TABLE, log_snr=levels)):
        assert [letters for *_, letters in table.placed(levels).rows] == [
            letters for *_, letters in TABLE.rows
        ]


@pytest.fixture
def plan_file(sd, tmp_path, monkeypatch):
    """A file of a plan for the toy, in the folder that is worked in."""
    monkeypatch.chdir(tmp_path)
    sd.scheduler.set_timesteps(6)
    rows = [("resnet", name, "##.#~.") for name in lettered.sites(sd, "resnet")]
    rows += [("cross", name, "#.#...") for name in lettered.sites(sd, "cross")]
    table = Timetable(levels_of(sd.scheduler), tuple(rows), "bbbccc", (0, 0, 0, 1, 1, 1))
    return table.write(tmp_path / "plan.json")


def test_a_pipeline_is_traced_and_accelerated_by_a_file(plan_file, sd):
    plain = toys.call(sd, steps=6)
    with Trace(sd, plan="plan.json") as trace:
        expected = toys.call(sd, steps=6)
    assert trace.runs[-1].guided_steps == 3
    calls = trace.calls().set_index("kind")
    count = {kind: len(lettered.sites(sd, kind)) for kind in ("resnet", "cross")}
    assert calls.loc["resnet"].tolist() == [n * count["resnet"] for n in (3, 2, 3)]
    assert calls.loc["cross"].tolist() == [n * count["cross"] for n in (2, 2, 4)]
    with accelerate(sd, "plan.json") as handle:
        assert (toys.call(sd, steps=6) == expected).all()
        assert str(parse(str(plan_file))) == str(plan_file)
        assert "plan.json" in repr(handle)
    with Trace(sd, plan=str(plan_file)):  # as settings have it
        assert (toys.call(sd, steps=6) == expected).all()
    assert (toys.call(sd, steps=6) == plain).all()


@pytest.mark.parametrize("scheduler", ["dpm", "euler", "ddim", "heun"])
@pytest.mark.parametrize("steps", [3, 6, 12, 25])
def test_a_file_is_carried_out_at_other_steps_and_by_other_schedulers(
    plan_file, sd, scheduler, steps
):
    set_scheduler(sd, scheduler)
    with Trace(sd, plan="plan.json") as trace:
        assert toys.call(sd, steps=steps).isfinite().all()
        placed = plan_file.placed(levels_of(sd.scheduler))
    assert trace.runs[-1].guided_steps == placed.guidance.count("b")
    reused = sum(letters.count(".") + letters.count("~") for *_, letters in placed.rows)
    assert trace.calls()["reused"].sum() == reused > 0


def test_a_scheduler_that_tells_nothing_takes_its_own_steps_alone(plan_file, sd, monkeypatch):
    monkeypatch.setattr("attnscope.hooks.trace.levels_of", lambda scheduler: None)
    with Trace(sd, plan="plan.json") as trace:
        toys.call(sd, steps=6)
        with pytest.raises(InputError, match=r"plan\.json@\w+ was found at 6 steps"):
            toys.call(sd, steps=7)
    assert trace.calls()["reused"].sum() > 0


def test_modules_that_a_model_lacks_are_refused(plan_file, tokenizer_folder):
    other = toys.pixart(tokenizer_folder)
    with pytest.raises(InputError, match=r"plan\.json@\w+ (names \d+ of \d+ modules|acts on)"):
        Trace(other, plan="plan.json")
    larger = toys.stable_diffusion(tokenizer_folder)
    odd = replace(plan_file, rows=(*plan_file.rows, ("self", "mid_block.odd.attn1", "#.....")))
    with pytest.raises(
        InputError, match=r"names 1 of \d+ modules that this UNet2DConditionModel.*'mid_block\.odd"
    ):
        Trace(larger, plan=odd)


def test_modules_that_were_not_counted_are_refused():
    counts = Counts(
        (SiteCost("mid.attn2", "cross", "", 0, 50, 20, 3, 10),
         SiteCost("mid.attn1", "self", "", 1, 50, 20, 3, 10)),
        {"rest": 100}, 9, {}, (PartCost("down.0", "resnet", "", 0, {"convolution": 60}, 5),),
    )  # fmt: skip
    assert cost_of(counts, TABLE, 6).speedup() > 1
    with pytest.raises(InputError, match=r"names 1 of 3 modules .* such as 'down\.0'"):
        cost_of(replace(counts, around=()), TABLE, 6)


def test_a_plan_that_forecasts_by_second_differences_is_written_as_what_older_versions_refuse(
    tmp_path,
):
    plan = replace(TABLE, differences=2).write(tmp_path / "plan.json")
    said = json.loads((tmp_path / "plan.json").read_text())
    assert (said["attnscope_plan"], said["differences"]) == (2, 2)
    assert plan.differences == read(tmp_path / "plan.json").differences == 2
    assert plan.placed(tuple(level + 0.01 for level in plan.log_snr)).differences == 2
    TABLE.write(tmp_path / "plan.json")
    said = json.loads((tmp_path / "plan.json").read_text())
    assert said["attnscope_plan"] == 1
    assert "differences" not in said
