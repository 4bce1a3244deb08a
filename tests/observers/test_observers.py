"""Every streamed value against numpy, from outputs collected by plain torch hooks."""

import denoisers
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
    HeunDiscreteScheduler,
)

from attnscope import FeatureMaps, NoiseMean, StepDistance, Trace, find_sites
from attnscope.sites.attention import find_denoiser


def collect_outputs(pipe, run):
    """Outputs of every attention module over a run: site name to arrays, one per call."""
    denoiser = find_denoiser(pipe)
    kept = {site.name: [] for site in find_sites(denoiser)}
    handles = [
        denoiser.get_submodule(name).register_forward_hook(
            lambda module, args, output, name=name: kept[name].append(
                output.double().numpy().copy()
            )
        )
        for name in kept
    ]
    run()
    for handle in handles:
        handle.remove()
    return kept


def expected_distances(outputs, samples, guidance):
    """The measures, computed from stored outputs with numpy alone."""
    rows = []
    for site, arrays in outputs.items():
        flat = [a.reshape(samples * (2 if guidance else 1), -1) for a in arrays]
        for step in range(1, len(flat)):
            for row, (a, b) in enumerate(zip(flat[step - 1], flat[step], strict=True)):
                l2 = np.linalg.norm(b - a)
                cosine = 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                branch = ("uncond", "cond")[row // samples] if guidance else "cond"
                rms, relative = l2 / np.sqrt(a.size), l2 / np.linalg.norm(a)
                rows.append((site, step, row % samples, branch, l2, rms, relative, cosine))
    columns = ["site", "step", "sample", "branch", "l2", "rms", "relative", "cosine"]
    return pd.DataFrame(rows, columns=columns).set_index(columns[:4]).sort_index()


@pytest.mark.parametrize("guidance", [5.0, 1.0])
@pytest.mark.parametrize(("prompts", "per_prompt"), [(1, 1), (2, 2)])
def test_step_distance_is_what_numpy_says(pipe, guidance, prompts, per_prompt):
    options = {"prompts": prompts, "per_prompt": per_prompt, "guidance": guidance}
    outputs = collect_outputs(pipe, lambda: toys.call(pipe, **options))
    with Trace(pipe, observers=[StepDistance()]) as trace:
        toys.call(pipe, **options)
    measured = trace.records().astype({"site": str, "branch": str})
    measured = measured.set_index(["site", "step", "sample", "branch"]).sort_index()
    expected = expected_distances(outputs, prompts * per_prompt, guidance > 1)
    assert measured.index.equals(expected.index)
    for name in ("l2", "rms", "relative"):
        np.testing.assert_allclose(measured[name], expected[name], rtol=2e-5, atol=1e-7)
    np.testing.assert_allclose(measured["cosine"], expected["cosine"], atol=1e-6)


def test_step_distance_with_a_second_order_scheduler_is_what_numpy_says(sd):
    sd.scheduler = HeunDiscreteScheduler.from_config(sd.scheduler.config)
    outputs = collect_outputs(sd, lambda: toys.call(sd))
    with Trace(sd, observers=[StepDistance()]) as trace:
        toys.call(sd)
    expected = expected_distances(outputs, 1, True)
    assert len(trace.records()) == len(expected)
    measured = trace.records().astype({"site": str, "branch": str})
    measured = measured.set_index(["site", "step", "sample", "branch"]).sort_index()
    np.testing.assert_allclose(measured["l2"], expected["l2"], rtol=2e-5)


def test_samples_are_prompt_major(sd):
    """Sample 1 of two prompts with two images each is the first prompt's second image."""
    with Trace(sd, observers=[StepDistance()]) as both:
        generators = [torch.Generator().manual_seed(i) for i in range(4)]
        toys.call(sd, prompts=2, per_prompt=2, generator=generators)
    with Trace(sd, observers=[StepDistance()]) as alone:
        sd(
            toys.PROMPTS[0], height=32, width=32, num_inference_steps=4, guidance_scale=5.0,
            output_type="latent", generator=torch.Generator().manual_seed(1),
        )  # fmt: skip
    chosen = both.records().query("sample == 1")["l2"]
    np.testing.assert_allclose(chosen, alone.records()["l2"], rtol=1e-4)


def test_a_pattern_narrows_the_sites(sd):
    with Trace(sd, observers=[StepDistance(sites="up_blocks.0*")]) as trace:
        toys.call(sd)
    assert set(trace.records()["block"]) == {"up_blocks.0"}


def test_kinds_narrow_the_sites(sd):
    with Trace(sd, observers=[StepDistance(kinds=["cross"])]) as trace:
        toys.call(sd)
    assert set(trace.records()["kind"]) == {"cross"}


def test_a_pattern_that_matches_nothing_says_what_there_is(sd):
    with (
        pytest.raises(ValueError, match="no attention site matches"),
        Trace(sd, observers=[StepDistance(sites="transformer*")]),
    ):
        pass


def test_store_on_the_cpu_measures_the_same(sd):
    near, far = StepDistance(), StepDistance(store="cpu")
    with Trace(sd, observers=[near, far]) as trace:
        toys.call(sd)
    pd.testing.assert_frame_equal(trace.records(near), trace.records(far))
    with pytest.raises(ValueError, match="store='disk'"):
        StepDistance(store="disk")


@pytest.mark.parametrize("guidance", [5.0, 1.0])
def test_nbytes_is_what_a_run_keeps(pipe, family, guidance):
    kept = []

    class Weighing(StepDistance):
        def finish(self, run):
            kept.append(sum(pace.previous.nbytes for pace in self._paces.values()))
            super().finish(run)

    observer = Weighing()
    frames = 3 if family == "svd" else 1
    foreseen = observer.nbytes(
        pipe, batch=2, height=32, width=32, frames=frames, guidance=guidance > 1
    )
    with Trace(pipe, observers=[observer]):
        toys.call(pipe, prompts=2, guidance=guidance)
    assert kept == [foreseen]


def weighed(pipe, call=lambda pipe: toys.call(pipe, prompts=2, guidance=1.0), batch=2):
    """What ``nbytes`` foresees of images without guidance, and what a run of them keeps."""
    kept = []

    class Weighing(StepDistance):
        def finish(self, run):
            kept.append(sum(pace.previous.nbytes for pace in self._paces.values()))
            super().finish(run)

    observer = Weighing()
    foreseen = observer.nbytes(pipe, batch=batch, height=32, width=32, guidance=False)
    with Trace(pipe, observers=[observer]):
        call(pipe)
    return foreseen, kept[0]


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16])
def test_nbytes_counts_what_is_computed_in_under_layerwise_casting(sd, compute):
    plain, _ = weighed(sd)
    sd.text_encoder.to(compute)
    sd.unet.to(compute)
    sd.unet.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=compute)
    foreseen, kept = weighed(sd)
    assert foreseen == kept == plain * compute.itemsize // 4


def test_nbytes_counts_what_is_computed_in_where_only_the_attention_is_cast(sd):
    from diffusers.hooks import apply_layerwise_casting

    plain, _ = weighed(sd)
    for module in (sd.unet.mid_block.attentions, sd.unet.up_blocks):
        apply_layerwise_casting(module, torch.float8_e4m3fn, torch.float32)
    foreseen, kept = weighed(sd)
    assert foreseen == kept == plain


def test_nbytes_does_not_take_the_first_parameters_precision_for_that_of_all(sd):
    plain, _ = weighed(sd)
    sd.text_encoder.to(torch.bfloat16)
    sd.unet.to(torch.bfloat16)
    first = sd.unet.conv_in.float()
    assert next(sd.unet.parameters()).dtype == torch.float32
    first.register_forward_pre_hook(lambda _, args: (args[0].float(),))
    first.register_forward_hook(lambda _, args, output: output.bfloat16())
    foreseen, kept = weighed(sd)
    assert foreseen == kept == plain // 2


def test_nbytes_of_quantised_weights_is_that_of_the_rest_of_the_model(sd):
    plain = StepDistance().nbytes(sd, batch=2, height=32, width=32)
    sd.unet.to(torch.bfloat16)
    for site in find_sites(sd.unet):
        weights = sd.unet.get_submodule(site.name).to_out[0]
        packed = torch.zeros(weights.weight.shape, dtype=torch.uint8)
        weights.weight = torch.nn.Parameter(packed, requires_grad=False)
    assert StepDistance().nbytes(sd, batch=2, height=32, width=32) == plain // 2


def test_nbytes_of_weights_that_tell_nothing_is_refused(sd):
    sd.unet.to(torch.float8_e4m3fn)  # for storage alone: nobody says what it computes in
    with pytest.raises(ValueError, match=r"weights are torch\.float8_e4m3fn: measure a run"):
        StepDistance().nbytes(sd, height=32, width=32)


def test_nbytes_of_lumina_whose_attention_has_no_output_projection():
    loop = denoisers.Loop("lumina")
    loop.vae_scale_factor = 8
    foreseen, kept = weighed(loop, lambda loop: loop(2), batch=1)
    assert foreseen == kept > 0


def test_nbytes_where_text_takes_part_or_the_module_is_not_known_is_refused():
    flux, kandinsky = denoisers.Loop("flux"), denoisers.Loop("kandinsky5")
    for loop, kinds, reason in (
        (flux, ["joint"], "how much text takes part in transformer_blocks.0.attn is not known"),
        (kandinsky, ["self", "cross"], "is not known: measure a run"),
    ):
        loop.vae_scale_factor = 8
        with pytest.raises(ValueError, match=reason):
            StepDistance(kinds).nbytes(loop, height=32, width=32)


def test_half_precision_is_accumulated_in_single(sd):
    sd.unet.to(torch.bfloat16)
    sd.text_encoder.to(torch.bfloat16)
    outputs = collect_outputs(sd, lambda: toys.call(sd))
    with Trace(sd, observers=[StepDistance()]) as trace:
        toys.call(sd)
    expected = expected_distances(outputs, 1, True)
    measured = trace.records().astype({"site": str, "branch": str})
    measured = measured.set_index(["site", "step", "sample", "branch"]).sort_index()
    np.testing.assert_allclose(measured["l2"], expected["l2"], rtol=2e-5, atol=1e-6)


def test_single_token_cross_attention_does_not_move(tokenizer_folder):
    """Stable Video Diffusion looks at one image token: softmax over it is 1 at every step."""
    pipe = toys.stable_video_diffusion(tokenizer_folder)
    with Trace(pipe, observers=[StepDistance()]) as trace:
        toys.call(pipe)
    largest = trace.records().groupby("kind", observed=True)["l2"].max()
    assert largest["cross"] == 0
    assert largest["self"] > 0


def test_text_columns_are_categorical(sd):
    with Trace(sd, observers=[StepDistance()]) as trace:
        toys.call(sd)
    table = trace.records()
    assert all(table[name].dtype == "category" for name in ("site", "kind", "block", "branch"))
    assert list(table.columns[:8]) == [
        "run", "sample", "branch", "step", "timestep", "site", "kind", "block",
    ]  # fmt: skip


def test_feature_maps_are_the_outputs(pipe):
    outputs = collect_outputs(pipe, lambda: toys.call(pipe, prompts=2))
    with Trace(pipe, observers=[FeatureMaps("*attn2", steps=[0, 2])]) as trace:
        toys.call(pipe, prompts=2)
    table = trace.records()
    assert set(table["step"]) == {0, 2}
    for row in table.itertuples():
        number = row.sample + 2 * (row.branch == "cond")
        array = outputs[row.site][row.step]
        expected = array.reshape(4, -1, *array.shape[1:])[number]
        np.testing.assert_allclose(row.output, expected.reshape(row.output.shape), rtol=1e-6)


def test_feature_maps_of_steps_that_were_not_reached_are_announced(sd):
    def interrupt(pipe, step, timestep, tensors):
        pipe._interrupt = step >= 1
        return tensors

    with (
        toys.warns(r"no feature maps of steps \[3\]"),
        Trace(sd, observers=[FeatureMaps("*", [1, 3])]) as trace,
    ):
        toys.call(sd, steps=4, callback_on_step_end=interrupt)
    assert set(trace.records()["step"]) == {1}


def test_outputs_that_are_not_numbers_stay_in_the_table_and_are_named(sd):
    name = "mid_block.attentions.0.transformer_blocks.0.attn1"
    sd.unet.get_submodule(name).register_forward_hook(lambda m, args, output: output * np.nan)
    observer = StepDistance(sites="mid*attn1")
    with (
        toys.warns(f"returned NaN or infinity, such as {name}"),
        Trace(sd, observers=[observer]) as trace,
    ):
        toys.call(sd)
    assert len(trace.records()) == 6
    assert trace.records()["l2"].isna().all()


def test_a_site_called_twice_in_a_step_is_refused(sd):
    module = sd.unet.get_submodule("mid_block.attentions.0")
    module.register_forward_hook(lambda m, args, output: m.forward(*args, return_dict=False))
    with (
        pytest.raises(RuntimeError, match="several times in a step"),
        Trace(sd, observers=[StepDistance(sites="mid*")]),
    ):
        toys.call(sd)


def test_feature_maps_refuse_a_step_that_is_not_there(sd):
    with (
        pytest.raises(ValueError, match=r"steps=\[9\]"),
        Trace(sd, observers=[FeatureMaps("*", [9])]),
    ):
        toys.call(sd, steps=4)


def collect_noise(pipe, run):
    """What the scheduler is given at every step: prediction, timestep and latents."""
    seen, step = [], pipe.scheduler.step

    def keep(model_output, timestep, sample, *args, **kwargs):
        seen.append((model_output.double(), timestep, sample.double()))
        return step(model_output, timestep, sample, *args, **kwargs)

    keep.__wrapped__ = step
    pipe.scheduler.step = keep
    run()
    del pipe.scheduler.step
    return seen


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize(
    "scheduler", [DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler]
)
def test_noise_mean_converts_any_prediction_to_noise(sd, prediction, scheduler):
    """x_t = alpha x_0 + sigma eps is solved for eps, in the scheduler's own scale."""
    sd.scheduler = scheduler.from_config(sd.scheduler.config, prediction_type=prediction)
    given = collect_noise(sd, lambda: toys.call(sd, prompts=2))
    with Trace(sd, observers=[NoiseMean()]) as trace:
        toys.call(sd, prompts=2)
        toys.call(sd, steps=3)  # another schedule must not change what the first one meant
    guided = trace.records().query("branch == 'guided' and run == 0").set_index(["step", "sample"])
    euler = scheduler is EulerDiscreteScheduler
    for step, (output, timestep, sample) in enumerate(given):
        signal = sd.scheduler.alphas_cumprod[int(timestep)].double()
        alpha, sigma = signal.sqrt(), (1 - signal).sqrt()
        x_t = alpha * sample if euler else sample
        noise = {
            "epsilon": output,
            "v_prediction": alpha * output + sigma * x_t,
            "sample": (x_t - alpha * output) / sigma,
        }[prediction]
        for index in range(2):
            row = guided.loc[(step, index)]
            np.testing.assert_allclose(row["mean"], noise[index].mean(), rtol=1e-3, atol=1e-5)
            np.testing.assert_allclose(row["norm"], noise[index].norm(), rtol=1e-3)


def test_noise_mean_converts_a_flow_to_noise():
    """x_t = (1 - sigma) x_0 + sigma eps and the model says eps - x_0."""
    pipe = toys.wan()
    given = collect_noise(pipe, lambda: toys.call_wan(pipe))
    with Trace(pipe, observers=[NoiseMean()]) as trace:
        toys.call_wan(pipe)
    guided = trace.records().query("branch == 'guided'").set_index(["step", "sample"])
    for step, (output, timestep, sample) in enumerate(given):
        noise = sample + (1 - float(timestep) / 1000) * output
        for index in range(2):
            np.testing.assert_allclose(
                guided.loc[(step, index), "norm"], noise[index].norm(), rtol=1e-4
            )


def test_noise_mean_refuses_what_it_cannot_convert_before_the_run_is_spent(sd):
    sd.scheduler = EDMEulerScheduler()
    with (
        pytest.raises(ValueError, match="no way from EDMEulerScheduler"),
        Trace(sd, observers=[NoiseMean()]),
    ):
        toys.call(sd)


def test_noise_mean_of_the_branches_is_the_denoisers_output(sd):
    outputs = []
    handle = sd.unet.register_forward_hook(lambda m, args, output: outputs.append(output[0]))
    with Trace(sd, observers=[NoiseMean()]) as trace:
        toys.call(sd)
    handle.remove()
    table = trace.records().set_index(["branch", "step"])
    for step, output in enumerate(outputs):
        for row, branch in enumerate(("uncond", "cond")):
            np.testing.assert_allclose(
                table.loc[(branch, step), "mean"].item(), output[row].mean(), rtol=1e-3, atol=1e-6
            )
            np.testing.assert_allclose(
                table.loc[(branch, step), "norm"].item(), output[row].norm(), rtol=1e-4
            )


def test_noise_mean_leaves_learned_variances_out(tokenizer_folder):
    pipe = toys.pixart(tokenizer_folder)
    with Trace(pipe, observers=[NoiseMean()]) as trace:
        toys.call(pipe)
    table = trace.records()
    np.testing.assert_allclose(table["norm"] / table["rms"], np.sqrt(4 * 16 * 16), rtol=1e-6)


def test_velocity_of_pure_noise_is_noise_of_unit_size(tokenizer_folder):
    """At the first step of SVD the latents are noise, whatever the model says."""
    pipe = toys.stable_video_diffusion(tokenizer_folder)
    with Trace(pipe, observers=[NoiseMean()]) as trace:
        toys.call(pipe)
    first = trace.records().query("step == 0")
    np.testing.assert_allclose(first["rms"], 1, atol=0.1)
