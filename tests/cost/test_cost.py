import inspect
import json
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from itertools import chain

import numpy as np
import pandas as pd
import pytest
import torch
import toys
from diffusers import (
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    LattePipeline,
    LatteTransformer3DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    UNet2DConditionModel,
    WanTransformer3DModel,
)
from diffusers.models.attention import BasicTransformerBlock
from huggingface_hub import errors
from PIL import Image
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

import attnscope
from attnscope import kinds
from attnscope.cost import counting, published
from attnscope.cost.counts import PARTS, Counts, SiteCost
from attnscope.cost.plans import attribution, cost_of
from attnscope.cost.resolutions import counts_of, crossover, scaling
from attnscope.errors import InputError
from attnscope.models import architectures, building
from attnscope.models.architectures import Architecture
from attnscope.plans.base import Action, Plan
from attnscope.plans.parts import Alone
from attnscope.plans.text_form import parse
from attnscope.sites.attention import find_denoiser
from attnscope.versions import zeros_without_t5


def attention_block(positions, tokens, width, text):
    """A transformer block written out: two projections more in, eight times as wide, in the middle."""
    return {
        "self projections": 4 * positions * width**2,
        "self products": 2 * positions**2 * width,
        "cross projections": 2 * positions * width**2 + 2 * tokens * text * width,
        "cross products": 2 * positions * tokens * width,
        "feed-forward": positions * width * 8 * width + positions * 4 * width * width,
    }


def test_an_attention_block_costs_what_the_formula_says():
    block = BasicTransformerBlock(32, num_attention_heads=4, attention_head_dim=8,
                                  cross_attention_dim=16).eval()  # fmt: skip
    given = torch.randn(1, 10, 32), None, torch.randn(1, 5, 16)
    counts = counting.count(block, lambda: block(*given))
    assert counts.parts == attention_block(10, 5, 32, 16)
    assert counts.parameters == sum(p.numel() for p in block.parameters())
    selves, cross = counts.sites
    assert (selves.name, selves.kind, cross.kind) == ("attn1", "self", "cross")
    assert cross.parameters == 2 * 32**2 + 2 * 16 * 32 + 32  # one bias, of the output


def test_a_small_u_net_costs_what_the_formula_says():
    unet = toys._unet(sample_size=16).eval()  # 16 and 32 channels, one layer a block
    large, small, time = 16 * 16, 8 * 8, 64

    def resnet(given, made, pixels):
        shortcut = given * made * pixels if given != made else 0
        return 9 * given * made * pixels + 9 * made**2 * pixels + shortcut, time * made

    # Encoder, middle, decoder; a decoder block has one layer more and takes what the encoder left.
    resnets = [resnet(16, 16, large), resnet(16, 32, small), *[resnet(32, 32, small)] * 2,
               resnet(64, 32, small), resnet(48, 32, small), resnet(48, 16, large), resnet(32, 16, large)]  # fmt: skip
    convolution = sum(convolved for convolved, _ in resnets)
    convolution += 9 * 16 * 16 * small + 9 * 32 * 32 * large  # halving and doubling
    convolution += 2 * 9 * 4 * 16 * large  # in and out
    convolution += 4 * 2 * 32 * 32 * small  # into and out of four transformers
    block = attention_block(small, 7, 32, 32)
    call = partial(unet, torch.randn(1, 4, 16, 16), torch.ones(1), torch.randn(1, 7, 32))
    assert counting.count(unet, call).parts == {
        "convolution": convolution,
        **{part: 4 * macs for part, macs in block.items()},
        "rest": 16 * 64 + 64 * 64 + sum(embedded for _, embedded in resnets),
    }


def seen(denoiser, run):
    """Multiply-accumulates of all calls of a denoiser in a run, as torch's own counter sees them.

    The counter misses the CPU's attention kernel; the plain one is made of products that it knows.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return sum(counter.get_flop_counts()[type(denoiser).__name__].values()) / 2


def tiny(name, folder):
    """A toy pipeline, its denoiser, and its architecture as read from its folder."""
    pipe = toys.VARIANTS[name](folder)
    pipe.save_pretrained(folder / name)
    tokens = 8 if "pixart" in name else None
    frames = 3 if name == "svd" else None
    found = architectures.find(str(folder / name)).resized(32, 32, tokens, frames)
    return pipe, attnscope.sites.attention.find_denoiser(pipe), found


@pytest.mark.parametrize("name", toys.VARIANTS)
@pytest.mark.parametrize(
    "plan",
    ["baseline", "m=4,k=2,w=0,f=2", "guidance-cutoff:m=2", "cross-reuse:m=1",
     "self-reuse-early:m=5,k=3,w=1", "self-reuse-late:m=2,k=3", "cross-reuse:m=3+guidance-cutoff:m=2"],
)  # fmt: skip
def test_a_plan_costs_what_is_counted_while_it_runs(name, plan, tmp_path):
    pipe, denoiser, found = tiny(name, tmp_path)
    guided = not name.startswith("lcm")
    guidance = 5.0 if guided else 0.0

    def run():
        with attnscope.Trace(pipe, plan=plan):
            toys.call(pipe, prompts=2, steps=6, guidance=guidance)

    cost = cost_of(counting.count_architecture(found), plan, 6, guided=guided, batch=2)
    in_vain = plan.startswith("guidance-cutoff") and not guided
    with toys.warns("there was no guidance") if in_vain else nullcontext():
        assert cost.macs() == seen(denoiser, run)


def kept_now(denoiser):
    """Elements that the hooks of a denoiser keep."""
    registries = [vars(module).get("_diffusers_hook") for module in denoiser.modules()]
    hooks = [registry.hooks["attnscope"] for registry in registries if registry is not None]
    outputs = [kept.own for hook in hooks for kept in chain(*hook._kept.values())]
    return sum(part.numel() for own in outputs for part in own if part is not None)


@pytest.mark.parametrize("name", toys.VARIANTS)
@pytest.mark.parametrize("plan", ["m=4,k=2,w=0,f=2", "cross-reuse:m=1", "self-reuse-late:m=2,k=3"])
def test_a_plan_keeps_as_much_as_is_counted(name, plan, tmp_path):
    pipe, denoiser, found = tiny(name, tmp_path)
    guided = not name.startswith("lcm")
    cost = cost_of(counting.count_architecture(found), plan, 6, guided=guided, batch=2)
    kept = []
    with attnscope.Trace(pipe, plan=plan):
        denoiser.register_forward_pre_hook(lambda *_: kept.append(kept_now(denoiser)))
        toys.call(pipe, prompts=2, steps=6, guidance=5.0 if guided else 0.0)
        kept.append(kept_now(denoiser))
    assert kept == [0, *cost.kept]
    assert max(kept) > 0 == kept[-1]


@pytest.mark.parametrize("saving", ["guidance", "cross", "self"])
def test_each_part_of_a_plan_runs_alone_and_costs_what_is_counted(saving, tmp_path):
    pipe, denoiser, found = tiny("sdxl", tmp_path)
    plan = Alone(parse("m=4,k=2,w=0"), saving)

    def run():
        with attnscope.Trace(pipe, plan=plan):
            toys.call(pipe, steps=6)

    assert cost_of(counting.count_architecture(found), plan, 6).macs() == seen(denoiser, run)


class MidAlone(Plan):
    """Every site has a gate of its own."""

    kinds = ("cross",)

    def action(self, site, step):
        if site.block != "mid_block" or step == 0:
            return Action.STORE
        return Action.REUSE


def test_a_plan_may_treat_every_site_apart(tmp_path):
    pipe, denoiser, found = tiny("sd", tmp_path)

    def run():
        with attnscope.Trace(pipe, plan=MidAlone()):
            toys.call(pipe, steps=4)

    counts = counting.count_architecture(found)
    cost = cost_of(counts, MidAlone(), 4)
    assert cost.macs() == seen(denoiser, run)
    (mid,) = [site for site in counts.sites if site.block == "mid_block" and site.kind == "cross"]
    assert cost.baseline.macs() - cost.macs() == 3 * 2 * mid.macs("full")


def sd3(**options):
    return SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, num_layers=2, attention_head_dim=8,
        num_attention_heads=2, caption_projection_dim=16, out_channels=4,
        dual_attention_layers=(0,), qk_norm="rms_norm",
        **{"joint_attention_dim": 32, "pooled_projection_dim": 24, **options},
    )  # fmt: skip


def flux(guidance_embeds=True):
    return FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=24,
        axes_dims_rope=(4, 4, 8), guidance_embeds=guidance_embeds,
    )  # fmt: skip


def latte(video_length=3):
    return LatteTransformer3DModel(
        sample_size=8, num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=2,
        caption_channels=32, in_channels=4, cross_attention_dim=16, out_channels=8,
        attention_bias=True, num_embeds_ada_norm=1000, norm_type="ada_norm_single",
        video_length=video_length,
    )  # fmt: skip


def wan():
    return WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=4,
        out_channels=4, text_dim=32, freq_dim=16, ffn_dim=32, num_layers=2, cross_attn_norm=True,
        qk_norm="rms_norm_across_heads", rope_max_seq_len=32,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("make", "kinds"),
    [(sd3, {"joint", "self"}), (flux, {"joint"}), (latte, {"self", "cross"}), (wan, {"self", "cross"})],
)  # fmt: skip
def test_other_transformers_cost_what_is_counted(make, kinds):
    denoiser = make().eval()
    frames = 3 if make in (latte, wan) else 1
    on = Architecture("toy", "", "{}", "", 64, 48, tokens=5, frames=frames)
    call = partial(denoiser, **building.inputs(denoiser, on))
    counts = counting.count(denoiser, call)
    assert counts.macs() == seen(denoiser, call)
    assert {site.kind for site in counts.sites} == kinds
    twice = counting.count(denoiser, partial(denoiser, **building.inputs(denoiser, on, rows=2)))
    assert twice.macs() == 2 * counts.macs()


def test_temporal_attention_and_a_single_image_token():
    """SVD: every frame looks at the one token, and every position along its frames."""
    counts = counts_of("svd", height=128, frames=5)
    first = {site.name.rsplit(".", 3)[1] + site.name[-1]: site for site in counts.sites[:4]}
    positions, width = 16 * 16, 320
    spatial, temporal = first["transformer_blocks1"], first["temporal_transformer_blocks1"]
    assert spatial.products == 2 * 5 * positions**2 * width
    assert temporal.products == 2 * positions * 5**2 * width
    assert first["transformer_blocks2"].products == 2 * 5 * positions * 1 * width
    assert spatial.projections == temporal.projections == 4 * 5 * positions * width**2


def test_counting_takes_no_weights_and_leaves_no_hooks():
    found = architectures.find("sd15").resized(64)
    denoiser = building.build(found)
    assert all(tensor.is_meta for tensor in denoiser.state_dict().values())
    counting.count(denoiser, partial(denoiser, **building.inputs(denoiser, found)))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in denoiser.modules())


def test_a_shape_costs_the_same_on_meta_as_where_it_is_computed():
    found = architectures.find("shapes")
    for device in ("meta", "cpu"):
        denoiser = building.build(found, device=device)
        call = partial(denoiser, **building.inputs(denoiser, found))
        assert counting.count(denoiser, call) == counts_of("shapes")


class Odd(nn.Module):
    """Has weights that no formula knows."""

    def __init__(self):
        super().__init__()
        self.block = BasicTransformerBlock(8, num_attention_heads=1, attention_head_dim=8)
        self.odd = nn.RNN(8, 8, batch_first=True)

    def forward(self, states):
        return self.odd(self.block(states))


def test_what_cannot_be_counted_is_an_error():
    odd = Odd().eval()
    with pytest.raises(RuntimeError, match="odd, a RNN, has weights, but nothing that it computes"):
        counting.count(odd, lambda: odd(torch.randn(1, 4, 8)))


PUBLISHED_PARAMETERS = {"sd15": 859.520, "sdxl": 2567.5, "pixart": 611.350, "svd": 1524.6}


@pytest.mark.parametrize("model", PUBLISHED_PARAMETERS)
def test_architectures_have_as_many_parameters_as_published(model):
    denoiser = building.build(architectures.find(model))
    ours = sum(parameter.numel() for parameter in denoiser.parameters()) / 1e6
    assert ours == pytest.approx(PUBLISHED_PARAMETERS[model], rel=1e-4)


OFF = {
    "OpenSora m=100, k=3": "opensora-k3",
    "SDXL m=5, k=3": "m5k3",
    "SVD m=5, k=3": "m5k3",
    "SDXL, DeepCache and T-GATE": "deepcache-tgate",
}


@pytest.mark.slow
def test_the_published_tables_agree_where_they_follow_their_own_rule():
    table = published.compare()
    assert set(table["table"]) == {"1", "2", "3", "4", "5", "A6", "README"}
    off = table[~table["agrees"]]
    assert dict(zip(off["row"], off["note"], strict=True)) == OFF
    assert len(table) == 67
    others = table[~table["row"].isin(OFF)]
    assert len(others) == 67 - 6
    np.testing.assert_allclose(others["paper"], others["published"], rtol=1e-3)
    assert set(table["note"]) - {""} == set(published.notes())
    # What the notes say of the rows that are off.
    by_row = table.set_index(["table", "row"])
    sdxl = counts_of("sdxl")
    once = 2 * sdxl.of_kind("self", "paper") / 1e12
    row = by_row.loc["2", "SDXL m=5, k=3"]
    assert row["paper"] - once == pytest.approx(row["published"], rel=1e-4)
    row = next(r for r in published._data()["rows"] if r["row"] == "SDXL, DeepCache and T-GATE")
    thirteen = published._macs({**row, "plan": "m=13"}, "paper") / 1e12
    assert thirteen == pytest.approx(row["published"], rel=1e-4)


@pytest.fixture(scope="module")
def sdxl():
    return counts_of("sdxl")


def test_parts_sum_to_the_total(sdxl):
    cost = cost_of(sdxl, "m=10,k=5", 25)
    assert sum(sdxl.parts.values()) == sdxl.macs()
    assert sum(cost.parts.values()) == cost.macs() == cost.table()["macs"].sum()
    products = sdxl.parts["self products"] + sdxl.parts["cross products"]
    assert sdxl.macs("paper") == sdxl.macs() - products
    inside = sum(sdxl.of_kind(kind, "paper") for kind in ("self", "cross"))
    assert sum(sdxl.modules.values()) == sdxl.macs("paper") == inside + sum(sdxl.elsewhere.values())


def test_what_the_parts_of_a_plan_save_sums_to_what_it_saves(sdxl):
    cost = cost_of(sdxl, "m=10,k=5", 25)
    table = attribution(cost).set_index(["convention", "saving"])
    for convention in ("full", "paper"):
        parts = table.loc[convention].drop(index="all")
        total = cost.baseline.macs(convention) - cost.macs(convention)
        assert parts["saved"].sum() == table.loc[(convention, "all"), "saved"] == total
        assert parts["share"].sum() == pytest.approx(1)
        alone = [cost_of(sdxl, plan, 25).speedup(convention) for plan in (
            "guidance-cutoff:m=10", "cross-reuse:m=10", "self-reuse-early:m=10,k=5")]  # fmt: skip
        assert list(parts["speedup"]) == alone
    # By hand: the cut-off saves a whole row in 15 of 25 steps; then cross-attention of the other.
    assert table.loc[("full", "guidance cut-off"), "saved"] == 15 * sdxl.macs()
    assert table.loc[("full", "cross-attention reuse"), "saved"] == 15 * sdxl.of_kind("cross")
    assert table.loc[("full", "self-attention reuse"), "saved"] == 5 * 2 * sdxl.of_kind("self")


def test_without_guidance_there_is_one_row_and_nothing_to_cut_off(sdxl):
    cost = cost_of(sdxl, "m=1", 4, guided=False, batch=3)
    assert [cost.rows(step) for step in range(4)] == [3] * 4
    assert "guidance cut-off" not in set(attribution(cost)["saving"])
    assert cost.macs() == 3 * (4 * sdxl.macs() - 3 * sdxl.of_kind("cross"))


def test_a_baseline_saves_nothing(sdxl):
    table = attribution(cost_of(sdxl, "baseline", 5))
    assert list(table["saving"]) == ["all", "all"]
    assert not table["saved"].any()
    assert list(table["speedup"]) == [1, 1]


def test_the_crossover_is_where_cross_attention_is_half_of_all():
    table = scaling("shapes", sizes=[64, 128], tokens=[24, 2400])
    assert set(table["axis"]) == {"resolution", "tokens"}
    point = crossover(table)
    around = [counts_of("shapes", tokens=n) for n in (int(point), int(point) + 1)]
    below, above = (counts.of_kind("cross") / counts.macs() for counts in around)
    assert below < 0.5 <= above
    assert crossover(table, "paper") > point
    for lengths in ([10, 20], [100_000, 200_000]):  # short of it, and beyond
        away = scaling("shapes", sizes=[64], tokens=lengths)
        assert crossover(away) == pytest.approx(point)


@pytest.mark.parametrize(
    ("rest", "cross", "point"),
    [(5, (1, 1), None), (5, (9, 9), 1), (5, (105, 205), 1), (100, (50, 150), 15)],
)
def test_there_may_be_no_crossover_or_nothing_before_it(rest, cross, point):
    table = pd.DataFrame(
        [("tokens", 8, 8, n, part, macs) for n, both in zip((10, 20), cross, strict=True)
         for part, macs in (("rest", rest), ("cross products", both))],
        columns=["axis", "height", "width", "tokens", "part", "macs"],
    )  # fmt: skip
    assert crossover(table) == point
    with pytest.raises(ValueError, match="the crossover takes two lengths of the text"):
        crossover(table[table["tokens"] == 10])


@pytest.mark.parametrize(("model", "height", "heights"), [
    ("svd", 64, [64, 128, 192, 256]),  # a half and a whole of it fit to the same
    ("sd15", 8, [8, 16, 24, 32]),
])  # fmt: skip
def test_every_size_of_a_scaling_is_counted_once(model, height, heights):
    own = architectures.find(model).resized(height)
    table = scaling(own, tokens=[2, 8, 2])
    over = table[table["axis"] == "resolution"].groupby("height")["macs"].sum()
    assert list(over.index) == heights
    for size in heights[:2]:
        assert over[size] == counts_of(model, height=size).macs()
    lengths = table[table["axis"] == "tokens"].groupby("tokens")["macs"].sum()
    assert lengths[2] == counts_of(model, height=height, tokens=2).macs()


def test_a_folder_says_what_it_is_called_on(tmp_path):
    _, _, found = tiny("sd", tmp_path)
    found = architectures.find(found.name)
    assert (found.height, found.width, found.tokens, found.scale) == (32, 32, 24, 2)
    assert found.class_name == "UNet2DConditionModel"


class CalledError(Exception):
    """Stops a pipeline when it calls its denoiser."""


def called(pipe, **keywords):
    """Shapes, but for the rows, of what a pipeline calls its denoiser on when it is told nothing."""
    denoiser = find_denoiser(pipe)
    given = {}

    def stop(module, args, kwargs):
        given.update(inspect.signature(denoiser.forward).bind(*args, **kwargs).arguments)
        raise CalledError

    handle = denoiser.register_forward_pre_hook(stop, with_kwargs=True)
    with pytest.raises(CalledError):
        pipe(num_inference_steps=2, output_type="latent", **keywords)
    handle.remove()
    return {name: value.shape[1:] for name, value in given.items() if torch.is_tensor(value)}


def sd3_pipeline(folder):
    """Two CLIPs of 24 tokens; the third encoder is left out, and zeros are in its place."""
    tokenizer = toys.shapes_tokenizer(folder)
    clip = CLIPTextModelWithProjection(CLIPTextConfig(**toys._TEXT))
    return StableDiffusion3Pipeline(
        transformer=sd3(joint_attention_dim=64, pooled_projection_dim=64), vae=toys._vae(),
        scheduler=FlowMatchEulerDiscreteScheduler(), text_encoder=clip, tokenizer=tokenizer,
        text_encoder_2=clip, tokenizer_2=tokenizer, text_encoder_3=None, tokenizer_3=None,
    )  # fmt: skip


def latte_pipeline(length=16):
    return LattePipeline(
        transformer=latte(length), vae=toys._vae(), scheduler=DDIMScheduler(), text_encoder=None,
        tokenizer=None,
    )  # fmt: skip


def svd_pipeline(folder):
    """Its autoencoder takes too long for an image of the size that its call takes."""
    pipe = toys.stable_video_diffusion(folder)
    pipe._encode_vae_image = lambda image, **_: torch.zeros(
        2, 4, image.shape[-2] // 2, image.shape[-1] // 2
    )
    return pipe


def embedded(*names, tokens, **more):
    return {name: torch.randn(1, tokens, 32) for name in names} | more


@pytest.mark.parametrize(
    ("make", "keywords", "size"),
    [
        (toys.stable_diffusion, {"prompt": "a"}, (32, 32, 24, 1)),
        (toys.stable_diffusion_xl, {"prompt": "a"}, (32, 32, 24, 1)),
        (sd3_pipeline, {"prompt": "a"}, (16, 16, 24 + zeros_without_t5(24, 256), 1)),
        (svd_pipeline, {"image": Image.new("RGB", (32, 32))}, (576, 1024, 1, 25)),
        (lambda _: latte_pipeline(),
         embedded("prompt_embeds", "negative_prompt_embeds", tokens=120, negative_prompt=None), (512, 512, 120, 16)),
        (lambda _: toys.wan(),
         embedded("prompt_embeds", "negative_prompt_embeds", tokens=512), (480, 832, 512, 21)),
    ],
    ids=["sd", "sdxl", "sd3", "svd", "latte", "wan"],
)  # fmt: skip
def test_a_folder_is_called_on_what_its_pipeline_makes_of_it(make, keywords, size, tmp_path):
    pipe = make(tmp_path)
    pipe.set_progress_bar_config(disable=True)
    pipe.save_pretrained(tmp_path / "toy")
    found = architectures.find(str(tmp_path / "toy"))
    assert (found.height, found.width, found.tokens, found.frames) == size
    ours = building.inputs(building.build(found), found)
    theirs = called(pipe, **keywords)
    for name in {"sample", "hidden_states", "encoder_hidden_states"}.intersection(ours):
        assert ours[name].shape[1:] == theirs[name], name


def test_a_video_model_takes_frames_and_says_which(tmp_path):
    toys.wan().save_pretrained(tmp_path / "wan")
    found = architectures.find(str(tmp_path / "wan")).resized(32, 32, 5)
    one, five = (counting.count_architecture(found.resized(frames=n)) for n in (1, 5))
    assert five.macs() > 4 * one.macs()
    assert found.resized(frames=1).resized(frames=5).frames == 5
    latte_pipeline(3).save_pretrained(tmp_path / "latte")
    found = architectures.find(str(tmp_path / "latte"))
    assert found.frames == 3  # what it is made for goes before what its pipeline takes
    with pytest.raises(InputError, match="frames=5 is not what"):
        found.resized(frames=5)


def test_whether_a_model_embeds_its_guidance_is_apart_from_how_its_authors_call_it(tmp_path):
    lcms = [architectures.find(name) for name in ("lcm-sdxl", "lcm-pixart")]
    assert [found.guided for found in lcms] == [False, False]
    assert [found.embeds_guidance for found in lcms] == [True, False]
    assert not architectures.find("sdxl").embeds_guidance
    for embeds in (True, False):  # as FLUX.1 dev, schnell: neither runs twice when told nothing
        FluxPipeline(
            transformer=flux(embeds), vae=toys._vae(), scheduler=FlowMatchEulerDiscreteScheduler(),
            text_encoder=None, tokenizer=None, text_encoder_2=None, tokenizer_2=None,
        ).save_pretrained(tmp_path / str(embeds))  # fmt: skip
        found = architectures.find(str(tmp_path / str(embeds)))
        assert (found.embeds_guidance, found.guided) == (embeds, False)


@pytest.mark.parametrize(
    ("offline", "message"),
    [(True, "`offline=True` was given: leave it out"), (False, "the hub cannot be reached")],
)
def test_offline_asks_no_network(offline, message, monkeypatch):
    asked = []

    def download(model, name, *, local_files_only):
        asked.append(local_files_only)
        raise errors.LocalEntryNotFoundError("not here")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(InputError, match=f"model_index.json of 'nobody/nothing' .*{message}"):
        architectures.find("nobody/nothing", offline=offline)
    assert asked == [offline]


def test_parts_are_of_all_kinds_of_attention():
    assert {part.split()[0] for part in PARTS if " " in part} == set(kinds.KINDS)


def test_sizes_fit_the_model():
    pixart = architectures.find("pixart")
    assert pixart.multiple == 16
    assert architectures.find("sdxl").multiple == 8
    assert architectures.find("svd").multiple == 64
    assert pixart.resized(512).width == 512
    assert (architectures.find("svd").height, architectures.find("svd").width) == (576, 1024)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("nothing", {}, "no such model: 'nothing' .choose shapes, .*sd15, .*opensora, a hub id"),
        ("", {}, "no such model: ''"),
        ("my org/x", {}, "no such model: 'my org/x' .choose shapes"),
        ("opensora", {"frames": 5}, "frames=5 is not what opensora is made for .choose 1 or 17"),
        ("pixart", {"height": 1000}, "height=1000 is not a multiple of 16, which pixart needs .choose 992 or 1008"),
        ("sdxl", {"height": 1024, "width": 1020}, "width=1020 is not a multiple of 8"),
        ("svd", {"height": 568, "width": 1024}, "height=568 is not a multiple of 64, .*choose 512 or 576"),
        ("sd15", {"height": -8}, "height=-8 is not a multiple of 8, .*choose 8 or 16"),
        ("sd15", {"tokens": 0}, "tokens=0 is out of range: choose 1 or more"),
        ("sd15", {"frames": 5}, "sd15 makes images: leave out frames=5"),
        ("nobody/nothing", {}, "model_index.json of 'nobody/nothing' is not on this machine and the hub"),
    ],
)  # fmt: skip
def test_what_cannot_be_counted_is_said_in_one_line(model, options, message):
    with pytest.raises(InputError, match=message):
        counts_of(model, **options)


def test_a_plan_longer_than_its_steps_is_refused():
    counts = Counts((SiteCost("a", "cross", "a", 0, 1, 1, 1, 1),), {"rest": 1}, 1, {})
    with pytest.raises(InputError, match="m=10, but there are 4 steps"):
        cost_of(counts, "m=10", 4)
    with pytest.raises(InputError, match="no such saving: 'speed'"):
        Alone(parse("m=10"), "speed")


@pytest.mark.parametrize(
    ("index", "config", "message"),
    [
        (None, None, "is no diffusers pipeline: it has no model_index.json"),
        ("{", None, "model_index.json of .* cannot be read"),
        ("[]", None, "model_index.json of .* cannot be read: it holds no JSON object, but a list"),
        ('{"unet": ["diffusers", "X"]}', "[1]", "unet/config.json of .* holds no JSON object, but a list"),
        ("{}", None, "has no 'unet' and no 'transformer'"),
        ('{"unet": ["diffusers", "X"]}', None, "it has no unet/config.json"),
        ('{"unet": ["diffusers", "X"]}', '{"_class_name": "Nothing"}', "diffusers has no Nothing"),
        ('{"unet": ["diffusers", "X"]}', '{"_class_name": "UNet1DModel"}', "what a UNet1DModel is called on is not known"),
    ],
)  # fmt: skip
def test_a_folder_that_cannot_be_counted_says_why(index, config, message, tmp_path):
    if index is not None:
        (tmp_path / "model_index.json").write_text(index)
    if config is not None:
        (tmp_path / "unet").mkdir()
        (tmp_path / "unet" / "config.json").write_text(config)
    with pytest.raises(InputError, match=message):
        counts_of(str(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_class_embeds": 10}, "with num_class_embeds=10 is called on is not known"),
        ({"class_embed_type": "timestep"}, "with class_embed_type='timestep' is called on"),
        ({"addition_embed_type": "image", "encoder_hid_dim": 32}, "with addition_embed_type='image'"),
        ({"encoder_hid_dim_type": "image_proj", "encoder_hid_dim": 32}, "with encoder_hid_dim_type='image"),
        ({"in_channels": 4, "cross_attention_dim": (32, 48)}, "a call of this UNet2DConditionModel cannot be"),
    ],
)  # fmt: skip
def test_a_u_net_that_is_told_something_else_says_so(options, message, tmp_path):
    toys.stable_diffusion(tmp_path, **options).save_pretrained(tmp_path / "toy")
    with pytest.raises(InputError, match=message):
        counts_of(str(tmp_path / "toy"))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--model", "sd15", "--height", "256", "--steps", "5"], "--steps, --height, --model"),
        (["--model", "shapes"], "--model"),  # what would be taken anyway
        (["--batch", "2", "--tgate", "m=2,k=1"], "--tgate, --batch"),
    ],
)
def test_the_papers_tables_take_no_model_and_no_run(attnscope, given, named):
    code, _, err = attnscope("cost", "paper", *given)
    assert (code, err.count("\n")) == (2, 1)
    assert f"leave out {named} (it takes --out, --quiet and --json)" in err


def test_the_arithmetic_needs_no_torch():
    script = (
        "import sys, attnscope.cost, attnscope.cost.published, attnscope.models.architectures as a\n"
        "a.find('sdxl')\n"
        "assert not {'torch', 'diffusers', 'pandas'} & set(sys.modules)\n"
        "import attnscope.plots\n"
        "assert not {'torch', 'diffusers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_published_rows_are_whole():
    data = json.loads(published._FILE.read_text())
    for row in data["rows"]:
        assert {"table", "row", "published", "model", "plan", "steps"} <= set(row)
        assert row.get("note", next(iter(data["notes"]))) in data["notes"]


def test_a_denoiser_is_built_with_weights_of_a_seed():
    found = architectures.find("shapes")
    one, two = (building.build(found, device="cpu", seed=seed) for seed in (0, 0))
    assert isinstance(one, UNet2DConditionModel)
    assert all(
        torch.equal(a, b)
        for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    )
    half = building.build(found, device="cpu", dtype="bfloat16")
    assert half.dtype == torch.bfloat16
