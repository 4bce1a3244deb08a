"""Every pipeline and option that plans support, against the same pipeline patched by hand."""

import numpy as np
import pytest
import reference
import torch
import toys
from accelerate.hooks import remove_hook_from_module
from diffusers import (
    ControlNetModel,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPAGPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
)

from attnscope import (
    CrossReuse,
    GuidanceCutoff,
    SelfReuseLate,
    StepDistance,
    TGate,
    Trace,
    accelerate,
)
from attnscope.errors import InputError
from attnscope.hooks.branches import narrowed

PLAN = {"m": 3, "k": 2, "w": 0}


def agrees(pipe, call, plan=PLAN, **options):
    """The plan does something, and what the pipeline patched by hand does."""
    plain = call()
    with reference.tgate_patched(pipe, **plan, **options):
        theirs = call()
    with Trace(pipe, plan=",".join(f"{key}={value}" for key, value in plan.items())) as trace:
        ours = call()
    assert (ours - theirs).abs().max() < 1e-4
    assert (ours - plain).abs().max() > 1e-3
    assert torch.equal(call(), plain)
    return trace


def image(seed=0, channels=3):
    return torch.rand(1, channels, 32, 32, generator=torch.Generator().manual_seed(seed))


def caller(pipe, **inputs):
    def call():
        return pipe(
            toys.PROMPTS[0], num_inference_steps=8, output_type="latent",
            generator=torch.Generator().manual_seed(0), **inputs,
        ).images  # fmt: skip

    return call


def derived(kind, pipe, **options):
    made = kind(**{**pipe.components, **options})
    made.set_progress_bar_config(disable=True)
    return made


@pytest.mark.parametrize(
    "options", [{"prompts": 2, "per_prompt": 2}, {"width": 48}, {"per_prompt": 3}], ids=str
)
def test_several_prompts_several_images_and_other_shapes(pipe, family, options):
    if family == "svd":
        options = {"prompts": options.get("prompts", 1), "per_prompt": options.get("per_prompt", 1)}
    guidance = 2.5 if family == "svd" else 5.0
    agrees(
        pipe,
        lambda: toys.call(pipe, steps=6, guidance=guidance, **options),
        part=int(family == "svd"),
    )


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_image_to_image(kind, tokenizer_folder):
    pipe = toys.FAMILIES[kind](tokenizer_folder)
    made = {"sd": StableDiffusionImg2ImgPipeline, "sdxl": StableDiffusionXLImg2ImgPipeline}[kind]
    options = {"requires_safety_checker": False} if kind == "sd" else {}
    pipe = derived(made, pipe, **options)
    trace = agrees(pipe, caller(pipe, image=image(), strength=0.75))
    assert (trace.runs[0].steps_done, trace.runs[0].guided_steps) == (6, 3)


def test_guidance_rescale(sd):
    agrees(sd, lambda: toys.call(sd, steps=6, guidance_rescale=0.7))


def test_image_to_image_that_ends_before_the_gate_says_so(sd):
    pipe = derived(StableDiffusionImg2ImgPipeline, sd, requires_safety_checker=False)
    with toys.warns("ended after 2 steps, before the gate"), Trace(pipe, plan="m=4"):
        caller(pipe, image=image(), strength=0.3)()


@pytest.mark.parametrize("kind", ["sd", "sd-9-channels", "sdxl"])
def test_inpainting(kind, tokenizer_folder):
    mask = (image(1, channels=1) > 0.5).float()
    if kind == "sdxl":
        pipe = derived(StableDiffusionXLInpaintPipeline, toys.stable_diffusion_xl(tokenizer_folder))
    else:
        channels = 9 if kind.endswith("channels") else 4
        sd = toys.stable_diffusion(tokenizer_folder, in_channels=channels)
        pipe = derived(StableDiffusionInpaintPipeline, sd, requires_safety_checker=False)
    agrees(pipe, caller(pipe, image=image(), mask_image=mask, strength=1.0, height=32, width=32))


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_controlnet_residuals_are_sliced_and_its_share_is_reported(kind, tokenizer_folder):
    pipe = toys.FAMILIES[kind](tokenizer_folder)
    torch.manual_seed(1)
    control = ControlNetModel.from_unet(pipe.unet, conditioning_channels=3)
    control = ControlNetModel.from_config(
        {**control.config, "conditioning_embedding_out_channels": (16, 32)}
    ).eval()
    for block in [*control.controlnet_down_blocks, control.controlnet_mid_block]:
        torch.nn.init.normal_(block.weight, std=0.05)  # they start as zeros
    made = {"sd": StableDiffusionControlNetPipeline, "sdxl": StableDiffusionXLControlNetPipeline}[
        kind
    ]
    options = {"requires_safety_checker": False} if kind == "sd" else {}
    pipe = derived(made, pipe, controlnet=control, **options)
    call = caller(pipe, image=image(), controlnet_conditioning_scale=1.0)
    with toys.warns("ControlNet still runs on both"):
        agrees(pipe, call)
    with Trace(pipe, plan=CrossReuse(3)):  # drops nothing, says nothing
        call()
    with (
        toys.warns("ControlNet still"),
        pytest.raises(RuntimeError, match="guess_mode"),
        Trace(pipe, plan="m=3"),
    ):
        caller(pipe, image=image(), guess_mode=True)()


def test_ip_adapter(sd):
    sd.unet._load_ip_adapter_weights([toys.ip_adapter(sd.unet)])
    embeds = torch.randn(2, 1, 32, generator=torch.Generator().manual_seed(3))
    agrees(sd, caller(sd, height=32, width=32, ip_adapter_image_embeds=[embeds]))


@pytest.mark.parametrize("fused", [False, True])
def test_lora(sd, fused):
    peft = pytest.importorskip("peft")
    torch.manual_seed(4)
    sd.unet.add_adapter(
        peft.LoraConfig(r=2, init_lora_weights=False, target_modules=["to_q", "to_v", "to_out.0"])
    )
    if fused:
        sd.fuse_lora()
    agrees(sd, lambda: toys.call(sd, steps=6))


def test_lora_that_is_loaded_under_an_acceleration(sd):
    peft = pytest.importorskip("peft")
    with accelerate(sd, "m=3,k=2"):
        before = toys.call(sd, steps=6)
        torch.manual_seed(4)
        sd.unet.add_adapter(peft.LoraConfig(r=2, init_lora_weights=False, target_modules=["to_v"]))
        inside = toys.call(sd, steps=6)
    assert not torch.equal(before, inside)
    with Trace(sd, plan="m=3,k=2"):
        assert torch.equal(inside, toys.call(sd, steps=6))


def test_attention_slicing(sd):
    with accelerate(sd, "m=3,k=2"):
        expected = toys.call(sd, steps=6)
    sd.enable_attention_slicing()
    with accelerate(sd, "m=3,k=2"):
        assert (toys.call(sd, steps=6) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("when", ["before", "inside"])
def test_offload_that_wraps_the_denoiser_anew_after_every_call(sd, when):
    """As ``enable_model_cpu_offload`` does from ``maybe_free_model_hooks``."""
    from accelerate import cpu_offload_with_hook

    def wrap():
        remove_hook_from_module(sd.unet, recurse=True)
        cpu_offload_with_hook(sd.unet, torch.device("cpu"))

    with accelerate(sd, "m=3,k=2"):
        expected = toys.call(sd, steps=6)
    if when == "before":
        wrap()
    with accelerate(sd, "m=3,k=2") as handle:
        for call in range(1, 4):
            wrap()
            assert torch.equal(expected, toys.call(sd, steps=6))
            assert handle.calls().set_index("kind").loc["cross", "reused"] == call * 3 * 4


def test_the_latent_consistency_pipeline(tokenizer_folder):
    sd = toys.stable_diffusion(tokenizer_folder, time_cond_proj_dim=16)
    sd.scheduler = LCMScheduler.from_config(sd.scheduler.config, clip_sample=False)
    pipe = derived(LatentConsistencyModelPipeline, sd, requires_safety_checker=False)
    call = caller(pipe, height=32, width=32)
    with Trace(pipe, plan="m=2,k=2") as trace:
        reused = call()
    assert torch.isfinite(reused).all()
    assert trace.runs[0].guided_steps == 0
    assert trace.calls().set_index("kind").loc["cross", "reused"] > 0


def test_an_attention_block_with_its_own_residual_reuses_what_stands_before_it(tokenizer_folder):
    """Four-dimensional blocks add their input themselves: the fresh one must be added."""
    sd = toys.stable_diffusion(
        tokenizer_folder, down_block_types=("AttnDownBlock2D", "CrossAttnDownBlock2D")
    )
    block = sd.unet.down_blocks[0].attentions[0]
    assert block.residual_connection
    seen = []

    def note(module, args, kwargs, output):
        seen.append(output - args[0])

    handle = block.register_forward_hook(note, with_kwargs=True)
    with Trace(sd, plan=SelfReuseLate(1, 100)):
        toys.call(sd, steps=5)
    handle.remove()
    change = [(seen[step] - seen[1]).abs().max() for step in range(5)]
    assert all(value < 1e-5 for value in change[1:])
    assert change[0] > 1e-3


class TestOneCallPerBranch:
    @pytest.mark.parametrize("kind", ["cross", "self"])
    def test_each_branch_reuses_its_own(self, kind):
        pipe = toys.wan()
        plain = toys.call_wan(pipe, steps=6)
        if kind == "cross":
            plan = CrossReuse(2)
            stages = [("compute", "compute"), ("compute", "store")] + [("compute", "reuse")] * 4
        else:
            plan = SelfReuseLate(2, 10)
            stages = (
                [("compute", "compute")] * 2 + [("store", "compute")] + [("reuse", "compute")] * 3
            )
        with reference.patched(pipe, lambda step: stages[step], calls_per_step=2):
            theirs = toys.call_wan(pipe, steps=6)
        with Trace(pipe, plan=plan, observers=[StepDistance()]) as trace:
            ours = toys.call_wan(pipe, steps=6)
        assert (ours - theirs).abs().max() < 1e-4
        assert (ours - plain).abs().max() > 1e-4
        assert set(trace.records()["branch"]) == {"cond", "uncond"}
        assert torch.equal(plain, toys.call_wan(pipe, steps=6))

    @pytest.mark.parametrize("plan", [TGate(2), GuidanceCutoff(2)])
    def test_dropping_is_refused_with_the_reason(self, plan):
        with pytest.raises(InputError, match="WanPipeline does not support: it calls its denoiser"):
            Trace(toys.wan(), plan=plan)


def test_the_conditional_branch_stays_where_joint_attention_reads_the_text():
    """Stable Diffusion 3.5 has self-attention beside joint attention, which goes on reading."""
    from attnscope.hooks.refusals import model_keeps
    from attnscope.sites.attention import Site
    from attnscope.sites.denoiser import Denoiser

    joint = Site("a", "joint", "b", 0), Site("c", "self", "b", 1)
    for sites, kept in ((joint, "cond"), (joint[1:], "uncond")):
        denoiser = Denoiser(torch.nn.Identity())
        vars(denoiser)["sites"] = sites
        assert model_keeps(denoiser) == kept


def test_text_that_stands_once_for_every_frame_is_sliced_with_its_sample():
    states = torch.arange(12).reshape(12, 1)
    call = {
        "encoder_hidden_states": states,
        "image_rotary_emb": torch.zeros(2, 3),
        "nested": [states[:2]],
    }
    half = narrowed(call, 2, slice(1, 2))
    assert half["encoder_hidden_states"].flatten().tolist() == [6, 7, 8, 9, 10, 11]
    assert half["image_rotary_emb"].shape == (2, 3)
    assert half["nested"][0].tolist() == [[1]]


def enable_cache(pipe, switched_on):
    """Pyramid attention broadcast on a pipeline's transformer, in one of the two ways there are."""
    from diffusers import PyramidAttentionBroadcastConfig
    from diffusers.hooks import apply_pyramid_attention_broadcast

    config = PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2,
        cross_attention_block_skip_range=2,
        current_timestep_callback=lambda: 500,
    )
    if switched_on == "by a method":
        pipe.transformer.enable_cache(config)
    else:
        apply_pyramid_attention_broadcast(pipe.transformer, config)


class TestRefusedByName:
    def test_pipelines_with_other_branches(self, sd):
        for kind, reason in (
            (StableDiffusionPAGPipeline, "perturbed-attention"),
            (StableDiffusionInstructPix2PixPipeline, "three branches"),
        ):
            extra = {"image_encoder": None} if kind is StableDiffusionPAGPipeline else {}
            pipe = derived(kind, sd, requires_safety_checker=False, **extra)
            with pytest.raises(InputError, match=f"{kind.__name__} does not support.*{reason}"):
                Trace(pipe, plan="m=2")

    def test_joint_attention_alone(self):
        torch.manual_seed(0)
        transformer = FluxTransformer2DModel(
            patch_size=1, in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=32,
            axes_dims_rope=[4, 4, 8],
        )  # fmt: skip
        pipe = FluxPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(), vae=None, text_encoder=None, tokenizer=None,
            text_encoder_2=None, tokenizer_2=None, transformer=transformer,
        )  # fmt: skip
        with pytest.raises(
            InputError, match="has only block, feed-forward, joint-attention; joint"
        ):
            Trace(pipe, plan="m=2")

    @pytest.mark.parametrize("switched_on", ["by a method", "by a function"])
    @pytest.mark.parametrize("when", ["beforehand", "inside"])
    def test_a_cache_of_diffusers(self, switched_on, when):
        """It would act on the same calls, however and whenever it was switched on."""
        pipe = toys.wan()
        refused = pytest.raises(InputError, match=r"disable_cache\(\) first")
        if when == "beforehand":
            enable_cache(pipe, switched_on)
            with refused:
                Trace(pipe, plan=CrossReuse(2))
            return
        accelerated = accelerate(pipe, CrossReuse(2))
        toys.call_wan(pipe)
        enable_cache(pipe, switched_on)
        with refused:
            toys.call_wan(pipe)
        accelerated.disable()

    @pytest.mark.parametrize("switched_on", ["by a method", "by a function"])
    def test_a_cache_that_hides_calls_from_observers(self, switched_on):
        """Inside a Trace it would stand before the hooks: what it answers itself goes unseen."""
        pipe = toys.wan()
        refused = pytest.raises(InputError, match="was enabled inside the Trace")
        with refused, Trace(pipe, observers=[StepDistance()]):
            enable_cache(pipe, switched_on)
            toys.call_wan(pipe)
        pipe = toys.wan()
        enable_cache(pipe, switched_on)
        with Trace(pipe, observers=[StepDistance()]) as trace:
            toys.call_wan(pipe)
        assert set(trace.records()["step"]) == {1, 2, 3}, "beforehand it is seen like anything else"

    def test_three_branches_that_no_name_tells(self, sd):
        """A pipeline that hands three branches in one batch is refused after its first step."""
        states = torch.randn(3, 8, 32)
        refused = pytest.raises(RuntimeError, match="3 rows for 1 samples")
        with refused, Trace(sd, plan="m=2"), torch.no_grad():
            sd.scheduler.set_timesteps(4)
            step = sd.scheduler.timesteps[0]
            noise = sd.unet(torch.randn(3, 4, 16, 16), step, states).sample
            sd.scheduler.step(noise[:1], step, torch.randn(1, 4, 16, 16))


def test_plans_of_ones_own_give_every_site_its_own_gate(sd):
    from dataclasses import dataclass

    from attnscope.plans.base import Action, Plan

    @dataclass(frozen=True)
    class Staggered(Plan):
        kinds = ("cross",)

        def action(self, site, step):
            gate = 1 + site.index % 4
            if step >= gate:
                return Action.REUSE
            return Action.STORE if step == gate - 1 else Action.COMPUTE

    with Trace(sd, plan=Staggered()) as trace:
        toys.call(sd, steps=6)
    crosses = [site for site in trace.sites if site.kind == "cross"]
    reused = sum(6 - (1 + site.index % 4) for site in crosses)
    assert trace.calls().set_index("kind").loc["cross", "reused"] == reused
    assert np.unique([site.index % 4 for site in crosses]).size > 1
