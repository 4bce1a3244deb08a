"""Plans at their edges: what deliberate faults in plans got past the other tests."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass
from typing import ClassVar

import pytest

from attnscope.errors import InputError
from attnscope.plans.base import Action, Baseline, Plan
from attnscope.plans.guidance import GuidanceCutoff
from attnscope.plans.null_text import NullTextEarly
from attnscope.plans.reuse import CrossReuse, SelfReuseEarly, TGate
from attnscope.plans.text_form import Combined, parse


class Site:
    def __init__(self, kind):
        self.kind = kind


def letters(plan, steps, kind):
    """c(ompute), s(tore) or r(euse) at every step."""
    return "".join(action.value[0] for action in plan.over(steps).actions(Site(kind)))


def test_a_plan_answers_for_single_steps_as_its_table_says():
    plan = TGate(6, 2, warmup=1, late_interval=2)
    asked = {
        kind: "".join(plan.action(Site(kind), step).value[0] for step in range(10))
        for kind in ("self", "cross")
    }
    assert asked == {"self": "cssrsssrsr", "cross": "cccccsrrrr"}


def test_left_to_itself_tgate_computes_self_attention_always():
    assert letters(TGate(8), 12, "self") == "c" * 12
    assert letters(TGate(8), 12, "cross") == "ccccccc" + "s" + "rrrr"


def test_left_to_itself_early_reuse_warms_up_for_two_steps_as_tgate_does():
    assert letters(SelfReuseEarly(8, 5), 10, "self") == "ccsrrsrccc"
    assert SelfReuseEarly(8, 5).warmup == TGate(8, 5).warmup


def test_one_step_is_a_number_of_steps():
    assert letters(Baseline(), 1, "self") == "c"
    assert letters(TGate(1), 1, "cross") == "c"
    assert TGate(1).over(1).guided_steps == 1


@pytest.mark.parametrize(
    ("plan", "drops"),
    [(TGate(2), True), (TGate(4), False), (CrossReuse(2), False), (Baseline(), False)],
    ids=str,
)
def test_a_trajectory_knows_whether_it_ever_drops_a_branch(plan, drops):
    trajectory = plan.over(4)
    assert trajectory.drops is drops
    assert trajectory.drops == any(len(trajectory.branches(step)) == 1 for step in range(4))


def test_no_run_has_more_than_a_thousand_steps():
    assert GuidanceCutoff(999).ever_drops()  # at the last of 1000
    assert not GuidanceCutoff(1000).ever_drops()
    assert parse("null-text-late:m=999").ever_reads_null()
    assert not parse("null-text-late:m=1000").ever_reads_null()


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("cross-reuse:m=2+null-text-late:m=3", ["prompt"] * 3 + ["null"] * 2),
        ("null-text-early:m=1+guidance-cutoff:m=4", ["null"] + ["prompt"] * 4),
        ("cross-reuse:m=2+self-reuse-late:m=3,k=2", ["prompt"] * 5),
    ],
)
def test_combined_plans_read_what_the_one_says_that_replaces_the_text(text, read):
    trajectory = parse(text).over(5)
    assert [trajectory.text(step) for step in range(5)] == read
    assert trajectory.reads_null == ("null" in read)


@pytest.mark.parametrize("text", ["cross-reuse:m=3+self-reuse-late:m=8,k=2", "null-text-late:m=8+cross-reuse:m=3"])  # fmt: skip
def test_combined_plans_are_refused_where_any_gate_lies_beyond_the_last_step(text):
    assert parse(text).over(8)
    with pytest.raises(InputError, match="m=8, but there are 5 steps"):
        parse(text).over(5)


def test_plans_are_combined_from_texts_as_from_plans():
    texts = Combined(("cross-reuse:m=3", "guidance-cutoff:m=4"))
    assert texts == Combined((CrossReuse(3), GuidanceCutoff(4)))
    assert str(texts) == "cross-reuse:m=3+guidance-cutoff:m=4,keep=cond"


@pytest.mark.parametrize("plans", [(), (CrossReuse(2),)], ids=["none", "one"])
def test_fewer_than_two_plans_are_no_combination(plans):
    with pytest.raises(InputError, match="needs two plans or more"):
        Combined(plans)


@pytest.mark.parametrize("wrong", [3, None, ["m=3"], TGate])
def test_what_is_neither_text_nor_plan_is_refused(wrong):
    with pytest.raises(InputError, match="is no plan: give a text"):
        parse(wrong)


def test_a_late_interval_of_none_is_refused():
    with pytest.raises(InputError, match=r"f \(late_interval\)=0 is no whole number from 1"):
        TGate(3, late_interval=0)


def test_no_plan_has_a_gate_before_the_first_step():
    with pytest.raises(InputError, match=r"m \(gate\)=-1 is no whole number from 0"):
        NullTextEarly(-1)


def test_options_that_stand_after_fields_of_ones_own_are_checked_too():
    @dataclass(frozen=True)
    class Own(Plan):
        sites: tuple[str, ...]
        keep: str
        gate: int

    assert Own(("a",), "cond", 1).gate == 1
    with pytest.raises(InputError, match="keep='both': choose"):
        Own(("a",), "both", 1)
    with pytest.raises(InputError, match=r"m \(gate\)=0 is no whole number"):
        Own(("a",), "cond", 0)


@pytest.mark.parametrize(
    ("plan", "branches"),
    [
        (TGate(2), ["both", "both", "one"]),
        (GuidanceCutoff(1), ["both", "cond", "cond"]),
        (GuidanceCutoff(1, "uncond"), ["both", "uncond", "uncond"]),
        (CrossReuse(1), ["both", "both", "both"]),
    ],
    ids=str,
)
def test_the_table_names_the_branches_of_every_step(plan, branches):
    table = plan.over(3).table()
    assert list(table["what"][table["row"] == "branches"]) == branches
    assert list(table["step"][table["row"] == "branches"]) == [0, 1, 2]
    assert list(table.index) == list(range(len(table)))


def test_the_table_shows_what_sites_of_each_kind_do():
    table = TGate(2).over(3).table()
    assert list(table["what"][table["row"] == "cross"]) == ["compute", "store", "reuse"]
    assert list(table["what"][table["row"] == "self"]) == ["compute"] * 3


@pytest.mark.parametrize("made", [TGate(3), TGate(3).over(5)], ids=["plan", "trajectory"])
def test_what_was_decided_cannot_be_changed(made):
    with pytest.raises(FrozenInstanceError):
        made.steps = 9


class Tabled(Plan):
    """Answers by a table, which may end before the run does."""

    tables: ClassVar[dict[str, list]] = {}

    def action(self, site, step):
        return self.tables.get("action", [Action.COMPUTE] * 9)[step]

    def keeps(self, step):
        return self.tables.get("keeps", ["both"] * 9)[step]

    def text(self, step):
        return self.tables.get("text", ["prompt"] * 9)[step]


def tabled(**tables):
    return type("Tabled", (Tabled,), {"tables": tables})()


@pytest.mark.parametrize(
    ("method", "answers"),
    [("action", [Action.COMPUTE] * 2), ("keeps", ["both"] * 2), ("text", ["prompt"] * 2)],
)
@pytest.mark.parametrize("answered", [0, 2])
def test_a_table_that_ends_before_the_run_is_named_with_its_method(method, answers, answered):
    plan = tabled(**{method: answers[:answered]})
    where = f"cross-attention at step {answered}" if method == "action" else f"step {answered}"
    message = rf"^Tabled\.{method} has no answer for {where} \(IndexError.*: this run has 4 steps$"
    with pytest.raises(InputError, match=message):
        plan.over(4).actions(Site("cross"))


def test_a_table_does_not_do_what_it_does_not_say():
    assert tabled(keeps=["both", "cond"]).ever_drops()
    assert not tabled(keeps=["both", "both"]).ever_drops()
    assert tabled(text=["prompt", "null"]).ever_reads_null()
    assert not tabled(text=["prompt"]).ever_reads_null()


def test_a_table_that_says_nothing_does_nothing():
    assert not tabled(keeps=[]).ever_drops()
    assert not tabled(text=[]).ever_reads_null()


def test_a_combined_plan_is_named_by_its_parts():
    plan = Combined((tabled(keeps=["both", "all"]), NullTextEarly(1)))
    with pytest.raises(InputError, match=r"^Tabled\+null-text-early:m=1\.keeps answers 'all' at"):
        plan.over(2)


def test_a_plan_around_a_plan_is_named_by_what_it_is_made_of():
    @dataclass(frozen=True)
    class Around(Plan):
        plan: Plan

        def text(self, step):
            return "nothing"

    with pytest.raises(InputError, match=r"^Around:plan=baseline\.text answers 'nothing' at step"):
        Around(Baseline()).over(2)
