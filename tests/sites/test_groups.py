"""Modules that do the same, and what they are called."""

from itertools import product

import pytest

from attnscope.sites.groups import alike, pattern, stage_of


@pytest.mark.parametrize(
    ("names", "kind", "said"),
    [
        (["mid_block.resnets.0", "mid_block.resnets.1"], "resnet", "mid {0-1}"),
        (["up_blocks.0.upsamplers.0"], "sampler", "up 0.0"),
        ([f"transformer_blocks.{n}" for n in (0, 1, 2, 7)], "block", "transformer {0-2,7}"),
        (["down_blocks.1.attentions.0.transformer_blocks.0.attn2"], "cross", "down 1.0.0"),
        (["down_blocks.1.attentions.0.transformer_blocks.0.attn2"], "self", "down 1.0.0 attn2"),
        (
            ["down_blocks.0.resnets.1", "mid_block.resnets.0", "up_blocks.0.resnets.1"],
            "resnet",
            "mid 0, {down,up} 0.1",
        ),
    ],
)
def test_a_pattern_says_the_names_in_short(names, kind, said):
    assert pattern(names, kind) == said


def test_a_pattern_says_no_name_that_is_not_there():
    names = [f"up_blocks.{a}.resnets.{b}" for a, b in product((0, 1), (0, 1))][:3]
    assert pattern(names, "resnet") == "up 0.{0-1}, up 1.0"


def test_stages_are_those_of_a_unet_or_the_list_of_blocks():
    names = ["down_blocks.1.resnets.0", "mid_block.resnets.1", "transformer_blocks.3.attn1"]
    names.append("single_transformer_blocks.3.attn")
    assert [stage_of(name) for name in names] == [
        "down 1", "mid", "transformer", "single transformer",
    ]  # fmt: skip


def test_groups_follow_the_data_and_know_whether_they_are_all():
    kinds = {f"{stage}.resnets.{n}": "resnet"
             for stage in ("up_blocks.0", "mid_block", "down_blocks.0") for n in (0, 1)}  # fmt: skip
    does = {
        name: ("compute", "reuse" if name != "up_blocks.0.resnets.1" else "compute")
        for name in kinds
    }
    groups = alike(kinds, does, by_stage=True)
    assert [(g.stage, g.label, len(g.names), g.whole) for g in groups] == [
        ("down 0", "resnet all", 2, True),
        ("mid", "resnet all", 2, True),
        ("up 0", "resnet up 0.0", 1, False),
        ("up 0", "resnet up 0.1", 1, False),
    ]
    assert [len(group.names) for group in alike(kinds, does)] == [5, 1]
