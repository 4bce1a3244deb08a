"""Attention to words, scaled by a plan."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import toys

import attnscope
from attnscope.errors import InputError
from attnscope.hooks.attending import Attention
from attnscope.hooks.encodings import Encodings
from attnscope.hooks.moments import Denoising, Moment
from attnscope.hooks.weighting import Weighting
from attnscope.models.text_tokens import words_of
from attnscope.observers import AttentionMaps
from attnscope.plans import Combined, parse


def _maps(pipe, plan, **options):
    words = [words_of(pipe, text) for text in toys.PROMPTS]
    observer = AttentionMaps(words, each="head", **options)
    with attnscope.Trace(pipe, plan=plan, observers=[observer]):
        latents = toys.call(pipe, prompts=2, steps=3)
    return latents, observer.maps()


def test_a_factor_of_one_changes_nothing(sd):
    plain = toys.call(sd, prompts=2, steps=3)
    with attnscope.Trace(sd, plan=attnscope.Reweight(("background",), factor=1)):
        assert torch.equal(toys.call(sd, prompts=2, steps=3), plain)
    plan = attnscope.Reweight(("background",), first=9)
    with toys.warns("at none of these 3 steps"), attnscope.Trace(sd, plan=plan):
        assert torch.equal(toys.call(sd, prompts=2, steps=3), plain)


@pytest.mark.parametrize("model", [toys.stable_diffusion, toys.stable_diffusion_xl])
@pytest.mark.parametrize("factor", [0.0, 0.5, 4.0])
def test_the_odds_of_a_word_are_scaled_and_all_is_shared_out_anew(model, factor, tokenizer_folder):
    pipe = model(tokenizer_folder)
    plain, before = _maps(pipe, None)
    changed, after = _maps(pipe, attnscope.Reweight(("background",), factor))
    assert not torch.equal(plain, changed)
    first = next(iter(before.sites))  # nothing before it was changed yet
    for sample, names in enumerate(before.words):
        at = names.index("background")
        old = before.values[sample, 0, before.sites.index(first), :, : len(names)]
        new = after.values[sample, 0, after.sites.index(first), :, : len(names)]
        scaled = old.copy()  # [head, word, height, width]
        scaled[:, at] *= factor
        expected = scaled / scaled.sum(1, keepdims=True)
        np.testing.assert_allclose(new, expected, atol=1e-5)
    assert torch.equal(plain, toys.call(pipe, prompts=2, steps=3))  # and it is what it was


def test_at_chosen_steps_alone(sd):
    _, before = _maps(sd, None)
    _, after = _maps(sd, "reweight:words=background,factor=0,from=1,to=2")
    at = before.words[0].index("background")
    np.testing.assert_array_equal(after.values[0, 0], before.values[0, 0])
    assert np.nanmax(after.values[0, 1, :, :, at]) == 0
    assert np.nanmin(after.values[0, 2, :, :, at]) > 0


def test_the_unconditional_branch_stays_what_it_is(sd):
    _, before = _maps(sd, None, branch="uncond", steps=[0])
    _, after = _maps(sd, attnscope.Reweight(("background",)), branch="uncond", steps=[0])
    np.testing.assert_array_equal(after.values, before.values)


def test_with_another_plan(sd):
    _, maps = _maps(sd, "m=2,k=1+reweight:words=background,factor=0")
    assert maps.steps == (0, 1)
    assert np.nanmax(maps.values[0, :, :, :, maps.words[0].index("background")]) == 0


def test_in_a_joint_sequence_the_image_alone_looks_elsewhere():
    run = Denoising(0, 4, samples=1)
    weighting = Weighting.__new__(Weighting)
    weighting._run, weighting._words, weighting._made = run, [()], {}
    weighting._positions = {"red": [[1, 2]]}
    query = torch.randn(2, 3, 10, 4)
    attention = Attention(query, query, None, 0.5, slice(0, 6), slice(6, 10), slice(0, 6))
    mask = weighting.mask(attention, Moment(0, 0, 2, 2), {"red": 0.0})
    assert mask is not None
    assert mask.shape == (2, 1, 10, 10)
    expected = torch.zeros(2, 1, 10, 10)
    expected[1, :, :6, [7, 8]] = -torch.inf  # rows of the second branch, the conditional one
    assert torch.equal(mask, expected)


def test_what_cannot_be_is_refused(sd, tokenizer_folder):
    pipe = toys.pixart(tokenizer_folder)
    with (
        pytest.raises(InputError, match="give PixArtAlphaPipeline a prompt"),
        attnscope.Trace(pipe, plan=attnscope.Reweight(("red",))),
    ):
        toys.call(pipe)
    with pytest.raises(InputError, match="its words are a, small, red, circle"):
        _maps(sd, attnscope.Reweight(("green",)))
    for given, message in (
        ("reweight:words=a,factor=-1", "factor=-1.0 is no number from 0 on"),
        ("reweight:words=a,factor=much", "'much' is no number"),
        ("reweight:factor=2", "lacks words"),
        ("reweight:words=|", "are no words"),
        ("reweight:words=a,from=5,to=5", "no step is left"),
        ("reweight:words=a,from=1nat,to=-1nat", "no step is left"),
    ):
        with pytest.raises(InputError, match=message):
            parse(given)
    with pytest.raises(InputError, match="each acts on attention to words"):
        parse("reweight:words=a+reweight:words=b")


@pytest.mark.parametrize(
    "plan",
    [
        attnscope.Reweight(("red circle", "blue"), 0.25, 2, 7),
        attnscope.Reweight("red", 0),
        Combined((attnscope.TGate(5), attnscope.Reweight(["star"], 3.5))),
    ],
)
def test_its_text_reads_back(plan):
    assert parse(str(plan)) == plan


def test_noise_levels_hold_in_a_run(sd):
    plain = toys.call(sd, prompts=2, steps=3)
    for plan in ("reweight:words=background,to=0nat", "reweight:words=background,from=-99nat"):
        with attnscope.Trace(sd, plan=plan):
            assert not torch.equal(toys.call(sd, prompts=2, steps=3), plain)


def test_what_the_tokenizer_adds_may_be_taken_away(sd):
    _, maps = _maps(sd, attnscope.Reweight(("<end>", "<padding>")))
    for word in ("end", "padding"):
        assert np.nanmax(maps.values[0, :, :, :, maps.words[0].index(word)]) == 0
    everything = (
        "<start>",
        "<end>",
        "<padding>",
        "a",
        "small",
        "red",
        "circle",
        "on",
        "white",
        "background",
    )
    with (
        pytest.raises(InputError, match="nothing is left to attend to"),
        attnscope.Trace(sd, plan=attnscope.Reweight(everything)),
    ):
        toys.call(sd, steps=1)


def test_a_call_of_the_unconditional_branch_alone_stays_what_it_is():
    run = Denoising(0, 4, samples=1)
    run.note_call(0, "cond", 1)
    run.note_call(1, "uncond", 1)
    weighting = Weighting.__new__(Weighting)
    weighting._run, weighting._words, weighting._made = run, [()], {}
    weighting._positions = {"red": [[1]]}
    query, key = torch.randn(1, 2, 9, 4), torch.randn(1, 2, 5, 4)
    attention = Attention(query, key, None, 0.5, slice(0, 9), slice(0, 5), slice(0, 0))
    assert weighting.mask(attention, Moment(1, 1, 1, 1), {"red": 0.0}) is None
    masked = weighting.mask(attention, Moment(1, 0, 1, 1), {"red": 0.0})
    assert masked is not None
    assert masked.isinf().sum() == 1


def test_what_a_pipeline_encodes_first_is_the_prompt():
    class Pipe:
        def encode_prompt(self, prompt, prompt_2=None):
            return prompt, [prompt_2]

    pipe = Pipe()
    encodings = Encodings(pipe)
    with encodings.listening():
        pipe.encode_prompt("a cat", prompt_2="a dog")
        pipe.encode_prompt(prompt="ugly")
        encodings.collected()
        assert encodings.asked == {"prompt": "a cat", "prompt_2": "a dog"}
        pipe.encode_prompt("another")
        encodings.collected()
        assert encodings.asked == {"prompt": "another"}
    assert encodings.asked == {}


def test_a_noise_level_is_placed_on_the_steps():
    placed = parse("reweight:words=red,from=-1nat,to=2nat").placed((-4.0, -2.0, 0.0, 1.0, 3.0))
    assert (placed.first, placed.last) == (2, 4)
    assert [bool(placed.weights(step)) for step in range(5)] == [False, False, True, True, False]
