"""A plan of one's own is carried out by its module and its class, from the command line."""

import json
import sys

import pytest

from attnscope.errors import InputError
from attnscope.plans.base import PLANS
from attnscope.plans.text_form import find, parse

OWN = """
from dataclasses import dataclass
from typing import Annotated

from attnscope import Action, Plan
from attnscope.plans.options import Option


@dataclass(frozen=True)
class EveryOther(Plan):
    gate: int = 2
    stride: Annotated[int, Option("s", least=2)] = 2

    def action(self, site, step):
        return Action.STORE if step < self.gate or step % self.stride == 0 else Action.REUSE


@dataclass(frozen=True)
class Tabled(Plan):
    table: tuple = ()


class NoPlan:
    pass
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "my_plans.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield "my_plans"
    sys.modules.pop("my_plans", None)
    for name in [name for name in PLANS if ":" in name]:
        del PLANS[name]


def test_a_plan_of_a_module_has_a_text_form_once_it_was_found(module, monkeypatch):
    monkeypatch.syspath_prepend(".")
    with pytest.raises(InputError, match="no such plan: 'my_plans'"):
        parse("my_plans:EveryOther")
    plan = find("my_plans:EveryOther")
    assert str(plan) == "my_plans:EveryOther:m=2,s=2"
    assert parse(str(plan)) == plan == find(str(plan))
    assert find("my_plans:EveryOther:s=3,m=1") == type(plan)(1, 3)
    assert str(parse("my_plans:EveryOther+guidance-cutoff:m=3")).startswith(
        "my_plans:EveryOther:m=2"
    )
    for text in (
        "my_plans:EveryOther+guidance-cutoff:m=3",
        "guidance-cutoff:m=3+my_plans:EveryOther",
    ):
        assert {type(part).__name__ for part in find(text).plans} == {
            "EveryOther",
            "GuidanceCutoff",
        }
    with pytest.raises(InputError, match=r"s \(stride\)=1 is no whole number from 2"):
        find("my_plans:EveryOther:s=1")
    with pytest.raises(
        InputError, match=r"'q=1' .* is no option of my_plans:EveryOther: choose from m"
    ):
        find("my_plans:EveryOther:q=1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no_such_module:Plan", "no module 'no_such_module' that can be imported"),
        ("my_plans:Missing", "module 'my_plans' has no 'Missing'"),
        ("my_plans:NoPlan", "is no dataclass derived from attnscope.Plan"),
        ("my_plans:Tabled", "the field 'table', which no text can say"),
        ("cross-reus:m=5", "no such plan: 'cross-reus'"),
    ],
)
def test_what_is_no_plan_is_refused_in_one_line(module, attnscope, text, said):
    code, out, err = attnscope("plan", "--plan", text)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_a_plan_of_a_module_is_shown_counted_and_carried_out(module, attnscope, folder, tmp_path):
    own = ["--plan", "my_plans:EveryOther:s=3"]
    code, out, _ = attnscope("plan", *own, "--steps", 6)
    assert code == 0
    assert "my_plans:EveryOther:m=2,s=3" in out
    run = tmp_path / "run"
    command = ["generate", "a circle", "--model", folder, *own, "--steps", 6, "--height", 32,
               "--out", run, "--json"]  # fmt: skip
    code, out, _ = attnscope(*command)
    assert code == 0
    found = json.loads(out)
    assert found["plan"] == "my_plans:EveryOther:m=2,s=3"
    assert {row["kind"]: row["reused"] for row in found["calls"]} == {"cross": 3 * 4, "self": 3 * 4}
