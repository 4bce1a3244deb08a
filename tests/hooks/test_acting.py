"""What a plan does to a pipeline: against a loop written out, and its properties."""

import contextlib
import warnings
import weakref

import numpy as np
import pytest
import reference
import torch
import toys
from diffusers import (
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionImg2ImgPipeline,
)

import attnscope
from attnscope import (
    Baseline,
    CrossReuse,
    GuidanceCutoff,
    SelfReuseEarly,
    SelfReuseLate,
    StepDistance,
    TGate,
    Trace,
    accelerate,
)
from attnscope.errors import InputError

GUIDANCE = {"lcm-sdxl": 5.0, "lcm-pixart": 0.0, "svd": 2.5}
SCHEDULERS = {
    "euler": EulerDiscreteScheduler,
    "euler-a": EulerAncestralDiscreteScheduler,
    "ddim": DDIMScheduler,
    "heun": HeunDiscreteScheduler,
    "pndm": PNDMScheduler,
}


def set_scheduler(pipe, name):
    options = {"skip_prk_steps": True} if name == "pndm" else {}
    pipe.scheduler = SCHEDULERS[name].from_config(pipe.scheduler.config, **options)


@pytest.fixture(params=toys.VARIANTS)
def variant(request):
    return request.param


@pytest.fixture
def model(variant, tokenizer_folder):
    return toys.VARIANTS[variant](tokenizer_folder)


PLANS = [
    {"m": 4, "k": 2},
    {"m": 5, "k": 3, "w": 1},
    {"m": 1},
    {"m": 3, "k": 2, "f": 2},
    {"m": 7, "k": 3, "w": 0, "f": 3},
]


@pytest.mark.parametrize("values", PLANS, ids=str)
def test_tgate_is_the_loop_written_out(model, variant, values):
    guidance = GUIDANCE.get(variant, 5.0)

    def call():
        return toys.call(model, prompts=2, guidance=guidance, steps=8)

    recorded = reference.Recorded(model, call)
    options = {"steps": 8, "guidance": guidance}
    plain = call()
    # Stable Video Diffusion's scale differs from frame to frame; here it is the same for all.
    assert (reference.tgate(recorded, m=None, **options) - plain).abs().max() < 1e-4
    text = ",".join(f"{key}={value}" for key, value in values.items())
    with Trace(model, plan=text):
        ours = call()
    theirs = reference.tgate(recorded, **values, **options)
    error, effect = (ours - theirs).abs().max(), (ours - plain).abs().max()
    assert error < 1e-4
    assert effect > 5 * error


@pytest.mark.parametrize("name", SCHEDULERS)
def test_tgate_is_the_loop_written_out_under_other_schedulers(sd, name):
    set_scheduler(sd, name)

    def call():
        return toys.call(sd, steps=8)

    recorded = reference.Recorded(sd, call)
    theirs = reference.tgate(recorded, m=4, k=2, steps=8, guidance=5.0)
    with Trace(sd, plan="m=4,k=2") as trace:
        ours = call()
    assert trace.runs[0].guided_steps == 4
    assert trace.runs[0].steps_done == {"heun": 15, "pndm": 9}.get(name, 8)
    assert (ours - theirs).abs().max() < 1e-4


COUNTED = [
    "baseline",
    "m=3,k=2",
    "m=5,k=3,w=1,f=2",
    "guidance-cutoff:m=3",
    "cross-reuse:m=2",
    "self-reuse-early:m=5,k=2,w=1",
    "self-reuse-late:m=3,k=2",
]


@pytest.mark.parametrize("text", COUNTED)
def test_what_ran_is_what_the_plan_says(pipe, text):
    if text.startswith("guidance") and type(pipe).__name__.startswith("StableVideo"):
        text += ",keep=cond"
    guidance = 2.5 if type(pipe).__name__.startswith("StableVideo") else 5.0
    with Trace(pipe, plan=text) as trace:
        toys.call(pipe, steps=6, guidance=guidance)
        toys.call(pipe, steps=6, guidance=guidance)
    trajectory = attnscope.plans.text_form.parse(text).over(6)
    said = trajectory.table(["cross", "self"]).query("row in ['cross', 'self']")
    counts = trace.calls().set_index("kind")
    for kind, whats in said.groupby("row")["what"]:
        sites = 2 * sum(site.kind == kind for site in trace.sites)
        assert counts.loc[kind, "reused"] == sites * (whats == "reuse").sum()
        assert counts.loc[kind, "stored"] == sites * (whats == "store").sum()
        assert counts.loc[kind, "computed"] == sites * (whats != "reuse").sum()
    assert trace.runs[-1].guided_steps == trajectory.guided_steps


def test_branches_are_not_mixed_while_both_run(sd):
    """With the mean over branches u - c would vanish where cross-attention is all of it."""
    with Trace(sd, plan=CrossReuse(2)):
        mine = toys.call(sd, steps=5)
    recorded = reference.Recorded(sd, lambda: toys.call(sd, steps=5))
    theirs = reference.cross_reuse(recorded, steps=5, m=2, guidance=5.0)
    assert (mine - theirs).abs().max() < 1e-4
    unguided = reference.cross_reuse(recorded, steps=5, m=2, guidance=0.0)
    assert (mine - unguided).abs().max() > 1e-3


@pytest.mark.parametrize("keep", ["uncond", "cond"])
def test_the_cutoff_keeps_the_branch_it_names(sd, keep):
    """At the last step alone the kept branch is what the scheduler is given."""
    noise = attnscope.NoiseMean()
    with Trace(sd, plan=GuidanceCutoff(3, keep=keep), observers=[noise]) as trace:
        toys.call(sd, steps=6, prompts=2)
    table = trace.records()
    branches = table.groupby("step")["branch"].unique().map(sorted).tolist()
    assert branches == [["cond", "guided", "uncond"]] * 3 + [sorted(["guided", keep])] * 3
    late = table[table["step"] >= 3].pivot(
        index=["step", "sample"], columns="branch", values="mean"
    )
    assert np.allclose(late["guided"], late[keep], atol=1e-7)
    with Trace(sd, plan=Baseline(), observers=[attnscope.NoiseMean()]) as plain:
        toys.call(sd, steps=6, prompts=2)
    both = plain.records()
    first = both[(both["step"] == 0)].reset_index(drop=True)["norm"]
    assert np.array_equal(first, table[table["step"] == 0].reset_index(drop=True)["norm"])


def test_rows_of_a_dropped_branch_stop(pipe, family):
    guidance = 2.5 if family == "svd" else 5.0
    kept = "cond" if family == "svd" else "uncond"
    observers = [StepDistance(), attnscope.FeatureMaps("*attn1", steps=[1, 4])]
    with Trace(pipe, plan=TGate(3), observers=observers) as trace:
        toys.call(pipe, prompts=2, steps=6, guidance=guidance)
    table = trace.records(observers[0])
    assert table["l2"].notna().all()
    branches = table.groupby("step")["branch"].unique().map(sorted).tolist()
    assert branches == [["cond", "uncond"]] * 2 + [[kept]] * 3
    assert sorted(table["sample"].unique()) == [0, 1]
    cross = table[(table["kind"] == "cross") & (table["step"] > 3)]
    assert (cross["l2"] == 0).all()  # reused outputs do not move
    maps = trace.records(observers[1])
    assert maps.groupby("step")["branch"].unique().map(sorted).tolist() == [
        ["cond", "uncond"],
        [kept],
    ]


@pytest.mark.parametrize(
    "plan", [TGate(6), TGate(6, 1, 3, 1), SelfReuseEarly(4, 1), SelfReuseLate(2, 1)]
)
def test_a_plan_that_changes_nothing_is_the_baseline_bitwise(sd, plan):
    plain = toys.call(sd, steps=6)
    with Trace(sd, plan=plan):
        assert torch.equal(plain, toys.call(sd, steps=6))


@pytest.mark.parametrize("kind", ["cross", "self"])
def test_reusing_what_has_not_changed_changes_nothing(sd, kind):
    """One and the same latent at every step: then a reused output is the output."""
    states = torch.randn(2, 8, 32, generator=torch.Generator().manual_seed(0))
    latents = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    plan = CrossReuse(1) if kind == "cross" else SelfReuseLate(1, 100)
    outputs = []
    with Trace(sd, plan=plan) as trace, torch.no_grad():
        sd.scheduler.set_timesteps(4)
        for step in sd.scheduler.timesteps:
            outputs.append(sd.unet(latents, sd.scheduler.timesteps[0], states).sample)
            sd.scheduler.step(outputs[-1], step, latents)
    assert trace.calls().set_index("kind").loc[kind, "reused"] > 0
    assert all(torch.equal(output, outputs[0]) for output in outputs)


def test_two_prompts_in_a_batch_give_what_they_give_alone(sd):
    def call(prompts, latents):
        return sd(
            prompts,
            latents=latents,
            height=32,
            width=32,
            num_inference_steps=6,
            output_type="latent",
        ).images

    latents = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    with accelerate(sd, "m=3,k=2"):
        together = call(list(toys.PROMPTS), latents)
        for index, prompt in enumerate(toys.PROMPTS):
            alone = call([prompt], latents[index : index + 1])
            assert (together[index] - alone[0]).abs().max() < 1e-4


def test_the_pipeline_is_what_it_was_after_the_block_an_exception_and_disabling(pipe, family):
    guidance = 2.5 if family == "svd" else 5.0
    plain = toys.call(pipe, guidance=guidance)
    with Trace(pipe, plan="m=2,k=2"):
        changed = toys.call(pipe, guidance=guidance)
    assert not torch.equal(plain, changed)
    assert torch.equal(plain, toys.call(pipe, guidance=guidance))

    def interrupt(pipe, step, timestep, tensors):
        raise KeyError("stop")

    if family != "pixart":  # it has no such callback
        with pytest.raises(KeyError), Trace(pipe, plan="m=2,k=2"):
            toys.call(pipe, guidance=guidance, callback_on_step_end=interrupt)
        assert torch.equal(plain, toys.call(pipe, guidance=guidance))
    handle = accelerate(pipe, "m=2,k=2")
    assert torch.equal(changed, toys.call(pipe, guidance=guidance))
    handle.disable()
    handle.disable()
    assert torch.equal(plain, toys.call(pipe, guidance=guidance))


def test_no_cache_memory_stays(sd):
    """Not after the last step of a run, not after one that failed, not after the block."""
    kept = []

    class Spy(StepDistance):
        def see(self, site, moment, output):
            kept.append(weakref.ref(output))

    def interrupt(pipe, step, timestep, tensors):
        if step == 4:
            raise KeyError("stop")
        return tensors

    with Trace(sd, plan="m=3,k=2", observers=[Spy()]):
        toys.call(sd, steps=6)
        assert kept
        assert not any(ref() is not None for ref in kept)
    kept.clear()
    with contextlib.suppress(KeyError), Trace(sd, plan="m=3,k=2", observers=[Spy()]):
        toys.call(sd, steps=6, callback_on_step_end=interrupt)
    assert kept
    assert not any(ref() is not None for ref in kept)


def test_an_acceleration_survives_other_steps_batches_sizes_and_guidance(sd):
    calls = (
        {"steps": 6},
        {"steps": 9, "prompts": 2},
        {"steps": 5, "per_prompt": 3},
        {"steps": 6, "guidance": 1.0},
        {"steps": 6, "width": 48},
    )
    expected = []
    for options in calls:
        with Trace(sd, plan="m=3,k=2"):
            expected.append(toys.call(sd, **options))
    with accelerate(sd, "m=3,k=2") as handle:
        for options, latents in zip(calls, expected, strict=True):
            assert torch.equal(toys.call(sd, **options), latents)
        assert handle.calls()["reused"].sum() > 0
        assert len(handle._trace.runs) <= 2  # it does not grow with the calls


def test_pipelines_that_share_a_denoiser_are_accelerated_together(sd):
    """Also when the one that was accelerated last ran without guidance."""
    other = StableDiffusionImg2ImgPipeline(**sd.components, requires_safety_checker=False)
    other.set_progress_bar_config(disable=True)

    def call():
        return other(
            toys.PROMPTS[0], image=torch.zeros(1, 3, 32, 32), strength=1.0, num_inference_steps=6,
            output_type="latent", generator=torch.Generator().manual_seed(0),
        ).images  # fmt: skip

    with Trace(other, plan="m=3"):
        expected = call()
    with accelerate(sd, "m=3"):
        toys.call(sd, steps=6, guidance=1.0)
        assert torch.equal(call(), expected)


def test_a_run_that_failed_leaves_no_warning_to_the_next(sd):
    def interrupt(pipe, step, timestep, tensors):
        raise KeyError("stop")

    with accelerate(sd, "m=4"), warnings.catch_warnings():
        warnings.filterwarnings("error", message="the run ended")
        with pytest.raises(KeyError):
            toys.call(sd, steps=6, callback_on_step_end=interrupt)
        toys.call(sd, steps=6)


def test_a_lost_acceleration_is_taken_away_by_its_pipeline(sd):
    plain = toys.call(sd, steps=4)
    accelerate(sd, "m=2")
    attnscope.disable(sd)
    assert torch.equal(plain, toys.call(sd, steps=4))
    attnscope.disable(sd)  # nothing there
    accelerate(sd, "m=2").disable()


def test_what_a_run_with_fewer_steps_stored_is_freed_when_it_returns(sd):
    sd.scheduler = DDIMScheduler.from_config(sd.scheduler.config)
    pipe = StableDiffusionImg2ImgPipeline(**sd.components, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    with accelerate(pipe, "m=2") as handle:
        pipe(
            toys.PROMPTS[0], image=torch.zeros(1, 3, 32, 32), strength=0.6, num_inference_steps=8,
            output_type="latent",
        )  # fmt: skip
        assert handle.calls()["stored"].sum() > 0
        assert not any(hook._kept for hook in handle._trace._hooks)


class TestWrongUse:
    def test_a_gate_past_the_last_step(self, sd):
        with pytest.raises(InputError, match=r"m=9, but there are 4 steps"), Trace(sd, plan="m=9"):
            toys.call(sd, steps=4)
        with accelerate(sd, "m=5"):
            with pytest.raises(InputError, match="beyond the last step"):
                toys.call(sd, steps=4)
            toys.call(sd, steps=5)  # and the acceleration goes on

    def test_entering_twice(self, sd):
        with accelerate(sd, "m=2"), pytest.raises(RuntimeError, match="traced already"):
            accelerate(sd, "m=2")
        trace = Trace(sd, plan="m=2")
        with trace:
            toys.call(sd)
        with pytest.raises(RuntimeError, match="entered before"), trace:
            pass

    def test_a_scheduler_that_two_pipelines_share(self, sd, tokenizer_folder):
        other = toys.stable_diffusion(tokenizer_folder)
        other.scheduler = sd.scheduler
        message = pytest.raises(RuntimeError, match="scheduler of its own")
        with accelerate(sd, "m=2"), message:
            accelerate(other, "m=2")
        assert torch.equal(toys.call(other), toys.call(sd))

    def test_a_denoiser_that_is_swapped(self, sd, tokenizer_folder):
        with accelerate(sd, "m=2"):
            sd.unet = toys.stable_diffusion(tokenizer_folder).unet
            with pytest.raises(RuntimeError, match="denoiser was swapped"):
                toys.call(sd)

    def test_a_batch_that_changes_under_a_cache(self, sd):
        states = torch.randn(2, 8, 32)
        with Trace(sd, plan=CrossReuse(1)), torch.no_grad():
            sd.scheduler.set_timesteps(4)
            first, second = sd.scheduler.timesteps[:2]
            noise = sd.unet(torch.randn(2, 4, 16, 16), first, states).sample
            sd.scheduler.step(noise, first, torch.randn(2, 4, 16, 16))
            with pytest.raises(RuntimeError, match="changed from 2 to 1 at step 1"):
                sd.unet(torch.randn(1, 4, 16, 16), second, states[:1])

    def test_an_image_that_changes_its_size_under_a_cache(self, sd):
        states = torch.randn(1, 8, 32)
        with Trace(sd, plan=CrossReuse(1)), torch.no_grad():
            sd.scheduler.set_timesteps(4)
            first, second = sd.scheduler.timesteps[:2]
            noise = sd.unet(torch.randn(1, 4, 16, 16), first, states).sample
            sd.scheduler.step(noise, first, torch.randn(1, 4, 16, 16))
            with pytest.raises(
                RuntimeError, match="the image or the guidance changed within a run"
            ):
                sd.unet(torch.randn(1, 4, 8, 8), second, states)

    def test_guidance_that_is_switched_off_within_a_run(self, sd):
        def switch_off(pipe, step, timestep, tensors):
            if step == 1:
                pipe._guidance_scale = 0.0
                tensors["prompt_embeds"] = tensors["prompt_embeds"].chunk(2)[1]
            return tensors

        def call():
            return toys.call(
                sd, steps=5, callback_on_step_end=switch_off,
                callback_on_step_end_tensor_inputs=["prompt_embeds"],
            )  # fmt: skip

        call()
        with Trace(sd):
            call()  # watching is fine
        changed = pytest.raises(RuntimeError, match="guidance or the batch size changed")
        with changed, Trace(sd, plan="m=4"):
            call()

    def test_a_pipeline_without_attention(self, sd):
        sd.unet = torch.nn.Linear(2, 2)
        with pytest.raises(InputError, match="no attention modules"):
            accelerate(sd, "m=2")

    def test_something_that_is_no_plan(self, sd):
        with pytest.raises(InputError, match="is no plan"):
            Trace(sd, plan=5)
        with pytest.raises(InputError, match="no such plan"):
            accelerate(sd, "teacache")

    def test_a_module_that_changes_what_was_stored(self, sd):
        block = sd.unet.mid_block.attentions[0].transformer_blocks[0]
        block.attn2.register_forward_hook(lambda module, args, output: output.add_(1))
        with pytest.raises(RuntimeError, match="changed in place"), Trace(sd, plan="m=2"):
            toys.call(sd)
