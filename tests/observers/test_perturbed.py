"""Maps of pipelines with perturbed-attention guidance, whose batch holds a third branch."""

from inspect import signature

import numpy as np
import pytest
import torch
import toys
from diffusers import (
    StableDiffusion3PAGPipeline,
    StableDiffusionPAGPipeline,
    StableDiffusionXLPAGPipeline,
)
from test_attention_maps import STEPS, WIDE, Materialised, _expected, sizes
from test_points import POINTS, whole

import attnscope
from attnscope import AttentionMaps, BranchDistance, PointAttention
from attnscope.models.text_tokens import words_of

SD = {"requires_safety_checker": False, "image_encoder": None}


def _guided(pipe, **options):
    return toys.call(pipe, prompts=2, steps=STEPS, pag_scale=3.0, **options)


def _alone(pipe, **options):
    return _guided(pipe, guidance=0.0, **options)


def _sd3(pipe, **options):
    return toys.call_sd3(pipe, pag_scale=3.0, **options)


THREE = {name: slice(2 * n, 2 * n + 2) for n, name in enumerate(("uncond", "cond", "perturbed"))}
TWO = {"cond": slice(0, 2), "perturbed": slice(2, 4)}
MODELS = {
    "sd": (toys.stable_diffusion, StableDiffusionPAGPipeline, SD, "mid", _guided, 24, THREE),
    "sd alone": (toys.stable_diffusion, StableDiffusionPAGPipeline, SD, "mid", _alone, 24, TWO),
    "sdxl": (toys.stable_diffusion_xl, StableDiffusionXLPAGPipeline, {}, "mid", _guided, 24, THREE),
    "sd3": (lambda _: toys.sd3(), StableDiffusion3PAGPipeline, {}, "blocks.1", _sd3, 9, THREE),
}
"""Another pipeline's components, the class, what it wants besides, where attention is perturbed, how it is
called, tokens of its text, and rows of the branches."""


@pytest.fixture(params=MODELS)
def model(request, tokenizer_folder):
    make, kind, more, layers, call, tokens, branches = MODELS[request.param]
    parts = {**make(tokenizer_folder).components, **more}
    taken = {name: parts[name] for name in parts if name in signature(kind).parameters}
    pipe = kind(**taken, pag_applied_layers=layers)
    pipe.set_progress_bar_config(disable=True)
    return request.param, pipe, call, tokens, branches


def held_whole(pipe, monkeypatch, call):
    """A softmax a call of a module: what the perturbed branch computes apart comes second and is left out."""
    materialised = Materialised(pipe, monkeypatch)
    call(pipe, **WIDE)
    for site, calls in materialised.found.items():
        materialised.found[site] = calls[:: len(calls) // STEPS]
    return materialised


def test_maps_of_every_branch_are_those_of_a_softmax_that_is_held_whole(model, monkeypatch):
    name, pipe, call, tokens, branches = model
    plain = call(pipe, **WIDE)
    observers = {branch: AttentionMaps(branch=branch) for branch in branches}
    with attnscope.Trace(pipe, observers=[*observers.values()]):
        watched = call(pipe, **WIDE)
    assert torch.equal(plain, watched)
    made = held_whole(pipe, monkeypatch, call).of_text(tokens, leads=False)
    for branch, rows in branches.items():
        there = [{s: f for s, f in by_site.items() if len(f) >= rows.stop} for by_site in made]
        expected = _expected(there, rows, sizes(name.split()[0]))
        values = observers[branch].maps().values
        np.testing.assert_allclose(values, expected.transpose(1, 0, 2, 3, 4), atol=1e-5)
        assert set(observers[branch].table()["branch"]) == {branch}
        assert set(observers[branch].table()["sample"]) == {0, 1}
        assert set(observers[branch].table()["site"]) == set(there[0])
    if name == "sd3":
        assert len(there[0]) == 1  # where it is the identity the perturbed branch has none
    else:
        values = {branch: own.maps().values for branch, own in observers.items()}
        assert np.abs(values["cond"] - values["perturbed"]).max() > 1e-5


def test_points_look_where_a_softmax_that_is_held_whole_says(model, monkeypatch):
    name, pipe, call, tokens, branches = model
    observer = PointAttention(POINTS)
    with attnscope.Trace(pipe, observers=[observer]):
        call(pipe, **WIDE)
    materialised = held_whole(pipe, monkeypatch, call)
    assert {len(calls[0]) for calls in materialised.found.values()} == {
        2 * len(branches), 2 * len(branches) - 2,
    }  # fmt: skip
    expected = whole(materialised, name.split()[0], tokens, branches["cond"])
    values = observer.maps().values
    np.testing.assert_allclose(values, expected.transpose(1, 0, 2, 3, 4), atol=1e-5)


def test_a_word_that_is_taken_away_is_looked_at_in_neither_branch_of_the_prompt(model):
    name, pipe, call, _, branches = model
    plan = attnscope.Reweight(("<padding>",), factor=0)
    if name == "sd3":
        pytest.skip("it is called with embeddings here, and has no words")
    observers = {branch: AttentionMaps(branch=branch) for branch in branches}
    with attnscope.Trace(pipe, plan=plan, observers=[*observers.values()]):
        call(pipe)
    words = words_of(pipe, toys.PROMPTS[0])
    padding = next(word for word in words if word.kind == "padding").positions
    for branch, observer in observers.items():
        paid = observer.maps().values[0][:, list(padding)]
        assert (paid.max() == 0) == (branch != "uncond")


def test_two_branches_that_both_read_the_prompt_are_not_taken_for_guidance(model):
    _, pipe, call, _, _ = model
    observer = BranchDistance(("cross", "self", "joint"))
    with toys.warns("BranchDistance knows two guidance branches"), attnscope.Trace(pipe, observers=[observer]):  # fmt: skip
        call(pipe)
    assert observer.table().empty
