"""Calls of the denoiser cut to some of their rows, and outputs given back whole."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from diffusers.utils import BaseOutput

from attnscope.families import never_batched
from attnscope.hooks.branches import narrowed, widened

BATCH, HALF = 4, slice(2, 4)


def rows(count, *more):
    """A tensor that tells its rows by their values."""
    return torch.arange(count).reshape(count, *[1] * len(more)).expand(count, *more)


def kept(value):
    """Which rows are left of a tensor."""
    return value[:, 0].tolist() if value.ndim > 1 else value.tolist()


def test_what_has_the_rows_of_the_batch_is_cut():
    assert kept(narrowed(rows(4), BATCH, HALF)) == [2, 3]
    assert kept(narrowed(rows(4, 5), BATCH, HALF)) == [2, 3]
    assert kept(narrowed(rows(4, 5), BATCH, slice(0, 2))) == [0, 1]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_what_has_other_rows_than_the_batch_is_left_alone(count):
    value = rows(count, 3)
    assert narrowed(value, BATCH, HALF) is value


@pytest.mark.parametrize("value", [torch.tensor(7.0), 4, 0.5, "text", None, slice(0, 4)], ids=str)
def test_what_has_no_rows_is_left_alone(value):
    assert narrowed(value, BATCH, HALF) is value


@pytest.mark.parametrize("kind", [list, tuple])
def test_parts_are_cut_at_any_depth_and_keep_their_kind(kind):
    call = {"added": {"text": rows(4, 2), "deep": kind([rows(4), kind([rows(4, 3), rows(3)])])}}
    made = narrowed(call, BATCH, HALF)["added"]
    assert kept(made["text"]) == [2, 3]
    assert type(made["deep"]) is kind
    assert kept(made["deep"][0]) == [2, 3]
    assert type(made["deep"][1]) is kind
    assert [kept(part) for part in made["deep"][1]] == [[2, 3], [0, 1, 2]]


def test_arguments_that_are_never_batched_stay_whole_whatever_their_length():
    call = dict.fromkeys(never_batched(), rows(4, 3)) | {"other": rows(4, 3)}
    made = narrowed({"joint_attention_kwargs": call}, BATCH, HALF)["joint_attention_kwargs"]
    assert kept(made.pop("other")) == [2, 3]
    assert {len(value) for value in made.values()} == {4}


@pytest.mark.parametrize(
    ("count", "left"),
    [
        (4, [2, 3]),
        (12, [6, 7, 8, 9, 10, 11]),  # three frames of each row
        (6, [0, 1, 2, 3, 4, 5]),  # no whole number of frames
        (2, [0, 1]),
    ],
)
def test_the_text_of_every_frame_is_cut_with_its_row(count, left):
    assert kept(narrowed({"encoder_hidden_states": rows(count, 2)}, BATCH, HALF)["encoder_hidden_states"]) == left  # fmt: skip


@pytest.mark.parametrize("name", ["attention_mask", "zzz", "encoder_attention_mask"])
def test_nothing_but_the_text_stands_once_for_every_frame(name):
    value = rows(12, 2)
    assert narrowed({name: value}, BATCH, HALF)[name] is value


def test_several_texts_are_cut_each():
    made = narrowed({"encoder_hidden_states": (rows(4, 2), rows(4, 3))}, BATCH, HALF)
    assert [kept(part) for part in made["encoder_hidden_states"]] == [[2, 3], [2, 3]]
    assert narrowed({"encoder_hidden_states": None}, BATCH, HALF)["encoder_hidden_states"] is None


@dataclass
class Output(BaseOutput):
    sample: torch.Tensor
    extra: torch.Tensor | None = None


@pytest.mark.parametrize("times", [1, 2, 3])
def test_an_output_is_given_back_as_often_as_is_asked(times):
    assert kept(widened(rows(2, 3), 2, times)) == [0, 1] * times
    assert [kept(part) for part in widened((rows(2, 3), rows(2)), 2, times)] == [[0, 1] * times] * 2


@pytest.mark.parametrize("kind", [list, tuple])
def test_an_output_keeps_its_kind(kind):
    made = widened(kind([rows(2), None]), 2, 2)
    assert type(made) is kind
    assert kept(made[0]) == [0, 1, 0, 1]
    assert made[1] is None
    output = widened(Output(sample=rows(2, 3)), 2, 2)
    assert type(output) is Output
    assert kept(output.sample) == [0, 1, 0, 1]
    assert output.extra is None


@pytest.mark.parametrize("count", [1, 3, 4])
def test_parts_of_an_output_with_other_rows_are_left_alone(count):
    value = rows(count, 2)
    assert widened(value, 2, 2) is value
    assert widened(torch.tensor(2.0), 2, 2).ndim == 0


def test_what_was_cut_and_given_back_is_that_branch_in_the_place_of_both():
    whole = narrowed(rows(4, 2), BATCH, HALF)
    uncond, cond = widened(whole, 2, 2).chunk(2)
    assert torch.equal(uncond + 7.5 * (cond - uncond), whole)
