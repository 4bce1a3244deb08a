import subprocess
import sys
from dataclasses import dataclass

import pytest

from attnscope.errors import InputError
from attnscope.plans.base import Action, Baseline, Plan
from attnscope.plans.guidance import GuidanceCutoff
from attnscope.plans.null_text import NullTextEarly, NullTextLate
from attnscope.plans.reuse import CrossReuse, SelfReuseEarly, SelfReuseLate, TGate
from attnscope.plans.text_form import PLANS, Combined, parse


class Site:
    def __init__(self, kind):
        self.kind = kind


def letters(plan, steps, kind):
    """c(ompute), s(tore) or r(euse) at every step."""
    return "".join(action.value[0] for action in plan.over(steps).actions(Site(kind)))


@pytest.mark.parametrize(
    ("plan", "self_attention", "cross_attention"),
    [
        (TGate(10, 5), "ccsrrsrrrccccccccc", "cccccccccsrrrrrrrr"),
        (TGate(6, 3, warmup=1, late_interval=2), "csrsrcsrsr", "cccccsrrrr"),
        (TGate(8, 3, warmup=0, late_interval=3), "srrsrrcsrsrrsr", "cccccccsrrrrrr"),
        (TGate(3, 2), "cccccc", "ccsrrr"),  # m - 1 <= w: nothing is reused before the gate
        (TGate(1), "cccc", "srrr"),
        (TGate(4), "cccc", "cccc"),  # what no later step reuses is not stored
        (CrossReuse(2), "ccccc", "csrrr"),
        (SelfReuseEarly(7, 3, warmup=1), "csrsrrccc", "ccccccccc"),
        (SelfReuseLate(2, 3), "ccsrrsrr", "cccccccc"),
        (GuidanceCutoff(2), "cccc", "cccc"),
        (NullTextLate(2), "cccc", "cccc"),
    ],
    ids=str,
)
def test_what_sites_do(plan, self_attention, cross_attention):
    steps = len(self_attention)
    assert letters(plan, steps, "self") == self_attention
    assert letters(plan, steps, "cross") == cross_attention
    assert letters(plan, steps, "joint") == "c" * steps


def test_which_branches_run():
    assert [len(TGate(2).over(4).branches(step)) for step in range(4)] == [2, 2, 1, 1]
    assert TGate(2).over(4).branches(3) == ("uncond",)
    assert TGate(2).over(4, kept="cond").branches(3) == ("cond",)
    assert GuidanceCutoff(2).over(4).branches(3) == ("cond",)
    assert GuidanceCutoff(2, "uncond").over(4, kept="cond").branches(3) == ("uncond",)
    assert CrossReuse(2).over(4).guided_steps == 4
    assert TGate(3).over(8).guided_steps == 3


def test_the_parts_of_tgate_together_are_tgate():
    parts = parse("guidance-cutoff:m=6,keep=uncond+cross-reuse:m=6+self-reuse-early:m=6,k=3,w=1")
    ours, whole = parts.over(10), TGate(6, 3, warmup=1).over(10)
    for kind in ("self", "cross", "joint"):
        assert ours.actions(Site(kind)) == whole.actions(Site(kind))
    assert [ours.branches(step) for step in range(10)] == [
        whole.branches(step) for step in range(10)
    ]
    with pytest.raises(InputError, match="m=6, but there are 5 steps"):
        parts.over(5)


@pytest.mark.parametrize(
    ("text", "matter"),
    [
        ("m=4+self-reuse-late:m=4,k=2", "self-attention"),
        ("guidance-cutoff:m=3+m=8", "guidance"),
        ("null-text-late:m=3+null-text-early:m=2", "the text"),
    ],
)
def test_plans_that_would_contradict_each_other_are_not_combined(text, matter):
    with pytest.raises(InputError, match=f"cannot be combined: each acts on .*{matter}"):
        parse(text)


def test_what_is_stored_is_let_go_after_its_last_reuse():
    assert TGate(6, 3, warmup=0).over(10).last_reuses(Site("self")) == {2, 4}
    assert TGate(6, 3, warmup=0).over(10).last_reuses(Site("cross")) == {9}
    assert Baseline().over(3).last_reuses(Site("self")) == frozenset()


@dataclass(frozen=True)
class Own(Plan):
    gates: tuple[int, ...] = (1, 2)
    late_gate: int = 3


def test_a_plan_of_ones_own_has_fields_of_its_own():
    assert str(Own()) == "Own:gates=(1, 2),late_gate=3"
    assert Own().over(4).guided_steps == 4


def test_what_is_read():
    assert [NullTextLate(2).over(4).text(step) for step in range(4)] == ["prompt"] * 2 + [
        "null"
    ] * 2
    assert [NullTextEarly(1).over(3).text(step) for step in range(3)] == ["null"] + ["prompt"] * 2
    assert not NullTextEarly(0).over(3).reads_null


def test_the_table_has_a_row_for_a_word_to_which_attention_is_scaled_with_its_factor():
    class Mine(Plan):
        def weights(self, step):
            return [{}, {"red circle": 0}, {"red circle": 0}, {"blue": 2, "red circle": 2}, {}][
                step
            ]

    table = Mine().over(5).table()
    rows = dict(list(table.groupby("row", sort=False)))
    assert list(rows) == [
        "self",
        "cross",
        "branches",
        "attention to red circle",
        "attention to blue",
    ]
    red, blue = rows["attention to red circle"], rows["attention to blue"]
    assert list(red["what"]) == ["unscaled", "removed", "removed", "more", "unscaled"]
    assert list(red["factor"]) == [1, 0, 0, 2, 1]
    assert list(blue["what"]) == ["unscaled"] * 3 + ["more", "unscaled"]
    assert rows["self"]["factor"].isna().all()
    half = parse("reweight:words=red,factor=0.5").over(2).table()
    assert list(half.loc[half["factor"].notna(), "what"]) == ["less", "less"]
    assert "factor" not in parse("m=3,k=1").over(5).table()


def test_the_table_has_a_row_for_the_text_only_if_it_changes():
    assert set(TGate(2).over(4).table()["row"]) == {"self", "cross", "branches"}
    assert set(NullTextLate(2).over(4).table()["row"]) == {"self", "cross", "branches", "text"}


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("m=10,k=5", TGate(10, 5)),
        ("m=10, k=5 ,w=3,f=2", TGate(10, 5, 3, 2)),
        ("gate=10,interval=5", TGate(10, 5)),
        ("tgate:m=3", TGate(3)),
        ("baseline", Baseline()),
        ("guidance-cutoff:m=5,keep=uncond", GuidanceCutoff(5, "uncond")),
        ("self-reuse-late:k=3,m=5", SelfReuseLate(5, 3)),
        ("null-text-early:m=0", NullTextEarly(0)),
        ("cross-reuse:m=3+self-reuse-late:m=4,k=2", Combined((CrossReuse(3), SelfReuseLate(4, 2)))),
    ],
)
def test_the_text_form(text, plan):
    assert parse(text) == plan
    assert parse(str(plan)) == plan
    assert parse(plan) is plan


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("m=0", r"m \(gate\)=0 is no whole number from 1"),
        ("m=-2", "from 1"),
        ("m=10,k=0", r"k \(interval\)=0"),
        ("m=10,w=-1", r"w \(warmup\)=-1 is no whole number from 0"),
        ("m=10,q=3", r"'q=3'.*choose from m \(gate\), k \(interval\), w \(warmup\), f"),
        ("m=ten", "'ten' is no whole number"),
        ("m=2.5", "'2.5' is no whole number"),
        ("m=2;k=2", "'2;k=2' is no whole number: values are parted by commas, as in m=10,k=5"),
        ("k=5", r"lacks m \(gate\)"),
        ("m=1,gate=2", "given twice"),
        ("teacache:m=3", f"no such plan: 'teacache'.*{', '.join(PLANS)}"),
        ("10", "no such plan"),
        ("", "no such plan"),
        ("baseline:m=1", "it takes none"),
        ("guidance-cutoff:m=3,keep=both", "choose cond, uncond or model's"),
        ("null-text-late:m=0", "from 1"),
        ("m=3+", r"'3\+' is no whole number"),
        ("m=+3", "no whole number"),
        ("m=--5", "no whole number"),
    ],
)
def test_what_is_wrong_is_named(text, message):
    with pytest.raises(InputError, match=message):
        parse(text)


@pytest.mark.parametrize("value", [0, -1, 2.5, "3", True, None])
def test_a_gate_is_a_whole_number_from_one_on(value):
    with pytest.raises(InputError, match="gate"):
        TGate(value)


def test_a_gate_past_the_last_step_is_refused_with_what_is_allowed():
    with pytest.raises(InputError, match=r"m=10, but there are 8 steps \(choose m from 1 to 8\)"):
        TGate(10).over(8)
    with pytest.raises(InputError, match="no number of steps"):
        TGate(1).over(0)


def test_reusing_what_was_never_stored_is_refused():
    class Hasty(Plan):
        def action(self, site, step):
            return Action.REUSE

    with pytest.raises(InputError, match="before it stored any"):
        Hasty().over(4).actions(Site("cross"))


def test_plans_are_read_without_torch():
    code = "import sys, attnscope.plans.text_form as p; p.parse('m=3').over(5); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
