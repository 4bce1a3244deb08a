"""Where guidance branches stand in a call, in pipelines that each do it their own way."""

from __future__ import annotations

import ast
import itertools
import warnings
from pathlib import Path

import diffusers
import numpy as np
import pandas as pd
import pytest
import torch
import toys
import toys_other

from attnscope import NoiseMean, StepDistance, Trace
from attnscope.errors import InputError
from attnscope.families import pipeline_named

KINDS = ("cross", "self", "joint")


@pytest.fixture
def made(request, tokenizer_folder, monkeypatch):
    """A pipeline and how to call it."""
    name = request.param
    if name == "omnigen":
        return toys_other.omnigen(tokenizer_folder, monkeypatch), toys_other.call_omnigen
    if name in ("ltx", "cogvideox"):
        return getattr(toys_other, name)(), getattr(toys_other, f"call_{name}")
    calls = {"text_to_video": "call_text_to_video", "i2vgen": "call_i2vgen"}
    call = calls.get(name, "call_animatediff")
    return getattr(toys_other, name)(tokenizer_folder), getattr(toys_other, call)


ALL = ["text_to_video", "i2vgen", "animatediff_controlnet", "ltx", "cogvideox", "omnigen"]
COND_FIRST = ("omnigen",)


def one_branch_from(pipe, gate, kept):
    """Both halves of the denoiser's output are one of them from a call on, by a hook of torch."""
    denoiser = getattr(pipe, "transformer", None) or pipe.unet
    calls = []

    def hook(module, args, output):
        calls.append(1)
        if len(calls) > gate:
            changed = torch.cat([output[0].chunk(2)[kept]] * 2)
            return (changed,) if isinstance(output, tuple) else type(output)(sample=changed)
        return output

    return denoiser.register_forward_hook(hook)


@pytest.mark.parametrize("made", ALL, indirect=True)
@pytest.mark.parametrize("keep", ["cond", "uncond"])
def test_the_branch_that_stays_is_the_one_that_is_named(made, keep, request):
    pipe, call = made
    cond_first = request.node.callspec.params["made"] in COND_FIRST
    handle = one_branch_from(pipe, 2, int((keep == "cond") != cond_first))
    expected = call(pipe)
    handle.remove()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the ControlNet still runs on both")
        with Trace(pipe, plan=f"guidance-cutoff:m=2,keep={keep}") as trace:
            result = call(pipe)
    assert trace.runs[0].guided_steps == 2
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(expected, call(pipe), atol=1e-4)


@pytest.mark.parametrize("made", ALL, indirect=True)
def test_rows_are_of_both_branches_of_one_sample(made, request):
    pipe, call = made
    order = ("cond", "uncond") if request.node.callspec.params["made"] in COND_FIRST else ()
    seen = {}
    denoiser = getattr(pipe, "transformer", None) or pipe.unet
    distance, noise = StepDistance(KINDS), NoiseMean()
    unwatched = call(pipe)
    with Trace(pipe, observers=[distance, noise]) as trace:
        site = next(iter(trace.sites)).name
        handle = denoiser.get_submodule(site).register_forward_hook(
            lambda module, args, output: seen.setdefault("steps", []).append(
                (output[0] if isinstance(output, tuple) else output).detach().clone()
            )
        )
        assert torch.equal(call(pipe), unwatched)
        handle.remove()
    table = trace.records(distance)
    assert set(table["sample"]) == {0}
    assert set(table["branch"]) == {"uncond", "cond"}
    for half, branch in enumerate(order or ("uncond", "cond")):
        rows = table[(table["site"] == site) & (table["branch"] == branch)]
        halves = [step.chunk(2)[half].flatten().double().numpy() for step in seen["steps"]]
        moved = [np.linalg.norm(b - a) for a, b in itertools.pairwise(halves)]
        np.testing.assert_allclose(rows.sort_values("step")["l2"], moved, rtol=1e-4)
    branches = trace.records(noise).groupby("branch", observed=True)
    assert branches.size().to_dict() == {"uncond": 4, "cond": 4, "guided": 4}


@pytest.mark.parametrize("made", ALL, indirect=True)
def test_without_guidance_the_only_branch_is_cond(made, request):
    pipe, call = made
    if request.node.callspec.params["made"] == "omnigen":
        pytest.skip("OmniGen always guides")
    with Trace(pipe, observers=[StepDistance(KINDS)]) as trace:
        call(pipe, guidance=1.0)
    table = trace.records()
    assert set(table["branch"]) == {"cond"}
    assert set(table["sample"]) == {0}


@pytest.mark.parametrize("frames", [2, 3, 16])
def test_frames_that_a_scheduler_sees_as_rows_are_no_samples(tokenizer_folder, frames):
    pipe = toys_other.text_to_video(tokenizer_folder)
    with Trace(pipe, plan="m=2", observers=[NoiseMean()]) as trace:
        toys_other.call_text_to_video(pipe, frames=frames, prompt=["a red circle", "a blue star"])
    assert trace.runs[0].samples == 2
    assert trace.runs[0].guided_steps == 2
    rows = trace.records().groupby("branch", observed=True)["sample"].apply(set)
    assert rows.to_dict() == {"uncond": {0, 1}, "cond": {0, 1}, "guided": {0, 1}}


def test_noise_of_folded_frames_is_that_of_the_video(tokenizer_folder):
    """The guided noise is the branches' own, put together by the guidance scale."""
    pipe = toys_other.text_to_video(tokenizer_folder)
    with Trace(pipe, observers=[NoiseMean()]) as trace:
        toys_other.call_text_to_video(pipe, frames=3, guidance=4.0)
    means = trace.records().pivot_table(
        index="step", columns="branch", values="mean", observed=True
    )
    guided = means["uncond"] + 4 * (means["cond"] - means["uncond"])
    np.testing.assert_allclose(means["guided"], guided, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("plan", ["m=2", "m=2,k=2", "guidance-cutoff:m=2"])
@pytest.mark.parametrize("frames", [2, 3])
def test_residuals_of_a_controlnet_are_cut_by_frames(tokenizer_folder, plan, frames):
    pipe = toys_other.animatediff_controlnet(tokenizer_folder)
    with toys.warns("ControlNet still runs on both"), Trace(pipe, plan=plan) as trace:
        toys_other.call_animatediff(pipe, frames=frames)
    assert trace.runs[0].guided_steps == 2


def test_a_pipeline_that_goes_on_with_a_copy_of_its_scheduler_is_named(tokenizer_folder):
    pipe = toys_other.text_to_video_zero(tokenizer_folder)
    with pytest.raises(InputError, match="TextToVideoZeroPipeline swaps its scheduler for a copy"):
        Trace(pipe)


def test_a_subclass_puts_its_branches_where_its_base_does(tokenizer_folder, monkeypatch):
    pipe = toys_other.omnigen(tokenizer_folder, monkeypatch)
    rows = []
    for kind in (type(pipe), type("Mine", (type(pipe),), {})):
        pipe.__class__ = kind
        with Trace(pipe, observers=[StepDistance(KINDS)]) as trace:
            toys_other.call_omnigen(pipe)
        rows.append(trace.records())
    pd.testing.assert_frame_equal(*rows)


def _unpacked_first(source: str) -> set[tuple[str, str]]:
    """Classes of a module whose code unpacks a batch of two, and the branch that comes first."""
    found = set()
    for group in ast.parse(source).body:
        for node in ast.walk(group) if isinstance(group, ast.ClassDef) else ():
            if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
                continue
            called = ast.unparse(node.value.func)
            if not called.endswith((".chunk", ".split")) or "np." in called:
                continue
            names = [name.strip(" ()") for name in ast.unparse(node.targets[0]).split(",")]
            if len(names) == 2 and ("pred" in names[0] or "eps" in names[0] or "cond" in names[0]):
                uncond = ["uncond" in name or "negative" in name for name in names]
                if sum(uncond) == 1 and "embed" not in names[0]:
                    found.add((group.name, "uncond" if uncond[0] else "cond"))
    return found


def test_the_order_of_branches_is_that_of_the_code_of_every_pipeline_of_diffusers():
    """The next release may bring a pipeline that puts the conditional branch first."""
    root = Path(diffusers.__file__).parent / "pipelines"
    found = set()
    for path in root.rglob("pipeline_*.py"):
        found |= _unpacked_first(path.read_text(encoding="utf-8"))
    assert len(found) > 100
    wrong = {
        (name, first)
        for name, first in found
        if (first == "cond") != pipeline_named(name).cond_first
    }
    assert not wrong
