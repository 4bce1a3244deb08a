"""Whose a call of the denoiser is: what other pipelines, callbacks and cancelled runs do beside."""

from __future__ import annotations

import copy
import threading

import numpy as np
import pandas as pd
import pytest
import torch
import toys
from diffusers import DDIMScheduler, StableDiffusionPipeline

from attnscope import NoiseMean, StepDistance, Trace, accelerate
from attnscope.callers import is_running, who_calls

PLANS = ["guidance-cutoff:m=2", "null-text-late:m=2", "m=2,k=2", "cross-reuse:m=2"]


def twin(pipe, scheduler=None):
    """Another pipeline over the same U-Net, with a scheduler of its own."""
    scheduler = scheduler or DDIMScheduler(clip_sample=False)
    other = StableDiffusionPipeline(
        **{**pipe.components, "scheduler": scheduler}, requires_safety_checker=False
    )
    other.set_progress_bar_config(disable=True)
    return other


class CancelledError(Exception):
    pass


def cancelling(at):
    def cancel(pipe, step, timestep, tensors):
        if step == at:
            raise CancelledError
        return tensors

    return cancel


def cancel(pipe, at=3, **options):
    with pytest.raises(CancelledError):
        toys.call(pipe, steps=8, callback_on_step_end=cancelling(at), **options)


@pytest.mark.parametrize("plan", PLANS)
def test_a_cancelled_run_leaves_another_pipeline_alone(sd, plan):
    other = twin(sd)
    expected, own = toys.call(other, steps=6), None
    with Trace(sd, plan=plan):
        own = toys.call(sd, steps=8)
    with Trace(sd, plan=plan) as trace:
        cancel(sd)
        assert torch.equal(toys.call(other, steps=6), expected)
        assert torch.equal(toys.call(sd, steps=8), own), "and the next run is what it would be"
    assert len(trace.runs) <= 2


@pytest.mark.parametrize("plan", PLANS)
def test_another_pipeline_between_two_steps_is_left_alone_and_leaves_alone(sd, plan):
    other = twin(sd)
    expected, seen = toys.call(other, steps=6), []
    with Trace(sd, plan=plan) as alone:
        own = toys.call(sd, steps=8)

    def between(pipe, step, timestep, tensors):
        if step == 4:
            seen.append(toys.call(other, steps=6))
        return tensors

    with Trace(sd, plan=plan) as trace:
        assert torch.equal(toys.call(sd, steps=8, callback_on_step_end=between), own)
    assert torch.equal(seen[0], expected)
    pd.testing.assert_frame_equal(trace.calls(), alone.calls())


def test_rows_hold_nothing_of_another_pipeline(sd):
    other = twin(sd)

    def between(pipe, step, timestep, tensors):
        if step == 4:
            toys.call(other, steps=6)
        return tensors

    tables = []
    for options in ({}, {"callback_on_step_end": between}):
        noise = NoiseMean()
        distance = StepDistance(kinds=("cross", "self", "block", "latent"))
        with Trace(sd, observers=[distance, noise]) as trace:
            toys.call(sd, steps=8, **options)
        tables.append((trace.records(distance), trace.records(noise)))
    for alone, beside in zip(*tables, strict=True):
        pd.testing.assert_frame_equal(alone, beside)


def test_a_pipeline_in_another_thread_is_left_alone_and_leaves_alone(sd):
    other = twin(sd)
    expected = toys.call(other, steps=6)
    with Trace(sd, plan="m=2,k=2", observers=[StepDistance()]) as trace:
        own = toys.call(sd, steps=8)
        alone = trace.records()
    seen = []

    def between(pipe, step, timestep, tensors):
        thread = threading.Thread(target=lambda: seen.append(toys.call(other, steps=6)))
        if step == 3:
            thread.start()
            thread.join()
        return tensors

    with Trace(sd, plan="m=2,k=2", observers=[StepDistance()]) as trace:
        assert torch.equal(toys.call(sd, steps=8, callback_on_step_end=between), own)
    assert torch.equal(seen[0], expected)
    pd.testing.assert_frame_equal(trace.records(), alone)


def test_two_threads_at_once(sd):
    other = twin(sd)
    expected, seen = toys.call(other, steps=12), []
    own = toys.call(sd, steps=12)
    with Trace(sd, plan="null-text-late:m=12"):
        thread = threading.Thread(target=lambda: seen.append(toys.call(other, steps=12)))
        thread.start()
        made = toys.call(sd, steps=12)
        thread.join()
    assert torch.equal(made, own)
    assert torch.equal(seen[0], expected)


def test_a_callback_that_calls_the_denoiser_itself_is_left_alone(sd):
    states = torch.randn(3, 8, 32, generator=torch.Generator().manual_seed(3))
    latents = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(4))
    expected, seen = sd.unet(latents, 5, states).sample, []
    with Trace(sd, observers=[StepDistance()]) as trace:
        own = toys.call(sd, steps=6)
        alone = trace.records()

    def look(pipe, step, timestep, tensors):
        if step == 2:
            seen.append(pipe.unet(latents, 5, states).sample)
        return tensors

    with Trace(sd, plan="null-text-late:m=6", observers=[StepDistance()]) as trace:
        assert torch.equal(toys.call(sd, steps=6, callback_on_step_end=look), own)
    assert torch.equal(seen[0], expected)
    pd.testing.assert_frame_equal(trace.records(), alone)


def test_a_call_by_hand_after_a_cancelled_run_is_an_error(sd):
    states = torch.randn(2, 8, 32)
    with Trace(sd, plan="cross-reuse:m=2"):
        cancel(sd)
        with pytest.raises(RuntimeError, match="outside of a denoising loop"):
            sd.unet(torch.randn(2, 4, 16, 16), 5, states)


def test_a_cancelled_run_keeps_its_rows_and_the_next_starts_anew(sd):
    with Trace(sd, observers=[StepDistance()]) as trace:
        cancel(sd, at=3)
        toys.call(sd, steps=5)
    steps = trace.records().groupby("run")["step"].max()
    assert steps.tolist() == [3, 4]


def test_an_acceleration_survives_cancelled_runs_and_other_pipelines(sd):
    other = twin(sd)
    expected = toys.call(other, steps=4)
    with accelerate(sd, "m=2,k=2"):
        own = toys.call(sd, steps=6)
        for _ in range(2):
            cancel(sd, at=2)
            assert torch.equal(toys.call(other, steps=4), expected)
        assert torch.equal(toys.call(sd, steps=6), own)


def denoise(pipe, states, *, steps=4, order=("uncond", "cond"), between=lambda step: None):
    """A denoising loop as users write them: one call of the U-Net for each branch."""
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    pipe.scheduler.set_timesteps(steps)
    for step, t in enumerate(pipe.scheduler.timesteps):
        noise = {name: pipe.unet(latents, t, states[name]).sample for name in order}
        guided = noise["uncond"] + 3 * (noise["cond"] - noise["uncond"])
        latents = pipe.scheduler.step(guided, t, latents).prev_sample
        between(step)
    return latents


def test_calls_by_hand_in_the_midst_of_a_loop_by_hand_are_an_error(sd):
    states = {name: torch.randn(1, 8, 32) for name in ("uncond", "cond")}

    def look(step):
        if step == 1:
            sd.unet(torch.randn(1, 4, 16, 16), 5, states["cond"])

    with (
        torch.no_grad(),
        pytest.raises(RuntimeError, match=r"more often at step 2 than at the first, by denoise"),
        Trace(sd, observers=[StepDistance()]),
    ):
        denoise(sd, states, between=look)


@pytest.mark.parametrize("order", [("uncond", "cond"), ("cond", "uncond")])
def test_branches_of_a_loop_by_hand_are_numbered(sd, order):
    states = {name: torch.randn(1, 8, 32) for name in ("uncond", "cond")}
    with torch.no_grad(), Trace(sd, observers=[StepDistance()]) as trace:
        denoise(sd, states, order=order)
    assert set(trace.records()["branch"]) == {"branch0", "branch1"}


@pytest.mark.parametrize("order", [("uncond", "cond"), ("cond", "uncond")])
def test_branches_of_a_loop_by_hand_are_named_by_the_text_they_read(sd, order):
    with torch.no_grad(), Trace(sd, observers=[StepDistance(("cross",))]) as trace:
        cond, uncond = sd.encode_prompt(toys.PROMPTS[0], "cpu", 1, True)
        denoise(sd, {"cond": cond, "uncond": uncond}, order=order)
    named = trace.records()
    with torch.no_grad(), Trace(sd, observers=[StepDistance(("cross",))]) as trace:
        denoise(sd, {"cond": cond, "uncond": uncond}, order=order)
    numbered = trace.records()
    for number, name in enumerate(order):
        np.testing.assert_array_equal(
            named.loc[named["branch"] == name, "l2"],
            numbered.loc[numbered["branch"] == f"branch{number}", "l2"],
        )


@pytest.mark.parametrize("cond_first", [False, True])
def test_a_branch_is_dropped_from_a_loop_by_hand_by_the_text_it_reads(sd, cond_first):
    """Which half a loop puts first is its own business: the branch that stays is the right one."""

    def loop(states, steps=4):
        latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
        sd.scheduler.set_timesteps(steps)
        for t in sd.scheduler.timesteps:
            halves = sd.unet(torch.cat([latents] * 2), t, states).sample.chunk(2)
            uncond, cond = halves[::-1] if cond_first else halves
            latents = sd.scheduler.step(uncond + 3 * (cond - uncond), t, latents).prev_sample
        return latents

    def states():
        cond, uncond = sd.encode_prompt(toys.PROMPTS[0], "cpu", 1, True)
        return torch.cat([cond, uncond] if cond_first else [uncond, cond])

    with torch.no_grad():
        with Trace(sd, plan="guidance-cutoff:m=2"):
            made = loop(states())
        with Trace(sd, plan="guidance-cutoff:m=2"):
            pipeline = sd(
                toys.PROMPTS[0], height=32, width=32, num_inference_steps=4, guidance_scale=3.0,
                output_type="latent", latents=torch.randn(
                    1, 4, 16, 16, generator=torch.Generator().manual_seed(0)
                ),
            ).images  # fmt: skip
        assert torch.allclose(made, pipeline, atol=1e-5)
        with (
            pytest.raises(RuntimeError, match=r"encode both prompts by the pipeline's encode_pr"),
            Trace(sd, plan="guidance-cutoff:m=2"),
        ):
            loop(torch.randn(2, 8, 32))


def test_guidance_that_a_pipeline_switches_off_ends_the_rows_of_a_branch(sd):
    from diffusers.callbacks import SDCFGCutoffCallback

    cutoff = SDCFGCutoffCallback(cutoff_step_ratio=None, cutoff_step_index=2)
    observers = [StepDistance(("cross", "self", "block")), NoiseMean()]
    with Trace(sd, observers=observers) as trace:
        toys.call(
            sd, steps=6, callback_on_step_end=cutoff,
            callback_on_step_end_tensor_inputs=["prompt_embeds"],
        )  # fmt: skip
    distances = trace.records(observers[0])
    assert distances.groupby("branch", observed=True)["step"].max().to_dict() == {
        "cond": 5, "uncond": 2,
    }  # fmt: skip
    noise = trace.records(observers[1]).groupby("branch", observed=True)["step"].max()
    assert noise.to_dict() == {"cond": 5, "guided": 5, "uncond": 2}
    # The same steps with guidance cut off by a plan: the same images, so the same rows.
    planned = StepDistance(("cross", "self", "block"))
    with Trace(sd, plan="guidance-cutoff:m=3", observers=[planned]) as trace:
        toys.call(sd, steps=6)
    pd.testing.assert_frame_equal(trace.records(), distances, rtol=1e-4)


def test_a_sampler_that_never_steps_its_scheduler_is_named(sd):
    with (
        torch.no_grad(),
        toys.warns(r"a loop called its denoiser 4 times and never the step of its DPMSolver"),
        Trace(sd, plan="m=2", observers=[StepDistance()]) as trace,
    ):
        sd.scheduler.set_timesteps(4)
        latents = torch.randn(1, 4, 16, 16)
        for t in sd.scheduler.timesteps:
            latents = latents - 0.1 * sd.unet(latents, t, torch.randn(1, 8, 32)).sample
    assert trace.records().empty


def test_a_copy_of_the_scheduler_is_a_plain_scheduler(sd):
    with Trace(sd, observers=[StepDistance()]) as trace:
        toys.call(sd, steps=4)
        expected = trace.records()
    with Trace(sd, observers=[StepDistance()]) as trace:
        copied = copy.deepcopy(sd.scheduler)
        copied.set_timesteps(3)
        assert len(trace.runs) == 0
        toys.call(sd, steps=4)
        latents = torch.randn(1, 4, 16, 16)
        copied.step(latents, copied.timesteps[0], latents)
        assert copied.step_index == 1
        assert sd.scheduler.step_index == 4, "the copy has a state of its own"
    pd.testing.assert_frame_equal(trace.records(), expected)
    # Panorama copies the scheduler's attributes and puts them back.
    with Trace(sd, observers=[StepDistance()]) as trace:
        sd.scheduler.__dict__.update(copy.deepcopy(sd.scheduler.__dict__))
        toys.call(sd, steps=4)
    pd.testing.assert_frame_equal(trace.records(), expected)


def test_a_pipeline_that_swaps_its_scheduler_itself_is_named():
    from diffusers import TextToVideoZeroPipeline

    pipe = TextToVideoZeroPipeline.__new__(TextToVideoZeroPipeline)
    from attnscope.errors import InputError
    from attnscope.support import check_scheduler

    with pytest.raises(InputError, match="TextToVideoZeroPipeline swaps its scheduler for a copy"):
        check_scheduler(pipe)


class Holder:
    """Something with a scheduler whose methods call; a stand-in for a pipeline."""

    def __init__(self, scheduler):
        self.scheduler = scheduler

    def run(self, call):
        return call()

    @torch.no_grad()
    def decorated(self, call):
        return (lambda: call())()


def test_the_caller_is_the_nearest_pipeline_one_of_whose_methods_is_running():
    outer, inner = Holder(DDIMScheduler()), Holder(DDIMScheduler())
    assert who_calls().pipe is None
    assert outer.run(who_calls).pipe is outer
    assert outer.decorated(who_calls).pipe is outer
    assert outer.run(lambda: inner.decorated(who_calls)).pipe is inner
    assert outer.run(lambda: is_running(outer)) is True
    assert outer.run(lambda: is_running(inner)) is False

    def loop(pipe):
        return who_calls()

    assert loop(outer).pipe is None, "a function that is given a pipeline is none of its methods"
    assert outer.run(who_calls).apart is False
    assert outer.run(lambda: loop(outer)).apart is True
    assert "loop" in loop(outer).where
