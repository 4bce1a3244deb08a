"""Variants of T-GATE: one branch's outputs as anchor, and videos whose time is left alone."""

from dataclasses import dataclass

import pytest
import reference
import torch
import toys

from attnscope import Trace
from attnscope.cost.published import compare
from attnscope.plans.base import Action
from attnscope.plans.text_form import parse


@pytest.mark.parametrize(("keep", "part"), [("uncond", 0), ("cond", 1)])
def test_an_anchor_is_the_branch_that_stays_as_patched_by_hand(sd, keep, part):
    def call():
        return toys.call(sd, prompts=2, steps=6)

    plain = call()
    with Trace(sd, plan="m=3,k=2,w=0"):
        mean = call()
    with Trace(sd, plan=f"anchored:m=3,k=2,w=0,keep={keep}"):
        ours = call()
    with reference.tgate_patched(sd, m=3, k=2, w=0, part=part, averaged=False):
        theirs = call()
    assert (ours - theirs).abs().max() < 1e-4
    assert (ours - mean).abs().max() > 1e-4
    assert (ours - plain).abs().max() > 1e-4
    assert torch.equal(call(), plain)


@dataclass(frozen=True)
class Site:
    name: str
    kind: str


SPACE = Site("down_blocks.0.attentions.0.transformer_blocks.0.attn1", "self")
TIME = Site("down_blocks.0.attentions.0.temporal_transformer_blocks.0.attn1", "self")
TEXT = Site("down_blocks.0.attentions.0.temporal_transformer_blocks.0.attn2", "cross")


def test_time_is_computed_at_every_step_and_all_else_is_t_gate():
    ours, whole = parse("tgate-spatial:m=6,k=3"), parse("m=6,k=3")
    for step in range(10):
        assert ours.action(TIME, step) is Action.COMPUTE
        assert ours.action(SPACE, step) is whole.action(SPACE, step)
        assert ours.action(TEXT, step) is whole.action(TEXT, step)
        assert ours.keeps(step) == whole.keeps(step)
    assert any(ours.action(SPACE, step) is Action.REUSE for step in range(6))


def test_temporal_attention_of_a_video_is_told_by_its_name(tokenizer_folder):
    pipe = toys.stable_video_diffusion(tokenizer_folder)

    def computed(plan):
        with Trace(pipe, plan=plan) as trace:
            toys.call(pipe, steps=6)
        return trace.calls().set_index("kind")["computed"]["self"]

    everything, spatial, whole = (computed(p) for p in ("baseline", "tgate-spatial:m=6,k=2,w=0", "m=6,k=2,w=0"))  # fmt: skip
    assert everything > spatial > whole
    assert everything - whole == 2 * (
        everything - spatial
    )  # as many of them go along time as along space


def test_the_papers_videos_cost_what_it_prints():
    table = compare()
    rows = table[table["model"].isin(["svd", "opensora"]) & (table["note"] == "video")]
    assert len(rows) >= 4
    assert rows["agrees"].all()
