"""Pipelines that turn or convert what their denoiser says before the scheduler is given it."""

import flows
import numpy as np
import pytest
import torch
import toys

from attnscope import NoiseMean, Trace
from attnscope.errors import InputError
from attnscope.models.signs import products, sign_of
from attnscope.observers.predictions import PredictionDistance
from attnscope.plans.guidance import GuidanceCutoff

# Names of the branches of the denoiser's rows in order, and the sign of its flow: eps - x_0 is 1.
PIPELINES = {
    "lumina2": (flows.lumina2, flows.call_lumina2, ("cond", "uncond"), -1),
    "z_image": (flows.z_image, flows.call_z_image, ("cond", "uncond"), -1),
    "mochi": (flows.mochi, flows.call_mochi, ("uncond", "cond"), -1),
}
QUIET = pytest.mark.filterwarnings("ignore:In CPU autocast:UserWarning")  # of Mochi itself


def heard(pipe, run):
    """What the denoiser says at every step, one array a branch and sample; latents; sigmas."""
    said, steps = [], []
    handle = pipe.transformer.register_forward_hook(
        lambda m, a, output: said.extend(output[0] if isinstance(output[0], list) else [*output[0]])
    )
    original = pipe.scheduler.step

    def step(prediction, timestep, sample, **kwargs):
        inverted = pipe.scheduler.config.invert_sigmas
        share = float(timestep) / 1000
        rows = np.stack([row.float().numpy().reshape(-1) for row in said])
        said.clear()
        steps.append((rows, sample.flatten(1).numpy(), 1 - share if inverted else share))
        return original(prediction, timestep, sample, **kwargs)

    pipe.scheduler.step = step
    try:
        run()
    finally:
        handle.remove()
        del pipe.scheduler.step
    return steps


@QUIET
@pytest.mark.parametrize(
    ("name", "guidance"),
    [("lumina2", 4.0), ("lumina2", 1.0), ("z_image", 4.0), ("z_image", 0.0), ("mochi", 4.0)],
)
def test_the_noise_of_a_branch_has_the_sign_that_the_scheduler_reads(name, guidance):
    make, run, order, sign = PIPELINES[name]
    pipe = make()
    steps = heard(pipe, lambda: run(pipe, guidance=guidance))
    with Trace(pipe, observers=[NoiseMean()]) as trace:
        run(pipe, guidance=guidance)
    table = trace.records().set_index(["branch", "step", "sample"])
    order = order if guidance > 1 else ("cond",)
    assert set(table.index.get_level_values(0)) == {*order, "guided"}
    for step, (rows, latents, sigma) in enumerate(steps):
        assert len(rows) == 2 * len(order)
        for place, branch in enumerate(order):
            for sample in range(2):
                flow = sign * rows[2 * place + sample]
                noise = latents[sample] + (1 - sigma) * flow
                found = table.loc[(branch, step, sample)]
                np.testing.assert_allclose(found["mean"], noise.mean(), rtol=1e-3, atol=1e-5)
                np.testing.assert_allclose(found["norm"], np.linalg.norm(noise), rtol=1e-4)
                if len(order) == 1:
                    guided = table.loc[("guided", step, sample)]
                    np.testing.assert_allclose(guided["norm"], found["norm"], rtol=1e-5)


@pytest.mark.parametrize("name", ["lumina2", "z_image"])
def test_predictions_of_both_branches_are_compared_as_the_scheduler_reads_them(name):
    make, run, order, sign = PIPELINES[name]
    pipe = make()
    steps = heard(pipe, lambda: run(pipe))
    with Trace(pipe, observers=[PredictionDistance()]) as trace:
        run(pipe)
    table = trace.records().set_index(["step", "sample", "prediction"])
    for step, (rows, latents, sigma) in enumerate(steps):
        by_name = dict(zip(order, rows.reshape(2, 2, -1), strict=True))
        for sample in range(2):
            flow = {branch: sign * by_name[branch][sample] for branch in order}
            for kind, weight in (("noise", 1 - sigma), ("x_0", -sigma)):
                c, u = (latents[sample] + weight * flow[b] for b in ("cond", "uncond"))
                found = table.loc[(step, sample, kind)]
                apart = np.linalg.norm(c - u)
                np.testing.assert_allclose(found["l2"], apart, rtol=1e-3, atol=1e-4)
                expected = apart / np.linalg.norm(c)
                np.testing.assert_allclose(found["relative"], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("guidance", [4.0, 1.0])
def test_a_model_of_x_0_whose_pipeline_makes_a_velocity_has_guided_rows_alone(guidance):
    pipe = flows.prx_pixel()
    with toys.warns("makes another quantity"), Trace(pipe, observers=[NoiseMean()]) as trace:
        flows.call_prx_pixel(pipe, guidance=guidance)
    assert set(trace.records()["branch"]) == {"guided"}
    assert set(trace.records()["step"]) == {0, 1, 2, 3}


def test_nothing_is_compared_where_the_scheduler_is_given_another_quantity():
    pipe = flows.prx_pixel()
    with toys.warns("makes another quantity"), Trace(pipe, observers=[PredictionDistance()]) as t:
        flows.call_prx_pixel(pipe)
    assert t.records().empty


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("sd", {"guidance_rescale": 0.7}),
        ("sd", {"guidance": 1.0}),
        ("sd", {"guidance": 40.0}),
        ("pixart", {}),
        ("svd", {"guidance": 1.0}),
    ],
)
def test_what_is_not_turned_keeps_its_sign(family, options, tokenizer_folder):
    pipe = toys.FAMILIES[family](tokenizer_folder)
    with Trace(pipe, observers=[NoiseMean()]) as trace:
        toys.call(pipe, prompts=2, **options)
    guided = options.get("guidance") != 1.0
    branches = {"uncond", "cond", "guided"} if guided else {"cond", "guided"}
    assert set(trace.records()["branch"]) == branches


def test_guidance_that_differs_from_frame_to_frame_keeps_its_sign(tokenizer_folder):
    """Stable Video Diffusion guides its last frame three times as much as its first."""
    pipe = toys.stable_video_diffusion(tokenizer_folder)
    with Trace(pipe, observers=[NoiseMean()]) as trace:
        pipe(
            toys.Image.new("RGB", (32, 32), "red"),
            height=32,
            width=32,
            num_frames=3,
            min_guidance_scale=1.0,
            max_guidance_scale=9.0,
            num_inference_steps=3,
            output_type="latent",
            generator=torch.Generator().manual_seed(0),
        )
    assert set(trace.records()["branch"]) == {"uncond", "cond", "guided"}


def test_a_dropped_branch_keeps_the_sign(tokenizer_folder):
    pipe = toys.stable_diffusion(tokenizer_folder)
    plan = GuidanceCutoff(2)
    with Trace(pipe, plan=plan, observers=[NoiseMean()]) as trace:
        toys.call(pipe, prompts=2)
    late = trace.records().query("step >= 2")
    assert set(late["branch"]) == {"cond", "guided"}
    by_branch = [late[late["branch"] == b]["norm"].to_numpy() for b in ("cond", "guided")]
    np.testing.assert_allclose(*by_branch, rtol=1e-5)


def test_a_prediction_of_more_than_the_latents_leaves_the_guided_rows(tokenizer_folder):
    """FLUX Kontext, Qwen-Image-Edit: the denoiser also answers for the picture it is shown."""
    pipe = toys.stable_diffusion(tokenizer_folder)
    pipe.unet.register_forward_hook(lambda m, a, out: (torch.cat([out[0], out[0]], -1),))
    with (
        toys.warns("layout of this denoiser's predictions is not known"),
        Trace(pipe, observers=[NoiseMean()]) as trace,
    ):
        pipe.unet.register_forward_hook(lambda m, a, out: (out[0][..., :16],))
        toys.call(pipe)
    assert set(trace.records()["branch"]) == {"guided"}


def test_noise_levels_of_single_tokens_are_refused_before_the_step():
    """LTX holds known frames at no noise, and turns the sign where it says so."""
    pipe = flows.lumina2()

    def one_step():
        pipe.scheduler.set_timesteps(4)
        now, latents = pipe.scheduler.timesteps[0], torch.zeros(2, 4, 8, 8)
        mask = torch.ones(2, 6, dtype=torch.long)
        said = pipe.transformer(latents, torch.zeros(2), torch.zeros(2, 6, 16), mask).sample
        pipe.scheduler.step(-said, now, latents, per_token_timesteps=now.expand(2, 64))

    with (
        pytest.raises(InputError, match="noise level of its own"),
        Trace(pipe, observers=[NoiseMean()]),
    ):
        one_step()


def drawn(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((count, 2, 300), generator=generator)


def seen(branches, guided, latents):
    return products([torch.cat(list(branches))], guided, latents).numpy()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    "weights", [(1.0,), (-6.5, 7.5), (5.0, -4.0), (-0.6, -3.0, 4.6), (0.5, 0.5), (-99.0, 100.0)]
)
def test_a_guidance_formula_shows_its_sign(weights, sign):
    *branches, latents = drawn(len(weights) + 1)
    guided = sign * sum(w * b for w, b in zip(weights, branches, strict=True))
    assert sign_of([seen(branches, guided, latents)]) == sign
    close = [branches[0] + 1e-3 * b for b in branches]  # as branches are when all is noise
    guided = sign * sum(w * b for w, b in zip(weights, close, strict=True))
    assert sign_of([seen(close, guided, latents)]) == sign
    half = guided.bfloat16().float()
    assert sign_of([seen([b.bfloat16().float() for b in close], half, latents)]) == sign


def test_norms_set_right_after_guidance_leave_the_sign():
    u, c, latents = drawn(3)
    mixed = (u + 5 * (c - u)).reshape(2, 30, 10)
    own = c.reshape(2, 30, 10).norm(dim=-1, keepdim=True)
    guided = (mixed * own / mixed.norm(dim=-1, keepdim=True)).reshape(2, 300)
    assert sign_of([seen([u, c], guided, latents)]) == 1
    assert sign_of([seen([u, c], -guided, latents)]) == -1


@pytest.mark.parametrize("level", [0.9, 0.5, 0.06])
def test_a_conversion_has_no_sign(level):
    u, c, latents = drawn(3)
    for branches, mixed in (([u, c], u + 4 * (c - u)), ([c], c)):
        assert np.isnan(sign_of([seen(branches, (latents - mixed) / level, latents)]))


def test_another_scale_or_signs_that_change_or_something_unrelated_have_no_sign():
    u, c, latents = drawn(3)
    other = drawn(1, seed=5)[0]
    assert np.isnan(sign_of([seen([c], 14 * c, latents)]))
    assert np.isnan(sign_of([seen([u, c], other, latents)]))
    steps = [seen([c], c, latents), seen([c], -c, latents)]
    assert np.isnan(sign_of(steps))


def test_no_prediction_at_all_has_no_other_sign():
    zero = torch.zeros(2, 300)
    assert sign_of([]) == sign_of([seen([zero], zero, zero)]) == 1
