import contextlib
import copy
import weakref

import denoisers
import numpy as np
import pytest
import torch
import toys
from diffusers import (
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionImg2ImgPipeline,
)
from diffusers.hooks import HookRegistry, ModelHook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import attnscope
from attnscope import (
    BranchDistance,
    CaptionDistance,
    CrossReuse,
    FeatureMaps,
    FinalDistance,
    NoiseMean,
    PredictionDistance,
    SelfReuseLate,
    StepDistance,
    TGate,
    Trace,
)
from attnscope.analyses.convergence.interventions import same_latents
from attnscope.hooks.moments import Denoising


def everything():
    around = ("feed-forward", "block", "latent")
    return [
        StepDistance(), NoiseMean(), FeatureMaps("*", steps=[1]), StepDistance(around),
        FinalDistance(), BranchDistance(), PredictionDistance(),
    ]  # fmt: skip


def fingerprint(pipe):
    """Everything about the modules and the scheduler that a hook could leave behind."""
    denoiser = attnscope.sites.attention.find_denoiser(pipe)
    modules = {
        name: (sorted(vars(module)), list(module._forward_hooks), list(module._forward_pre_hooks))
        for name, module in denoiser.named_modules()
    }
    return modules, {"step", "set_timesteps"} & set(vars(pipe.scheduler))


@pytest.mark.parametrize("guidance", [5.0, 1.0])
def test_images_are_bitwise_the_same_with_and_after_a_trace(pipe, guidance):
    plain = toys.call(pipe, prompts=2, guidance=guidance)
    before = fingerprint(pipe)
    with Trace(pipe, observers=everything()):
        watched = toys.call(pipe, prompts=2, guidance=guidance)
    assert torch.equal(plain, watched)
    assert fingerprint(pipe) == before
    assert torch.equal(plain, toys.call(pipe, prompts=2, guidance=guidance))


def test_an_exception_inside_leaves_the_pipeline_as_it_was_and_keeps_the_steps_done(sd):
    plain, before = toys.call(sd), fingerprint(sd)
    observer = StepDistance()

    def interrupt(pipe, step, timestep, tensors):
        if step == 2:
            raise KeyError("stop")
        return tensors

    with pytest.raises(KeyError), Trace(sd, observers=[observer]) as trace:
        toys.call(sd, steps=6, callback_on_step_end=interrupt)
    assert fingerprint(sd) == before
    assert torch.equal(plain, toys.call(sd))
    assert sorted(trace.records()["step"].unique()) == [1, 2]


def test_a_run_that_failed_does_not_disturb_the_next_one_in_the_same_trace(sd):
    def interrupt(pipe, step, timestep, tensors):
        raise KeyError("stop")

    with Trace(sd, observers=[StepDistance()]) as trace:
        with pytest.raises(KeyError):
            toys.call(sd, callback_on_step_end=interrupt)
        toys.call(sd)
    with Trace(sd, observers=[StepDistance()]) as alone:
        toys.call(sd)
    second = trace.records().query("run == 1").reset_index(drop=True)
    assert np.array_equal(second["l2"], alone.records()["l2"])


def test_several_runs_of_other_sizes_stand_in_one_table(sd):
    with Trace(sd, observers=[StepDistance()]) as trace:
        toys.call(sd, prompts=1, steps=3)
        toys.call(sd, prompts=2, steps=5, guidance=1.0)
    table = trace.records()
    shape = table.groupby("run").agg(
        samples=("sample", "nunique"), steps=("step", "max"), branches=("branch", "nunique")
    )
    assert shape.to_numpy().tolist() == [[1, 2, 2], [2, 4, 1]]
    assert [run.index for run in trace.runs] == [0, 1]


@pytest.mark.parametrize(
    ("scheduler", "steps_taken"),
    [(EulerDiscreteScheduler, 5), (HeunDiscreteScheduler, 9), (PNDMScheduler, 6)],
)
def test_a_step_is_one_scheduler_step(sd, scheduler, steps_taken):
    options = {"skip_prk_steps": True} if scheduler is PNDMScheduler else {}
    sd.scheduler = scheduler.from_config(sd.scheduler.config, **options)
    with Trace(sd, observers=[StepDistance()]) as trace:
        toys.call(sd, steps=5)
    assert trace.runs[0].steps_done == steps_taken
    assert list(trace.records()["step"].unique()) == list(range(1, steps_taken))


def test_image_to_image_runs_fewer_steps_than_the_scheduler_was_set_to(sd):
    pipe = StableDiffusionImg2ImgPipeline(**sd.components, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)

    def call():
        return pipe(
            toys.PROMPTS[0], image=torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)),
            strength=0.5, num_inference_steps=8, output_type="latent",
            generator=torch.Generator().manual_seed(0),
        ).images  # fmt: skip

    plain = call()
    with Trace(pipe, observers=[StepDistance()]) as trace:
        assert torch.equal(plain, call())
    assert (trace.runs[0].steps, trace.runs[0].steps_done) == (8, 4)
    assert list(trace.records()["step"].unique()) == [1, 2, 3]
    assert trace.runs[0].timesteps().tolist() == pipe.scheduler.timesteps[4:].tolist()


@pytest.mark.parametrize("guidance", [5.0, 1.0])
def test_one_call_per_guidance_branch_is_told_apart_by_its_context(guidance):
    pipe = toys.wan()
    outputs = []
    module = pipe.transformer.get_submodule("blocks.1.attn2")
    plain = toys.call_wan(pipe, guidance=guidance)
    before = fingerprint(pipe)
    with Trace(pipe, observers=[StepDistance()]) as trace:
        handle = module.register_forward_hook(lambda m, args, out: outputs.append(out.clone()))
        assert torch.equal(plain, toys.call_wan(pipe, guidance=guidance))
        handle.remove()
    assert fingerprint(pipe) == before
    names = ["cond", "uncond"] if guidance > 1 else ["cond"]
    measured = trace.records().query("site == 'blocks.1.attn2'")
    for call, branch in enumerate(names):
        own = outputs[call :: len(names)]
        for step in range(1, 4):
            expected = (own[step] - own[step - 1]).flatten(1).norm(dim=1)
            rows = measured[(measured["branch"] == branch) & (measured["step"] == step)]["l2"]
            np.testing.assert_allclose(rows, expected, rtol=1e-4)
    assert set(measured["branch"]) == set(names)


def test_timesteps_are_the_schedulers_own(sd):
    with Trace(sd, observers=[StepDistance()]) as trace:
        toys.call(sd, steps=4)
    stamps = trace.records().drop_duplicates("step")["timestep"]
    assert stamps.tolist() == sd.scheduler.timesteps[1:].tolist()


def test_schedulers_still_get_eta_and_generator(sd):
    """Pipelines inspect the signature of ``scheduler.step`` to pass them."""
    from diffusers import EulerAncestralDiscreteScheduler

    sd.scheduler = EulerAncestralDiscreteScheduler.from_config(sd.scheduler.config)
    plain = toys.call(sd, seed=3)
    with Trace(sd, observers=[StepDistance()]):
        assert torch.equal(plain, toys.call(sd, seed=3))


class Dispatched(TorchDispatchMode):
    """Counts scalars read from a device, and copies to another one."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        if func is torch.ops.aten._to_copy.default:
            self.count += (kwargs or {}).get("device") is not None
        return func(*args, **(kwargs or {}))


class Called(TorchFunctionMode):
    """Counts what would wait for a device, also where the device is the host and nothing moves."""

    WAITING = frozenset({
        "cpu", "numpy", "tolist", "item", "__bool__", "__float__", "__int__", "__index__", "nonzero",
    })  # fmt: skip

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.count += getattr(func, "__name__", "") in self.WAITING
        return func(*args, **(kwargs or {}))


def reads_after_each_step(pipe, observers, passes=1, **options):
    """How much was read back from the device, as it stood after every step."""
    stamps = []

    def stamp(*args):
        stamps.append((dispatched.count, called.count))
        return args[-1]

    pixart = isinstance(pipe, toys.PixArtAlphaPipeline)
    with Dispatched() as dispatched, Called() as called, contextlib.ExitStack() as stack:
        if observers:
            stack.enter_context(Trace(pipe, observers=observers))
        for _ in range(passes):
            toys.call(pipe, **{"callback" if pixart else "callback_on_step_end": stamp}, **options)
    return stamps


def test_nothing_is_read_back_inside_the_loop(pipe):
    plain = reads_after_each_step(pipe, [])
    assert len(plain) == 4
    assert reads_after_each_step(pipe, everything()) == plain


def test_two_captions_are_compared_without_reading_back(pipe):
    plain = reads_after_each_step(pipe, [], prompts=2)
    with same_latents(pipe, 1):
        assert reads_after_each_step(pipe, [CaptionDistance(1)], prompts=2) == plain


def test_a_second_pass_reads_nothing_back_either(sd):
    plain = reads_after_each_step(sd, [], passes=2)
    assert len(plain) == 8
    assert reads_after_each_step(sd, [FinalDistance()], passes=2) == plain


@pytest.mark.parametrize(
    "read", [torch.Tensor.cpu, torch.Tensor.numpy, torch.Tensor.tolist, lambda t: bool(t.sum() > 0)]
)
def test_a_read_inside_the_loop_would_be_noticed(sd, read):
    class Reads(StepDistance):
        def see(self, site, moment, output):
            read(output)

    assert reads_after_each_step(sd, [Reads()]) != reads_after_each_step(sd, [])


def test_entering_twice_is_refused(sd):
    with (
        toys.warns("no denoising"),
        Trace(sd) as trace,
        pytest.raises(RuntimeError, match="traced already"),
        Trace(sd),
    ):
        pass
    with pytest.raises(RuntimeError, match="entered before"), trace:
        pass


def test_a_trace_that_saw_nothing_warns(sd):
    with toys.warns("saw no denoising"), Trace(sd):
        pass


def test_swapping_the_scheduler_inside_is_an_error(sd):
    other = EulerDiscreteScheduler.from_config(sd.scheduler.config)

    def swap_and_call():
        with Trace(sd):
            sd.scheduler = other
            toys.call(sd)

    with pytest.raises(RuntimeError, match="swapped"):
        swap_and_call()


def test_calling_the_denoiser_outside_of_a_loop_is_an_error(sd):
    with pytest.raises(RuntimeError, match="outside of a denoising loop"), Trace(sd):
        sd.unet(torch.zeros(1, 4, 16, 16), 0, torch.zeros(1, 24, 32))


def test_a_pipeline_without_denoiser_is_refused(sd):
    sd.unet = None
    with pytest.raises(ValueError, match="no denoiser"):
        Trace(sd)


def test_records_want_a_name_among_several(sd):
    observers = [StepDistance(), NoiseMean()]
    with Trace(sd, observers=observers) as trace:
        toys.call(sd)
    with pytest.raises(ValueError, match="2 observers"):
        trace.records()
    with pytest.raises(ValueError, match="not an observer"):
        trace.records(NoiseMean())
    assert len(trace.records(observers[1]))


class Doubling(ModelHook):
    """Somebody else's hook, with a ``new_forward`` of its own."""

    def new_forward(self, module, *args, **kwargs):
        return 2 * self.fn_ref.original_forward(*args, **kwargs)


@pytest.mark.parametrize("first", [True, False])
def test_hooks_of_others_survive(sd, first):
    """``HookRegistry.remove_hook`` alone would disable a later hook."""
    module = sd.unet.get_submodule("mid_block.attentions.0.transformer_blocks.0.attn2")

    def register():
        HookRegistry.check_if_exists_or_initialize(module).register_hook(Doubling(), "doubling")

    plain = toys.call(sd)
    if first:
        register()
    with Trace(sd, observers=[StepDistance()]):
        if not first:
            register()
        toys.call(sd)
    doubled = toys.call(sd)
    assert not torch.equal(plain, doubled)
    module._diffusers_hook.remove_hook("doubling")
    assert torch.equal(plain, toys.call(sd))


def test_a_forward_replaced_inside_is_refused_and_the_rest_is_undone(sd):
    module = sd.unet.get_submodule("mid_block.attentions.0.transformer_blocks.0.attn2")

    def replace_forward():
        with Trace(sd, observers=[StepDistance()]):
            toys.call(sd)
            module.forward = type(module).forward.__get__(module)

    with pytest.raises(RuntimeError, match="was replaced inside"):
        replace_forward()
    others = [m for m in sd.unet.modules() if m is not module]
    assert not any(hasattr(other, "_diffusers_hook") for other in others)
    with pytest.raises(RuntimeError, match="load the pipeline anew"), Trace(sd):
        pass


def test_attention_slicing_and_offload_are_watched(sd):
    """Two calls, since a hook on the denoiser itself would die after the first under offload."""
    from accelerate import cpu_offload_with_hook

    sd.enable_attention_slicing()
    cpu_offload_with_hook(sd.unet, torch.device("cpu"))
    with Trace(sd, observers=[StepDistance()]) as trace:
        toys.call(sd)
        toys.call(sd)
    assert trace.records().groupby("run").size().nunique() == 1
    assert trace.records()["run"].nunique() == 2


@pytest.mark.parametrize("fails", [False, True])
def test_no_device_memory_stays_after_a_trace(sd, fails):
    observers = everything()

    def refer(pipe, step, timestep, tensors):
        distance, noise, maps, around, final, branches, predictions = observers
        kept.extend(weakref.ref(pace.previous) for pace in around._paces.values())
        kept.extend(weakref.ref(output) for _, output in final._last.values())
        kept.extend(weakref.ref(numbers.values) for numbers in branches._halves.values())
        kept.extend(weakref.ref(output) for _, output in branches._other_call.values())
        kept.extend(weakref.ref(moments) for _, moments in predictions._reduced.kept)
        kept.extend(weakref.ref(pace.previous) for pace in distance._paces.values())
        kept.extend(weakref.ref(pace.values) for pace in distance._paces.values())
        kept.extend(weakref.ref(moments) for _, moments in noise._reduced.kept)
        kept.extend(weakref.ref(output) for _, _, output in maps._kept)
        if fails and step == 2:
            raise KeyError("stop")
        return tensors

    kept = []
    expected = pytest.raises(KeyError) if fails else contextlib.nullcontext()
    with expected, Trace(sd, observers=observers) as trace:
        toys.call(sd, callback_on_step_end=refer)
    assert len(kept) > 40
    assert all(reference() is None for reference in kept)
    assert len(trace.records(observers[0]))


def test_an_observer_that_fails_does_not_take_the_others_along(sd):
    class Fails(NoiseMean):
        def finish(self, run):
            raise KeyError("broken")

    distance = StepDistance()

    def run():
        with Trace(sd, observers=[Fails(), distance]):
            toys.call(sd)

    before = fingerprint(sd)
    with pytest.raises(KeyError):
        run()
    assert len(distance.table()) == 48
    assert fingerprint(sd) == before


def test_an_observer_serves_one_trace(sd):
    observer = StepDistance()
    with Trace(sd, observers=[observer]):
        toys.call(sd)
    with (
        pytest.raises(RuntimeError, match="make a new one for each"),
        Trace(sd, observers=[observer]),
    ):
        pass


def test_records_can_be_read_inside_the_block_between_runs(sd):
    with Trace(sd, observers=[StepDistance()]) as trace:
        toys.call(sd)
        assert set(trace.records()["run"]) == {0}
        toys.call(sd)
    assert set(trace.records()["run"]) == {0, 1}


def test_the_first_call_settles_the_kind(sd):
    """A site that looks like self-attention but is given a text is measured as cross-attention."""
    name = "mid_block.attentions.0.transformer_blocks.0.attn2"
    sd.unet.get_submodule(name).is_cross_attention = False
    assert {site.name: site.kind for site in attnscope.find_sites(sd.unet)}[name] == "self"
    cross, itself = StepDistance(kinds=["cross"]), StepDistance(kinds=["self"])
    with Trace(sd, observers=[cross, itself]) as trace:
        toys.call(sd)
    assert name in set(trace.records(cross)["site"])
    assert name not in set(trace.records(itself)["site"])


def test_sites_that_are_never_called_are_named(sd):
    sd.unet.spare = copy.deepcopy(
        sd.unet.get_submodule("mid_block.attentions.0.transformer_blocks.0.attn1")
    )
    with (
        toys.warns("1 attention sites were never called, such as spare"),
        Trace(sd, observers=[StepDistance()]),
    ):
        toys.call(sd)


@pytest.mark.parametrize(
    ("calls", "pair", "names"),
    [
        ([(None, 4)], ("uncond", "cond"), [["uncond", "cond"]]),
        ([(None, 4)], ("cond", "uncond"), [["cond", "uncond"]]),
        ([(None, 2)], ("uncond", "cond"), [["cond"]]),
        ([(None, 6)], ("uncond", "cond"), [["branch0", "branch1", "branch2"]]),
        ([(None, 2), (None, 2)], ("uncond", "cond"), [["cond"], ["uncond"]]),
        ([("pred_cond", 2), ("pred_uncond", 2)], ("uncond", "cond"), [["cond"], ["uncond"]]),
        # A further call beside a batch of both branches, as in skip-layer guidance.
        ([(None, 4), (None, 2)], ("uncond", "cond"), [["uncond", "cond"], ["extra1"]]),
    ],
)
def test_branches_are_named_by_what_is_known_of_the_calls(calls, pair, names):
    run = Denoising(0, 5, pair, samples=2)
    for number, (context, rows) in enumerate(calls):
        run.note_call(number, context, rows)
    for number, (_, rows) in enumerate(calls):
        samples, branches = run.label(number, rows)
        assert branches.tolist() == [name for name in names[number] for _ in range(2)]
        assert samples.tolist() == [0, 1] * len(names[number])


def test_two_branches_without_classifier_free_guidance_are_the_prompts_and_the_perturbed_one(sd):
    """Perturbed-attention guidance alone puts two conditional branches into a batch."""
    from diffusers import StableDiffusionPAGPipeline

    pipe = StableDiffusionPAGPipeline(
        **sd.components, requires_safety_checker=False, pag_applied_layers="mid"
    )
    pipe.set_progress_bar_config(disable=True)
    with Trace(pipe, observers=[StepDistance()]) as trace:
        pipe(toys.PROMPTS[0], height=32, width=32, num_inference_steps=3, guidance_scale=0.0,
             pag_scale=3.0, output_type="latent")  # fmt: skip
    assert set(trace.records()["branch"]) == {"cond", "perturbed"}


@pytest.mark.filterwarnings("ignore:.*leaves its .* joint attention sites alone")
def test_a_plan_whose_only_sites_turn_out_to_be_of_another_kind_says_so():
    loop = denoisers.Loop("hidream")  # whose classes do not tell that the text takes part
    plain = loop(4)
    message = (
        "acts on self-attention, but when it was called the attention of "
        "HiDreamImageTransformer2DModel turned out to be joint: nothing of kind self was reused"
    )
    with toys.warns(message), Trace(loop, plan=SelfReuseLate(1, 4)) as trace:
        assert torch.equal(loop(4), plain)
    assert trace.calls()["reused"].sum() == 0


def test_a_plan_that_loses_one_of_its_kinds_says_which():
    loop = denoisers.Loop("stable-cascade")  # keys of its self-attention hold the text
    message = "acts on self-attention, but.*turned out to be cross: nothing of kind self"
    with toys.warns(message), Trace(loop, plan=TGate(2)):
        loop(4)


@pytest.mark.parametrize("plan", [None, CrossReuse(2), SelfReuseLate(1, 4)])
def test_a_plan_that_has_its_sites_says_nothing(plan):
    loop = denoisers.Loop("ltx")
    with Trace(loop, plan=plan):  # warnings are errors
        loop(4)


@pytest.mark.filterwarnings("ignore:.*leaves its .* joint attention sites alone")
def test_a_kind_that_was_never_there_is_not_lost():
    loop = denoisers.Loop("lumina2", guided=True)  # refiners of the noise, and joint attention
    with Trace(loop, plan=TGate(2, interval=3, warmup=0)) as trace:
        loop(4)
    assert trace.calls()["kind"].tolist() == ["self", "joint"]
