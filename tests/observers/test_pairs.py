"""Comparisons against numpy, from outputs collected by plain torch hooks."""

import numpy as np
import pandas as pd
import pytest
import torch
import toys
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
)
from diffusers.models.attention import (
    BasicTransformerBlock,
    FeedForward,
    TemporalBasicTransformerBlock,
)
from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.transformer_wan import WanAttention, WanTransformerBlock

from attnscope import (
    BranchDistance,
    CaptionDistance,
    FinalDistance,
    PredictionDistance,
    StepDistance,
    Trace,
)
from attnscope.analyses.convergence.interventions import same_latents
from attnscope.plans.guidance import GuidanceCutoff
from attnscope.sites.attention import find_denoiser

MODULES = ("cross", "self", "feed-forward", "block")
KINDS = (*MODULES, "latent")
CLASSES = (
    Attention, WanAttention, FeedForward, BasicTransformerBlock, TemporalBasicTransformerBlock,
    WanTransformerBlock,
)  # fmt: skip
VALUES = ("l2", "rms", "relative", "cosine")


def collect(pipe, run):
    """Outputs of every attention, feed-forward and block, and what the denoiser is given."""
    denoiser = find_denoiser(pipe)
    kept, handles = {"given": []}, []
    for name, module in denoiser.named_modules():
        if isinstance(module, CLASSES):
            kept[name] = []
            handles.append(
                module.register_forward_hook(
                    lambda m, args, output, name=name: kept[name].append(
                        output.double().numpy().copy()
                    )
                )
            )

    def keep(module, args, kwargs):
        given = args[0] if args else kwargs["hidden_states"]
        kept["given"].append(given.double().numpy().copy())

    handles.append(denoiser.register_forward_pre_hook(keep, with_kwargs=True))
    run()
    for handle in handles:
        handle.remove()
    return kept


def measures(a, b):
    """Distances of a from b, by numpy."""
    l2 = np.linalg.norm(a - b)
    cosine = 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    return l2, l2 / np.sqrt(a.size), l2 / np.linalg.norm(b), cosine


def latents_of(family, given, samples):
    """The first four channels of the first branch; channels of a video stand third."""
    first = given[:samples]
    return first[:, :, :4] if family == "svd" else first[:, :4]


def by_sample(outputs, rows):
    return [array.reshape(rows, -1) for array in outputs]


def assert_same(table, expected, keys):
    expected = pd.DataFrame(expected, columns=[*keys, *VALUES]).set_index(keys).sort_index()
    text = {name: str for name in ("site", "branch") if name in keys}
    measured = table.astype(text).set_index(keys).sort_index()
    assert measured.index.equals(expected.index)
    for name in ("l2", "rms", "relative"):
        np.testing.assert_allclose(measured[name], expected[name], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(measured["cosine"], expected["cosine"], rtol=1e-4, atol=2e-6)


def test_step_distance_of_what_stands_around_attention_is_what_numpy_says(pipe, family):
    outputs = collect(pipe, lambda: toys.call(pipe, prompts=2))
    observer = StepDistance(kinds=("feed-forward", "block", "latent"))
    with Trace(pipe, observers=[observer]) as trace:
        toys.call(pipe, prompts=2)
    denoiser = find_denoiser(pipe)
    expected = []
    for site, arrays in outputs.items():
        if site == "given":
            rows, names, site = 2, ["guided"], "x_t"
            flat = [latents_of(family, array, 2).reshape(2, -1) for array in arrays]
        elif isinstance(denoiser.get_submodule(site), Attention):
            continue
        else:
            rows, names, flat = 4, ["uncond", "cond"], by_sample(arrays, 4)
        for step in range(1, len(flat)):
            for row in range(rows):
                a, b = flat[step - 1][row], flat[step][row]
                expected.append((site, step, row % 2, names[row // 2], *measures(b, a)))
    assert_same(trace.records(), expected, ["site", "step", "sample", "branch"])
    kinds = trace.records().drop_duplicates("site").set_index("site")["kind"]
    for site, kind in kinds.items():
        ends = {"feed-forward": (".ff", ".ff_in"), "latent": ("x_t",)}.get(kind, ("",))
        assert site.endswith(ends)
    assert set(kinds) == {"feed-forward", "block", "latent"}


@pytest.mark.parametrize("guidance", [5.0, 1.0])
def test_final_distance_is_what_numpy_says(pipe, family, guidance):
    options = {"prompts": 2, "guidance": guidance}
    outputs = collect(pipe, lambda: toys.call(pipe, **options))
    with Trace(pipe, observers=[FinalDistance(KINDS)]) as trace:
        toys.call(pipe, **options)
        toys.call(pipe, **options)
    names = ["uncond", "cond"] if guidance > 1 else ["cond"]
    expected = []
    for site, arrays in outputs.items():
        rows, labels = 2 * len(names), names
        flat = by_sample(arrays, rows) if site != "given" else None
        if site == "given":
            rows, labels, site = 2, ["guided"], "x_t"
            flat = [latents_of(family, array, 2).reshape(2, -1) for array in arrays]
        for step in range(len(flat) - 1):
            for row in range(rows):
                found = measures(flat[step][row], flat[-1][row])
                expected.append((site, step, row % 2, labels[row // 2], *found))
    assert_same(trace.records(), expected, ["site", "step", "sample", "branch"])
    assert set(trace.records()["run"]) == {1}


def test_branch_distance_is_what_numpy_says(pipe):
    outputs = collect(pipe, lambda: toys.call(pipe, prompts=2))
    outputs.pop("given")
    with Trace(pipe, observers=[BranchDistance(MODULES)]) as trace:
        toys.call(pipe, prompts=2)
    expected = [
        (site, step, row, *measures(array[row], array[row + 2]))
        for site, arrays in outputs.items()
        for step, array in enumerate(by_sample(arrays, 4))
        for row in range(2)
    ]
    assert_same(trace.records(), expected, ["site", "step", "sample"])


def test_branch_distance_across_two_calls_is_what_numpy_says():
    pipe = toys.wan()
    outputs = collect(pipe, lambda: toys.call_wan(pipe))
    outputs.pop("given")
    with Trace(pipe, observers=[BranchDistance(MODULES)]) as trace:
        toys.call_wan(pipe)
    expected = [
        (site, step, row, *measures(uncond[row], cond[row]))
        for site, arrays in outputs.items()
        for step in range(4)
        for cond, uncond in [by_sample(arrays, 2)[2 * step : 2 * step + 2]]
        for row in range(2)
    ]
    assert_same(trace.records(), expected, ["site", "step", "sample"])


def test_without_guidance_there_is_no_distance_between_branches(pipe):
    """The halves of a batch of two images are two images."""
    observers = [BranchDistance(), PredictionDistance()]
    with Trace(pipe, observers=observers) as trace:
        toys.call(pipe, prompts=2, guidance=1.0)
    assert trace.records(observers[0]).empty
    assert trace.records(observers[1]).empty


def test_where_a_plan_drops_a_branch_its_distance_ends(sd):
    observers = [BranchDistance(), PredictionDistance()]
    with Trace(sd, plan=GuidanceCutoff(2), observers=observers) as trace:
        toys.call(sd)
    assert set(trace.records(observers[0])["step"]) == {0, 1}
    assert set(trace.records(observers[1])["step"]) == {0, 1}


def test_caption_distance_is_what_numpy_says(pipe, family):
    """Rows of the second caption are given the first one's latents, and differ by the text alone."""
    others = {"prompts": 2}
    with same_latents(pipe, 1):
        outputs = collect(pipe, lambda: toys.call(pipe, **others))
        with Trace(pipe, observers=[CaptionDistance(1, MODULES)]) as trace:
            toys.call(pipe, **others)
    given = outputs.pop("given")
    for array in given:
        own, other = array.reshape(2, 2, -1).swapaxes(0, 1)
        np.testing.assert_array_equal(own, other)
    expected = [
        (site, step, 0, branch, *measures(array[row + 1], array[row]))
        for site, arrays in outputs.items()
        for step, array in enumerate(by_sample(arrays, 4))
        for row, branch in ((0, "uncond"), (2, "cond"))
    ]
    table = trace.records()
    assert_same(table, expected, ["site", "step", "sample", "branch"])
    if family in ("sd", "sdxl"):
        assert table.query("branch == 'uncond'")["l2"].max() < 1e-4
        assert table.query("branch == 'cond' and kind == 'cross'")["l2"].min() > 1e-3


def noise_of(scheduler, sample, output, timestep):
    """Noise and x_0 of a prediction, by the definition of the parameterisation."""
    signal = scheduler.alphas_cumprod[int(timestep)].double()
    alpha, sigma = signal.sqrt(), (1 - signal).sqrt()
    x_t = alpha * sample if isinstance(scheduler, EulerDiscreteScheduler) else sample
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return output, (x_t - sigma * output) / alpha
    if kind == "v_prediction":
        return alpha * output + sigma * x_t, alpha * x_t - sigma * output
    return (x_t - alpha * output) / sigma, output


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize(
    "scheduler", [DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler]
)
def test_the_cosine_between_predictions_is_that_of_noise_and_of_x_0(sd, prediction, scheduler):
    sd.scheduler = scheduler.from_config(sd.scheduler.config, prediction_type=prediction)
    outputs, stamps = [], []
    handle = sd.unet.register_forward_hook(lambda m, args, out: outputs.append(out[0].double()))
    step = sd.scheduler.step

    def keep(model_output, timestep, sample, *args, **kwargs):
        stamps.append((timestep, sample.double()))
        return step(model_output, timestep, sample, *args, **kwargs)

    keep.__wrapped__ = step
    sd.scheduler.step = keep
    toys.call(sd, prompts=2)
    handle.remove()
    del sd.scheduler.step
    with Trace(sd, observers=[PredictionDistance()]) as trace:
        toys.call(sd, prompts=2)
        toys.call(sd, steps=3)  # another schedule must not change what the first one meant
    table = trace.records().query("run == 0").set_index(["step", "sample", "prediction"])
    assert len(table) == 4 * 2 * 2
    for index, (output, (timestep, sample)) in enumerate(zip(outputs, stamps, strict=True)):
        uncond, cond = (noise_of(sd.scheduler, sample, half, timestep) for half in output.chunk(2))
        for name, u, c in zip(("noise", "x_0"), uncond, cond, strict=True):
            for row in range(2):
                found = measures(u[row].flatten().numpy(), c[row].flatten().numpy())
                here = table.loc[(index, row, name), list(VALUES)].astype(float)
                np.testing.assert_allclose(here, found, rtol=5e-3, atol=2e-6)


def test_predictions_of_two_calls_are_compared():
    pipe, outputs, given = toys.wan(), [], []
    denoiser = find_denoiser(pipe)
    handles = [
        denoiser.register_forward_hook(lambda m, args, out: outputs.append(out[0].double())),
        denoiser.register_forward_pre_hook(
            lambda m, args, kwargs: given.append(kwargs["hidden_states"].double()), with_kwargs=True
        ),
    ]
    toys.call_wan(pipe)
    for handle in handles:
        handle.remove()
    with Trace(pipe, observers=[PredictionDistance()]) as trace:
        toys.call_wan(pipe)
    table = trace.records().set_index(["step", "sample", "prediction"])
    for step in range(4):
        sigma, x = pipe.scheduler.sigmas[step].double(), given[2 * step]
        cond, uncond = outputs[2 * step], outputs[2 * step + 1]
        for name, weight, sign in (("noise", 1 - sigma, 1), ("x_0", sigma, -1)):
            for row in range(2):
                u, c = ((x + sign * weight * p)[row].flatten().numpy() for p in (uncond, cond))
                found = measures(u, c)
                here = table.loc[(step, row, name), list(VALUES)].astype(float)
                np.testing.assert_allclose(here, found, rtol=1e-3, atol=2e-6)


def test_prediction_distance_leaves_learned_variances_out(tokenizer_folder):
    pipe = toys.pixart(tokenizer_folder)
    with Trace(pipe, observers=[PredictionDistance()]) as trace:
        toys.call(pipe)
    table = trace.records()
    np.testing.assert_allclose(table["l2"] / table["rms"], np.sqrt(4 * 16 * 16), rtol=1e-6)


def test_prediction_distance_refuses_what_it_cannot_convert_before_the_run_is_spent(sd):
    sd.scheduler = EDMEulerScheduler()
    with (
        pytest.raises(ValueError, match="no way from EDMEulerScheduler"),
        Trace(sd, observers=[PredictionDistance()]),
    ):
        toys.call(sd)


def twice(pipe, observer, change=None):
    with Trace(pipe, observers=[observer]) as trace:
        toys.call(pipe)
        toys.call(pipe, **(change or {}))
    return trace.records()


@pytest.mark.parametrize("change", [{"seed": 1}, {"steps": 3}, {"guidance": 1.0}])
def test_a_second_pass_that_is_another_one_is_refused(sd, change):
    with pytest.raises(ValueError, match="compares with a first pass that was another one"):
        twice(sd, FinalDistance(), change)


def test_a_missing_second_pass_is_said(sd):
    with Trace(sd, observers=[FinalDistance()]) as trace:
        toys.call(sd)
    with toys.warns("the first of two passes only"):
        assert trace.records().empty


def test_passes_go_in_pairs(sd):
    with Trace(sd, observers=[FinalDistance()]) as trace:
        for seed in (0, 0, 1, 1):
            toys.call(sd, seed=seed)
    table = trace.records()
    assert set(table["run"]) == {1, 3}
    first, second = (table.query("run == @run")["l2"].to_numpy() for run in (1, 3))
    assert not np.allclose(first, second)


def test_final_distance_follows_the_branch_that_stays(sd):
    with Trace(sd, plan=GuidanceCutoff(2), observers=[FinalDistance()]) as trace:
        toys.call(sd)
        toys.call(sd)
    assert set(trace.records()["branch"]) == {"cond"}
    assert set(trace.records()["step"]) == {0, 1, 2}


def test_caption_distance_says_how_many_prompts_it_needs(sd):
    with (
        pytest.raises(ValueError, match="call the pipeline on 6 prompts"),
        Trace(sd, observers=[CaptionDistance(3)]),
    ):
        toys.call(sd, prompts=2)


def test_two_guidance_branches_are_not_taken_for_two_captions(sd):
    with (
        pytest.raises(ValueError, match="of 1 samples: call the pipeline on 2 prompts"),
        Trace(sd, observers=[CaptionDistance(1)]),
    ):
        toys.call(sd)


@pytest.mark.parametrize("make", [BranchDistance, lambda kinds: CaptionDistance(1, kinds)])
def test_latents_are_refused_where_both_are_given_the_same(make):
    with pytest.raises(ValueError, match="leave 'latent' out"):
        make(("cross", "latent"))


@pytest.mark.parametrize("observer", [FinalDistance, BranchDistance])
def test_a_site_called_twice_in_a_step_has_no_one_distance(sd, observer):
    module = sd.unet.get_submodule("mid_block.attentions.0")
    module.register_forward_hook(lambda m, args, output: m.forward(*args, return_dict=False))
    with pytest.raises(RuntimeError, match="several times in a step"):
        twice(sd, observer(sites="mid*"))


def test_half_precision_is_compared_in_single(sd):
    sd.unet.to(torch.bfloat16)
    sd.text_encoder.to(torch.bfloat16)
    outputs = collect(sd, lambda: toys.call(sd))
    outputs.pop("given")
    with Trace(sd, observers=[BranchDistance(MODULES)]) as trace:
        toys.call(sd)
    expected = [
        (site, step, 0, *measures(array[0], array[1]))
        for site, arrays in outputs.items()
        for step, array in enumerate(by_sample(arrays, 2))
    ]
    assert_same(trace.records(), expected, ["site", "step", "sample"])
