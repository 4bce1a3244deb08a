"""A plan of one's own that answers something else than it may: said everywhere in the same words."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import toys
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)

import attnscope
from attnscope import Action, Plan, Trace, find_sites
from attnscope.cost.counts import Counts, SiteCost
from attnscope.cost.plans import attribution, cost_of, savings
from attnscope.errors import InputError
from attnscope.plans.null_text import NullTextLate
from attnscope.plans.parts import Alone
from attnscope.plans.reuse import CrossReuse, TGate
from attnscope.plans.text_form import Combined
from attnscope.plans.trajectory import Trajectory, made

COUNTS = Counts(
    sites=tuple(
        SiteCost(f"blocks.{i}.attn{i}", kind, "blocks", i, 50, 20, 3, 10)
        for i, kind in enumerate(("self", "cross"))
    ),
    elsewhere={"rest": 100},
    parameters=9,
    modules={},
)


@pytest.fixture
def sd(tokenizer_folder):
    return toys.stable_diffusion(tokenizer_folder)


def answering(*, action=Action.COMPUTE, keeps="both", text="prompt", from_step=3):
    """A plan that answers as it should, and something else from a step on."""

    class Own(Plan):
        def action(self, site, step):
            return action if step >= from_step and site.kind == "cross" else Action.COMPUTE

        def keeps(self, step):
            return keeps if step >= from_step else "both"

        def text(self, step):
            return text if step >= from_step else "prompt"

    return Own()


def everywhere(pipe, plan):
    """What carries a plan out, counts it and shows it; each takes six steps."""

    def trace():
        with Trace(pipe, plan=plan):
            toys.call(pipe, steps=6)

    return {
        "Trace": trace,
        "accelerate": lambda: accelerated(pipe, plan),
        "cost_of": lambda: cost_of(COUNTS, plan, 6),
        "cost without guidance": lambda: cost_of(COUNTS, plan, 6, guided=False),
        "made": lambda: made(plan, 6).table(),
    }


def accelerated(pipe, plan):
    with attnscope.accelerate(pipe, plan):
        toys.call(pipe, steps=6)


WRONG_ACTIONS = ["reuse", None, "store", True, 2, "skip", Action]


@pytest.mark.parametrize("from_step", [0, 5])
@pytest.mark.parametrize("action", WRONG_ACTIONS, ids=str)
def test_an_action_that_is_none_names_site_step_value_and_choices(sd, action, from_step):
    plan = answering(action=action, from_step=from_step)
    for name, run in everywhere(sd, plan).items():
        with pytest.raises(InputError) as caught:
            run()
        message = str(caught.value)
        assert f"Own.action answers {action!r}" in message, name
        assert f"at step {from_step}" in message, name
        assert "Action.COMPUTE, Action.STORE, Action.REUSE or Action.FORECAST" in message, name
        assert "attn" in message or "cross-attention" in message, name
        assert "\n" not in message
    assert toys.call(sd, steps=2) is not None  # nothing of it stays


def test_the_site_that_is_named_is_the_one(sd):
    chosen = [site for site in find_sites(sd.unet) if site.kind == "cross"][-1]

    class Own(Plan):
        def action(self, site, step):
            return "reuse" if site.name == chosen.name and step == 2 else Action.COMPUTE

    with (
        pytest.raises(InputError, match=f"'reuse' for {chosen.name} .*at step 2"),
        Trace(sd, plan=Own()),
    ):
        toys.call(sd)


WRONG_KEEPS = ["conditional", None, "", "guided", True, ("cond",), "one"]


@pytest.mark.parametrize("from_step", [0, 5])
@pytest.mark.parametrize("keeps", WRONG_KEEPS, ids=str)
def test_a_branch_that_is_none_names_step_value_and_choices(sd, keeps, from_step):
    plan = answering(keeps=keeps, from_step=from_step)
    for name, run in everywhere(sd, plan).items():
        with pytest.raises(InputError) as caught:
            run()
        message = str(caught.value)
        assert f"Own.keeps answers {keeps!r} at step {from_step}" in message, name
        assert "'both', 'uncond', 'cond' or \"model's\"" in message, name


WRONG_TEXTS = ["nul", None, "", "negative", False, "uncond"]


@pytest.mark.parametrize("from_step", [0, 5])
@pytest.mark.parametrize("text", WRONG_TEXTS, ids=str)
def test_a_text_that_is_none_names_step_value_and_choices(sd, text, from_step):
    plan = answering(text=text, from_step=from_step)
    for name, run in everywhere(sd, plan).items():
        with pytest.raises(InputError) as caught:
            run()
        message = str(caught.value)
        assert f"Own.text answers {text!r} at step {from_step}" in message, name
        assert "'prompt' or 'null'" in message, name


def test_what_is_reused_before_it_was_stored_is_named(sd):
    class Hasty(Plan):
        def action(self, site, step):
            return Action.REUSE if step == 4 and site.kind == "self" else Action.COMPUTE

    for name, run in everywhere(sd, Hasty()).items():
        with pytest.raises(InputError) as caught:
            run()
        message = str(caught.value)
        assert "at step 4 before it stored any" in message, name
        assert "Action.STORE at an earlier step" in message, name


@pytest.mark.parametrize("kinds", ["cross", "self", "", None, 3, ("crossed",), ("cross", "latent")])
def test_kinds_that_are_none_are_refused(sd, kinds):
    class Own(Plan):
        pass

    Own.kinds = kinds
    runs = everywhere(sd, Own()) | {"savings": lambda: savings(Own(), COUNTS)}
    for name, run in runs.items():
        with pytest.raises(InputError) as caught:
            run()
        message = str(caught.value)
        assert "Own.kinds" in message, name
        assert repr(kinds) in message, name
        assert "'cross', 'self', 'joint'" in message, name
    with pytest.raises(InputError, match=r"Own\.kinds"):
        Combined((Own(), NullTextLate(2)))


def test_a_list_of_kinds_is_as_good_as_a_tuple(sd):
    class Own(CrossReuse):
        kinds: ClassVar[list[str]] = ["cross"]

    with Trace(sd, plan=Own(2)) as trace:
        toys.call(sd)
    assert trace.calls().set_index("kind").loc["cross", "reused"] > 0


def test_joint_attention_is_counted_and_not_carried_out():
    class Own(Plan):
        kinds = ("joint",)

        def action(self, site, step):
            return Action.REUSE if step else Action.STORE

    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        caption_projection_dim=16,
        pooled_projection_dim=16,
        out_channels=4,
    )
    nothing = dict.fromkeys(
        ("vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "text_encoder_3")
    )
    pipe = StableDiffusion3Pipeline(
        transformer, FlowMatchEulerDiscreteScheduler(), tokenizer_3=None, **nothing
    )
    with pytest.raises(InputError, match=r"SD3Transformer2DModel makes at once.*'joint'"):
        Trace(pipe, plan=Own())
    joint = replace(COUNTS, sites=tuple(replace(site, kind="joint") for site in COUNTS.sites))
    assert cost_of(joint, Own(), 6).speedup() > 1


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (answering(text="nul"), "text answers 'nul' at step 3"),
        (answering(keeps="conditional"), "keeps answers 'conditional' at step 3"),
        (answering(action="reuse"), "action answers 'reuse'"),
    ],
)
def test_a_combined_plan_and_a_part_of_one_hide_nothing(sd, part, message):
    class Still(Plan):
        kinds = ()

    for plan in (Combined((part, Still())), Combined((Still(), part))):
        for run in everywhere(sd, plan).values():
            with pytest.raises(InputError, match=message):
                run()
    with pytest.raises(InputError, match=message):
        attribution(cost_of(COUNTS, part, 6))
    way = "guidance" if "keeps" in message else "cross"
    with pytest.raises(InputError, match=message):
        cost_of(COUNTS, Alone(part, way), 6)


def test_savings_are_not_told_of_a_plan_that_answers_nonsense():
    with pytest.raises(InputError, match="keeps answers 'conditional' at step 0"):
        savings(answering(keeps="conditional", from_step=0), COUNTS)


def test_a_plan_that_ends_before_the_run_is_named(sd):
    class Tabled(Plan):
        def action(self, site, step):
            return [Action.STORE, Action.REUSE, Action.REUSE, Action.COMPUTE][step]

        def keeps(self, step):
            return ["both", "both", "cond", "cond"][step]

        def text(self, step):
            return {0: "prompt", 1: "prompt", 2: "prompt", 3: "prompt"}[step]

    with Trace(sd, plan=Tabled()) as trace:  # as long as the run
        toys.call(sd, steps=4)
    assert set(trace.calls()["reused"]) != {0}
    assert cost_of(COUNTS, Tabled(), 4).speedup() > 1
    for name, run in everywhere(sd, Tabled()).items():
        with pytest.raises(InputError, match=r"Tabled\.\w+ has no answer .*step 4.*6 steps"):
            run()
        assert name


def test_a_plan_may_make_itself_fit(sd):
    """The one good reason to override ``over``."""

    class Fitting(TGate):
        def over(self, steps, *, kept="uncond"):
            return Trajectory(replace(self, gate=min(self.gate, steps)), steps, kept)

    with Trace(sd, plan=Fitting(9)):
        toys.call(sd, steps=4)
    assert made(Fitting(9), 4, kept="cond").guided_steps == 4


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda plan, steps, kept: None, "None"),
        (lambda plan, steps, kept: ["compute"] * steps, "compute"),
        (lambda plan, steps, kept: Trajectory(plan, steps + 1, kept), "7 steps"),
        (lambda plan, steps, kept: Loud(plan, steps, kept), "Loud"),
    ],
)
def test_an_over_that_makes_something_else_is_refused(sd, answer, message):
    class Own(Plan):
        def over(self, steps, *, kept="uncond"):
            return answer(Plan(), steps, kept)

    for name, run in everywhere(sd, Own()).items():
        with pytest.raises(InputError, match=rf"Own\.over.*{message}.*Trajectory\(plan, 6"):
            run()
        assert name


@dataclass(frozen=True)
class Loud(Trajectory):
    """Overrides what nothing asks."""

    def action(self, site, step):
        return Action.REUSE


def test_a_trajectory_is_over_a_number_of_steps_and_keeps_a_branch():
    for steps in ("25", 2.5, None, True, 0, -1):
        with pytest.raises(InputError, match="is no number of steps"):
            Trajectory(TGate(1), steps)
    for kept in ("both", "conditional", None):
        with pytest.raises(InputError, match=f"kept={kept!r}.*'uncond' or 'cond'"):
            Trajectory(TGate(1), 4, kept)


def test_a_picture_of_kinds_says_that_it_knows_no_site():
    class Named(Plan):
        def action(self, site, step):
            return Action.STORE if site.name.startswith("down") else Action.COMPUTE

    assert len(cost_of(COUNTS, Named(), 4).steps) == 4
    with pytest.raises(InputError, match=r"Named\.action.*'name'.*kinds.*actions\(site\)"):
        Named().over(4).table()


def test_a_fault_of_the_plan_itself_is_shown_as_it_is(sd):
    class Broken(Plan):
        def action(self, site, step):
            return 1 / 0

    with pytest.raises(ZeroDivisionError):
        cost_of(COUNTS, Broken(), 4)


def test_actions_are_asked_for_once_a_run(sd):
    asked = []

    class Counting(Plan):
        def action(self, site, step):
            asked.append(step)
            return Action.COMPUTE

        def keeps(self, step):
            asked.append(step)
            return "both"

        def text(self, step):
            asked.append(step)
            return "prompt"

    with Trace(sd, plan=Counting()):
        toys.call(sd, steps=4)
        first = len(asked)
        toys.call(sd, steps=4)
    assert len(asked) == first


def test_action_is_public():
    assert attnscope.Action is Action
    assert "Action" in attnscope.__all__
