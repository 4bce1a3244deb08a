"""Whose a call of the denoiser is: what other pipelines, callbacks and cancelled runs do beside."""

from __future__ import annotations

import ast
import copy
import pickle
import threading
import time
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import toys
from diffusers import (
    DDIMScheduler,
    StableDiffusionPipeline,
    TextToVideoZeroPipeline,
    UNet2DConditionModel,
)
from diffusers.modular_pipelines import ComponentSpec, ModularPipelineBlocks, OutputParam

from attnscope import NoiseMean, StepDistance, Trace, accelerate
from attnscope.errors import InputError
from attnscope.hooks import encodings
from attnscope.hooks.callers import is_running, who_calls
from attnscope.hooks.refusals import check_scheduler

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
    # that of transformers 4 serves one thread at once
    other.tokenizer = copy.deepcopy(sd.tokenizer)
    expected, seen = toys.call(other, steps=12), []
    own = toys.call(sd, steps=12)
    with Trace(sd, plan="null-text-late:m=12"):
        thread = threading.Thread(target=lambda: seen.append(toys.call(other, steps=12)))
        thread.start()
        made = toys.call(sd, steps=12)
        thread.join()
    assert torch.equal(made, own)
    assert torch.equal(seen[0], expected)


def test_threads_read_the_code_of_their_pipelines_one_after_another(sd, monkeypatch):
    """Some CPython 3.11 raises SystemError where two threads parse at once."""
    parse, inside, most = ast.parse, [], []

    def parsed(source):
        inside.append(source)
        most.append(len(inside))
        time.sleep(0.02)
        inside.pop()
        return parse(source)

    threads = [threading.Thread(target=encodings._places, args=(sd.encode_prompt,)) for _ in "1234"]
    with monkeypatch.context() as patched:
        patched.setattr(ast, "parse", parsed)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert most == [1, 1, 1, 1]


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
        pytest.raises(RuntimeError, match=r"called by .*look .* at step 2, which did not call it"),
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


class CallingSuper(TextToVideoZeroPipeline):
    def __call__(self, *args):
        return super().__call__(*args)


class CallingItself(TextToVideoZeroPipeline):
    def __call__(self, *args):
        return args


@pytest.mark.parametrize("kind", [TextToVideoZeroPipeline, CallingSuper])
def test_a_pipeline_that_swaps_its_scheduler_itself_is_named(kind):
    with pytest.raises(InputError, match=f"{kind.__name__} swaps its scheduler for a copy"):
        check_scheduler(kind.__new__(kind))
    check_scheduler(CallingItself.__new__(CallingItself))


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
    assert outer.run(lambda: loop(outer)).code is loop.__code__
    assert "loop" in loop(outer).where


class Server(StableDiffusionPipeline):
    """A pipeline of a user's own over that of diffusers."""

    def __call__(self, *args, **kwargs):
        return super().__call__(*args, **kwargs)

    def score(self):
        return probe(self)


def probe(pipe):
    latents = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(4))
    states = torch.randn(2, 8, 32, generator=torch.Generator().manual_seed(3))
    return pipe.unet(latents, 5, states).sample


@pytest.mark.parametrize("own", [lambda pipe: pipe.score(), probe])
@pytest.mark.parametrize("plan", PLANS)
def test_a_subclass_is_what_it_is_a_subclass_of(sd, plan, own):
    pipe = Server(**sd.components, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    expected, seen = probe(pipe), []
    with Trace(sd, plan=plan, observers=[StepDistance()]) as alone:
        images = toys.call(sd, steps=6)

    def between(pipe, step, timestep, tensors):
        if step == 3:
            seen.append(own(pipe))
        return tensors

    with Trace(pipe, plan=plan, observers=[StepDistance()]) as trace:
        assert torch.equal(toys.call(pipe, steps=6, callback_on_step_end=between), images)
        cancel(pipe)
        if own is probe:  # by hand, after the run is over
            with pytest.raises(RuntimeError, match="outside of a denoising loop, by probe"):
                probe(pipe)
        else:
            seen.append(own(pipe))
    for found in seen:
        assert torch.equal(found, expected)
    rows = trace.records()
    pd.testing.assert_frame_equal(rows[rows["run"] == 0], alone.records())


def test_a_loop_by_hand_that_was_cancelled_is_not_gone_on_with(sd):
    states = {name: torch.randn(1, 8, 32) for name in ("uncond", "cond")}

    def stop(step):
        if step == 1:
            raise CancelledError

    with torch.no_grad(), Trace(sd, plan="cross-reuse:m=1"):
        with pytest.raises(CancelledError):
            denoise(sd, states, between=stop)
        with pytest.raises(RuntimeError, match=r"called by probe .* which did not call it"):
            probe(sd)


def test_guidance_that_a_loop_by_hand_leaves_out_is_not_guessed_at(sd):
    """The branch that is left out may be the first or the second of its calls."""
    states = {name: torch.randn(1, 8, 32) for name in ("uncond", "cond")}
    latents = torch.randn(1, 4, 16, 16)
    less = pytest.raises(RuntimeError, match="called less often at step 2 than at the first")
    with torch.no_grad(), less, Trace(sd, observers=[StepDistance()]):
        sd.scheduler.set_timesteps(4)
        for step, t in enumerate(sd.scheduler.timesteps):
            for name in ("uncond", "cond") if step < 2 else ("cond",):
                noise = sd.unet(latents, t, states[name]).sample
            latents = sd.scheduler.step(noise, t, latents).prev_sample


def test_a_twin_that_sets_the_scheduler_of_a_run_is_named(sd):
    other = twin(sd, sd.scheduler)

    def between(pipe, step, timestep, tensors):
        if step == 2:
            toys.call(other, steps=3)
        return tensors

    with Trace(sd, observers=[StepDistance()]) as trace:
        toys.call(sd, steps=4)
        toys.call(other, steps=3)
        with pytest.raises(RuntimeError, match="sets the scheduler that a StableDiffusionPipeline"):
            toys.call(sd, steps=4, callback_on_step_end=between)
    assert trace.records().groupby("run")["step"].max().tolist()[:2] == [3, 2]


def test_a_shallow_copy_of_the_scheduler_is_named(sd):
    with Trace(sd):
        toys.call(sd)
        with pytest.raises(RuntimeError, match=r"shallow copy .* copy it by copy\.deepcopy"):
            toys.call(twin(sd, copy.copy(sd.scheduler)))


def test_calls_while_a_run_is_prepared_do_not_begin_it(sd):
    expected, seen = probe(sd), []
    with Trace(sd, plan="null-text-late:m=4", observers=[StepDistance()]) as trace:
        own = toys.call(sd, steps=5)
        alone = trace.records()
    prepare = sd.prepare_latents

    def prepare_latents(*args, **kwargs):
        thread = threading.Thread(target=lambda: seen.append(probe(sd)))
        thread.start()
        thread.join()
        return prepare(*args, **kwargs)

    sd.prepare_latents = prepare_latents
    with Trace(sd, plan="null-text-late:m=4", observers=[StepDistance()]) as trace:
        assert torch.equal(toys.call(sd, steps=5), own)
    assert torch.equal(seen[0], expected)
    pd.testing.assert_frame_equal(trace.records(), alone)
    assert sd.prepare_latents is prepare_latents, "what a user has put on a pipeline stays"


def test_null_text_of_a_loop_by_hand_does_not_count_the_images_of_a_run_before(sd):
    def loop():
        cond, uncond = sd.encode_prompt(toys.PROMPTS[0], "cpu", 1, True, "a blue star")
        sd.scheduler.set_timesteps(4)
        for t in sd.scheduler.timesteps:
            latents = torch.ones(1, 4, 16, 16)
            noise = sd.unet(torch.cat([latents] * 2), t, torch.cat([uncond, cond])).sample
            sd.scheduler.step(noise[:1], t, latents)

    refused = pytest.raises(RuntimeError, match="how many images are made is not known")
    with torch.no_grad(), refused, Trace(sd, plan="null-text-early:m=2"):
        toys.call(sd, prompts=2, steps=4)
        loop()


def test_a_pipeline_may_follow_a_loop_by_hand(sd):
    states = {name: torch.randn(1, 8, 32) for name in ("uncond", "cond")}
    with torch.no_grad(), Trace(sd, observers=[StepDistance()]) as trace:
        denoise(sd, states)
        toys.call(sd, steps=4)
    with Trace(sd, observers=[StepDistance()]) as alone:
        toys.call(sd, steps=4)
    followed = trace.records().query("run == 1").reset_index(drop=True)
    assert np.array_equal(followed["l2"], alone.records()["l2"])


def test_what_was_encoded_once_serves_several_loops(sd):
    with torch.no_grad(), Trace(sd, observers=[StepDistance(("cross",))]) as trace:
        cond, uncond = sd.encode_prompt(toys.PROMPTS[0], "cpu", 1, True)
        for _ in range(2):
            denoise(sd, {"cond": cond, "uncond": uncond})
    named = trace.records().groupby("run")["branch"].apply(set)
    assert named.tolist() == [{"cond", "uncond"}] * 2


def test_a_single_branch_is_named_by_what_it_reads(sd):
    def loop(states, rows):
        latents = torch.randn(rows, 4, 16, 16)
        sd.scheduler.set_timesteps(3)
        for t in sd.scheduler.timesteps:
            latents = sd.scheduler.step(sd.unet(latents, t, states).sample, t, latents).prev_sample

    with torch.no_grad(), Trace(sd, observers=[StepDistance(("cross",))]) as trace:
        cond, uncond = sd.encode_prompt(toys.PROMPTS[0], "cpu", 1, True)
        loop(uncond, 1)
        loop(torch.cat([uncond, cond]), 2)
    rows = trace.records().groupby(["run", "sample"])["branch"].apply(set)
    assert rows.tolist() == [{"uncond"}, {"uncond"}, {"cond"}]


def test_the_stack_keeps_nothing_alive_and_is_not_asked(sd):
    import weakref

    class Proxy:
        @property
        def scheduler(self):
            raise ValueError("outside of a request")

        def serve(self):
            held = torch.ones(3)
            gone = weakref.ref(held)
            toys.call(sd)
            del held
            return gone() is None

    with Trace(sd):
        assert Proxy().serve()


def test_branches_are_told_by_the_returns_of_the_function_itself():
    from attnscope.hooks.encodings import _places

    def encode_prompt(cached):
        if cached:
            return cached.prompt_embeds, cached.negative_prompt_embeds

        def inner():
            return negative, prompt_embeds  # noqa: F821

        prompt_embeds = negative_prompt_embeds = inner()
        return prompt_embeds, negative_prompt_embeds

    def contradicts_itself(cached):
        if cached:
            return cached.negative_prompt_embeds, cached.prompt_embeds
        prompt_embeds = negative_prompt_embeds = cached
        return prompt_embeds, negative_prompt_embeds

    assert _places(encode_prompt) == (0, 1)
    assert _places(contradicts_itself) is None


class Around(torch.nn.Module):
    """A user's module around a U-Net."""

    def __init__(self, unet):
        super().__init__()
        self.inner, self.config = unet, unet.config
        self.dtype, self.device = unet.dtype, unet.device

    def forward(self, *args, **kwargs):
        return self.inner(*args, **kwargs)


@pytest.mark.parametrize("plan", ["m=2,k=2", "guidance-cutoff:m=2", "null-text-late:m=2"])
def test_a_module_around_a_denoiser_changes_nothing(sd, plan):
    bare = sd.unet
    with Trace(sd, plan=plan, observers=[StepDistance()]) as trace:
        expected = toys.call(sd, steps=5)
    sd.unet = Around(bare)
    with Trace(sd, plan=plan, observers=[StepDistance()]) as around:
        assert torch.equal(toys.call(sd, steps=5), expected)
    pd.testing.assert_frame_equal(around.records(), trace.records())
    assert set(around.records()["block"]) >= {"mid_block"}


def test_a_module_around_a_video_denoiser_keeps_the_branch_that_it_must(tokenizer_folder):
    pipe = toys.FAMILIES["svd"](tokenizer_folder)
    with Trace(pipe, plan="m=2,k=2"):
        expected = toys.call(pipe, steps=4)
    pipe.unet = Around(pipe.unet)
    pipe.unet.add_embedding = pipe.unet.inner.add_embedding
    with Trace(pipe, plan="m=2,k=2"):
        assert torch.equal(torch.as_tensor(toys.call(pipe, steps=4)), torch.as_tensor(expected))


@pytest.mark.parametrize("copied", [copy.deepcopy, pickle.dumps])
def test_a_denoiser_that_is_watched_is_not_copied(sd, copied):
    with Trace(sd) as trace:
        with pytest.raises(RuntimeError, match="UNet2DConditionModel on which there is a Trace"):
            copied(sd.unet)
        toys.call(sd, steps=2)
    assert len(trace.runs) == 1
    copied(sd.unet)


def test_a_run_that_was_interrupted_is_not_taken_for_one_with_too_few_steps(sd):
    def interrupt(pipe, step, timestep, tensors):
        pipe._interrupt = step == 1
        return tensors

    with warnings.catch_warnings(action="error", category=UserWarning), Trace(sd, plan="m=4,k=2"):
        toys.call(sd, steps=6, callback_on_step_end=interrupt)


def test_a_block_of_ones_own_in_a_modular_pipeline_has_habits_of_its_own(sd):
    """Its branches are numbered: that a pipeline of diffusers runs it says nothing of their order."""

    class Denoise(ModularPipelineBlocks):
        model_name = "own"

        @property
        def expected_components(self):
            return [
                ComponentSpec("unet", UNet2DConditionModel),
                ComponentSpec("scheduler", DDIMScheduler),
            ]

        @property
        def intermediate_outputs(self):
            return [OutputParam("latents")]

        @torch.no_grad()
        def __call__(self, components, state):
            latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
            states = torch.randn(2, 8, 32, generator=torch.Generator().manual_seed(1))
            components.scheduler.set_timesteps(4)
            for t in components.scheduler.timesteps:
                cond, uncond = components.unet(torch.cat([latents] * 2), t, states).sample.chunk(2)
                noise = uncond + 3 * (cond - uncond)
                latents = components.scheduler.step(noise, t, latents).prev_sample
            block = self.get_block_state(state)
            block.latents = latents
            self.set_block_state(state, block)
            return components, state

    pipe = Denoise().init_pipeline()
    pipe.register_components(unet=sd.unet, scheduler=DDIMScheduler(clip_sample=False))
    expected = pipe(output="latents")
    with Trace(pipe, observers=[StepDistance()]) as trace:
        assert torch.equal(pipe(output="latents"), expected)
    assert set(trace.records()["branch"]) == {"branch0", "branch1"}
    with (
        pytest.raises(RuntimeError, match="which is the branch 'uncond' is not known"),
        Trace(pipe, plan="guidance-cutoff:m=2"),
    ):
        pipe(output="latents")
