import functools
import importlib
import pkgutil
import re

import denoisers
import diffusers
import numpy as np
import pytest
import torch
import toys
from diffusers import (
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    WanTransformer3DModel,
)
from diffusers.models.embeddings import (
    IPAdapterFaceIDPlusImageProjection,
    IPAdapterPlusImageProjection,
    MultiIPAdapterImageProjection,
)
from torch import nn

from attnscope import CrossReuse, StepDistance, Trace, find_sites
from attnscope.errors import InputError
from attnscope.sites import denoiser as found_once
from attnscope.sites.around import find_around
from attnscope.sites.attention import ATTENTION_CLASSES, Site, confirmed_kind, select_sites
from attnscope.sites.denoiser import Denoiser


def kinds(denoiser):
    return {site.name: site.kind for site in find_sites(denoiser)}


def test_stable_diffusion_has_self_and_cross_attention_in_pairs(sd):
    sites = find_sites(sd.unet)
    assert [site.kind for site in sites] == ["self", "cross"] * (len(sites) // 2)
    assert all(("attn2" in site.name) == (site.kind == "cross") for site in sites)


def test_what_is_no_denoiser_is_refused_with_what_is_one(sd):
    with pytest.raises(
        InputError, match=r"^StableDiffusionPipeline is no .*: give .* `pipe\.unet`$"
    ):
        find_sites(sd)
    with pytest.raises(
        InputError, match=r"^str is no U-Net or transformer: give a pipeline's denoiser$"
    ):
        find_sites("shapes")


def test_sites_stand_in_the_order_of_data_flow(sd):
    called = []
    for site in find_sites(sd.unet):
        module = sd.unet.get_submodule(site.name)
        module.register_forward_hook(lambda *_, name=site.name: called.append(name))
    toys.call(sd, steps=2)
    names = [site.name for site in find_sites(sd.unet)]
    assert called[: len(names)] == names
    assert [site.index for site in find_sites(sd.unet)] == list(range(len(names)))


def test_the_block_is_the_stage_of_the_denoiser(sd):
    assert {site.block for site in find_sites(sd.unet)} == {
        "down_blocks.1", "mid_block", "up_blocks.0",
    }  # fmt: skip


def test_only_cross_attention_makes_attn1_cross(tokenizer_folder):
    pipe = toys.stable_diffusion(
        tokenizer_folder, only_cross_attention=True, mid_block_only_cross_attention=True
    )
    found = kinds(pipe.unet)
    assert found["down_blocks.1.attentions.0.transformer_blocks.0.attn1"] == "cross"
    with Trace(pipe, observers=[StepDistance()]) as trace:
        toys.call(pipe)
    shown = trace.records().drop_duplicates("site").set_index("site")["kind"]
    assert all(shown[name] == kind for name, kind in found.items())


def test_sd35_attn2_is_self_attention():
    transformer = SD3Transformer2DModel(
        sample_size=16, patch_size=1, in_channels=4, num_layers=2, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=16, caption_projection_dim=16,
        pooled_projection_dim=16, out_channels=4, dual_attention_layers=(0,),
    )  # fmt: skip
    found = kinds(transformer)
    assert found["transformer_blocks.0.attn"] == "joint"
    assert found["transformer_blocks.0.attn2"] == "self"


def test_flux_blocks_are_joint_single_ones_too():
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    assert set(kinds(transformer).values()) == {"joint"}


def test_wan_has_self_and_cross_attention():
    transformer = WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=4,
        out_channels=4, text_dim=16, freq_dim=16, ffn_dim=32, num_layers=1,
        cross_attn_norm=True, qk_norm="rms_norm_across_heads", rope_max_seq_len=32,
    )  # fmt: skip
    assert kinds(transformer) == {"blocks.0.attn1": "self", "blocks.0.attn2": "cross"}


def test_text_inside_the_sequence_makes_every_site_joint():
    from diffusers import CogView3PlusTransformer2DModel

    transformer = CogView3PlusTransformer2DModel(
        patch_size=2, in_channels=4, num_layers=1, attention_head_dim=4, num_attention_heads=2,
        out_channels=4, text_embed_dim=8, time_embed_dim=8, condition_dim=2, pos_embed_max_size=8,
        sample_size=8,
    )  # fmt: skip
    assert set(kinds(transformer).values()) == {"joint"}


def test_classes_that_do_not_say_their_kind_are_known_by_their_place():
    from diffusers import LTXVideoTransformer3DModel

    transformer = LTXVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=8,
        cross_attention_dim=16, num_layers=1, caption_channels=16,
    )  # fmt: skip
    assert kinds(transformer) == {
        "transformer_blocks.0.attn1": "self", "transformer_blocks.0.attn2": "cross",
    }  # fmt: skip


def test_a_call_corrects_the_kind(sd):
    module = sd.unet.get_submodule("mid_block.attentions.0.transformer_blocks.0.attn2")
    site = Site("attn2", "cross", "mid_block", 0)
    image, text = torch.zeros(1, 4, 32), torch.zeros(1, 3, 32)
    assert confirmed_kind(site, module, (image, text), {}, image) == "cross"
    assert confirmed_kind(site, module, (image,), {}, image) == "self"
    assert confirmed_kind(site, module, (image,), {"encoder_hidden_states": image}, image) == "self"
    assert confirmed_kind(site, module, (image, text), {}, (image, text)) == "joint"


def test_compiled_denoisers_have_the_same_names(sd):
    plain = find_sites(sd.unet)
    assert find_sites(torch.compile(sd.unet, backend="eager")) == plain


def test_a_denoiser_is_the_same_whatever_is_put_around_it(sd):
    plain = Denoiser.of(sd)
    assert plain.outer is plain.module is sd.unet
    assert (plain.sites, plain.around) == (
        find_sites(sd.unet),
        find_around(sd.unet, plain.sites),
    )
    assert plain.class_name == "UNet2DConditionModel"
    assert plain.submodule(plain.sites[0]) is sd.unet.get_submodule(plain.sites[0].name)
    compiled = sd.unet = torch.compile(sd.unet, backend="eager")
    found = Denoiser.of(sd)
    assert found.outer is compiled
    assert (found.module, found.sites, found.around, found.family) == (
        plain.module, plain.sites, plain.around, plain.family,
    )  # fmt: skip


def test_a_denoiser_is_looked_up_once(sd, monkeypatch):
    asked = []
    for name in ("find_denoiser", "find_sites", "find_around", "unwrapped", "of_denoiser"):
        original = getattr(found_once, name)
        monkeypatch.setattr(
            found_once, name,
            lambda *args, name=name, original=original: (asked.append(name), original(*args))[1],
        )  # fmt: skip
    found = Denoiser.of(sd)
    for _ in range(3):
        _ = found.sites, found.around, found.family, found.submodule(found.sites[0])
    assert len(asked) == len(set(asked)) == 5


def test_a_model_without_attention_is_refused():
    unet = UNet2DConditionModel(
        block_out_channels=(8, 8), norm_num_groups=4, down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2, mid_block_type=None, layers_per_block=1,
    )  # fmt: skip
    with pytest.raises(ValueError, match="no attention modules"):
        find_sites(unet)


def test_select_names_what_is_not_known(sd):
    sites = find_sites(sd.unet)
    with pytest.raises(ValueError, match="choose from cross, self, joint"):
        select_sites(sites, kinds=["crss"])
    with pytest.raises(ValueError, match="4 cross, 4 self, 0 joint"):
        select_sites(sites, pattern="nothing*")


def tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    return [x for part in value for x in tensors(part)] if isinstance(value, tuple | list) else []


@pytest.mark.parametrize("name", denoisers.DENOISERS)
def test_sites_are_the_attention_whose_output_depends_on_the_latents(name):
    denoiser, given = denoisers.make(name)
    outputs = {}
    for path, module in denoiser.named_modules():
        if isinstance(module, ATTENTION_CLASSES):
            keep = outputs.setdefault(path, [])
            module.register_forward_hook(lambda *args, keep=keep: keep.append(tensors(args[-1])))
    with torch.no_grad():
        denoiser(**given)
        denoiser(**denoisers.moved(given))
    pairs = {path: zip(*calls, strict=True) for path, calls in outputs.items() if calls}
    depending = {
        path for path, pair in pairs.items() if not all(torch.equal(a, b) for a, b in pair)
    }
    assert depending == {site.name for site in find_sites(denoiser)}


LEFT_OUT = {
    "BriaFibo2Transformer2DModel": {"perceiver.layers"},
    "Flux3Transformer2DModel": {"mode_blocks.image_cond", "txt_mode_blocks"},
    "HunyuanImageTransformer2DModel": {"context_embedder.token_refiner.refiner_blocks"},
    "HunyuanVideo15Transformer3DModel": {"context_embedder.token_refiner.refiner_blocks"},
    "HunyuanVideoFramepackTransformer3DModel": {"context_embedder.token_refiner.refiner_blocks"},
    "HunyuanVideoTransformer3DModel": {"context_embedder.token_refiner.refiner_blocks"},
    "I2VGenXLUNet": {"image_latents_temporal_encoder"},
    "Kandinsky3UNet": {"add_time_condition"},
    "Kandinsky5Transformer3DModel": {"text_transformer_blocks"},
    "Kandinsky6Transformer3DModel": {"audio_text_transformer_blocks", "video_text_transformer_blocks"},
    "Krea2Transformer2DModel": {"text_fusion.layerwise_blocks", "text_fusion.refiner_blocks"},
    "Lumina2Transformer2DModel": {"context_refiner"},
    "MiniMaxH3Transformer3DModel": {"token_refiner.refiner_blocks"},
    "ZImageTransformer2DModel": {"context_refiner"},
}  # fmt: skip
"""Where the denoisers of diffusers prepare a condition by attention, each looked at."""


def denoiser_classes():
    for package in ("transformers", "unets"):
        folder = importlib.import_module(f"diffusers.models.{package}")
        for info in pkgutil.iter_modules(folder.__path__, f"{folder.__name__}."):
            there = vars(importlib.import_module(info.name)).values()
            classes = [kind for kind in there if isinstance(kind, type)]
            yield from (
                kind
                for kind in classes
                if kind.__module__ == info.name and issubclass(kind, diffusers.ModelMixin)
            )


@pytest.mark.slow
def test_every_denoiser_of_diffusers_was_looked_at_for_attention_beside_denoising():
    left_out = {}
    for kind in denoiser_classes():
        try:
            with torch.device("meta"):
                denoiser = kind()
            sites = {site.name for site in find_sites(denoiser)}
        except (TypeError, ValueError):  # without defaults; or without attention of these classes
            continue
        all_of_it = {
            path for path, m in denoiser.named_modules() if isinstance(m, ATTENTION_CLASSES)
        }
        if all_of_it - sites:
            ways = {re.split(r"\.\d+|\.att", path)[0] for path in all_of_it - sites}
            left_out[kind.__name__] = ways
    assert left_out == LEFT_OUT


def test_a_refiner_of_a_custom_denoiser_is_known_by_its_name():
    class Custom(nn.Module):
        def __init__(self):
            super().__init__()
            attention = functools.partial(diffusers.models.attention_processor.Attention, 8)
            self.token_refiner = nn.ModuleList([nn.ModuleDict({"attn": attention()})])
            self.text_refiner = nn.ModuleList([nn.ModuleDict({"attn": attention()})])
            self.caption_projection = nn.ModuleDict({"attn": attention()})
            self.connectors = nn.ModuleList([nn.ModuleDict({"attn": attention()})])
            self.blocks = nn.ModuleList([nn.ModuleDict({"text_attn": attention()})])

    assert [site.name for site in find_sites(Custom())] == ["blocks.0.text_attn"]


def test_what_reads_reference_images_in_z_image_is_no_site():
    with torch.device("meta"):
        denoiser = diffusers.ZImageTransformer2DModel(
            dim=32, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2, siglip_feat_dim=16,
            axes_dims=[8, 4, 4], axes_lens=[64, 32, 32],
        )  # fmt: skip
    assert denoiser.siglip_refiner is not None
    assert list(kinds(denoiser)) == ["noise_refiner.0.attention", "layers.0.attention"]


def resampled(pipe, projection):
    """Give a Stable Diffusion pipeline an IP-Adapter whose image prompt passes a resampler."""
    from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0

    processors = {}
    for name, processor in pipe.unet.attn_processors.items():
        module = pipe.unet.get_submodule(name.removesuffix(".processor"))
        if module.is_cross_attention:
            processor = IPAdapterAttnProcessor2_0(module.inner_dim, 32, num_tokens=(3,))
        processors[name] = processor
    pipe.unet.set_attn_processor(processors)
    pipe.unet.encoder_hid_proj = MultiIPAdapterImageProjection([projection])
    pipe.unet.config.encoder_hid_dim_type = "ip_image_proj"
    pipe.unet.eval().requires_grad_(False)
    return pipe


def plus():
    return IPAdapterPlusImageProjection(
        embed_dims=16, output_dims=32, hidden_dims=16, depth=2, dim_head=8, heads=2, num_queries=3
    )


def test_resamplers_of_image_prompts_are_not_attention_of_the_denoiser(sd):
    plain = find_sites(sd.unet)
    assert find_sites(resampled(sd, plus()).unet) == plain
    face = IPAdapterFaceIDPlusImageProjection(
        embed_dims=32, output_dims=32, hidden_dims=16, id_embeddings_dim=16, depth=2, dim_head=8,
        heads=2, num_tokens=3,
    )  # fmt: skip
    sd.unet.encoder_hid_proj = MultiIPAdapterImageProjection([face, plus()])
    assert find_sites(sd.unet) == plain


def test_curves_and_calls_leave_the_resampler_of_an_image_prompt_out(sd):
    pipe = resampled(sd, plus())
    embeds = [torch.randn(2, 1, 5, 16, generator=torch.Generator().manual_seed(1))]
    outputs = {}
    for site in find_sites(pipe.unet):
        keep = outputs.setdefault(site.name, [])
        module = pipe.unet.get_submodule(site.name)
        module.register_forward_hook(lambda *args, keep=keep: keep.append(args[-1].clone()))
    with Trace(pipe, observers=[StepDistance()]) as trace:
        toys.call(pipe, steps=3, ip_adapter_image_embeds=embeds)
    steps = [torch.stack(calls).flatten(2).diff(dim=0).norm(dim=2) for calls in outputs.values()]
    expected = torch.stack(steps).mean().item()
    np.testing.assert_allclose(trace.records()["l2"].mean(), expected, rtol=1e-5)
    counts = trace.calls().set_index("kind")["computed"]
    assert counts.to_dict() == {"cross": 4 * 3, "self": 4 * 3}


def test_a_resampler_is_computed_anew_under_a_plan_for_cross_attention(sd):
    pipe = resampled(sd, plus())
    embeds = [torch.randn(2, 1, 5, 16, generator=torch.Generator().manual_seed(1))]
    called = []
    resampler = pipe.unet.encoder_hid_proj.image_projection_layers[0].layers[0].attn
    resampler.to_q.register_forward_hook(lambda *_: called.append(1))
    with Trace(pipe, plan=CrossReuse(2)) as trace:
        toys.call(pipe, steps=4, ip_adapter_image_embeds=embeds)
    assert len(called) == 4
    assert trace.calls().set_index("kind").loc["cross", ["computed", "reused"]].tolist() == [8, 8]


def test_refiners_of_the_noise_are_self_attention_and_what_follows_is_joint():
    for name in ("lumina2", "z-image", "bria-fibo2"):
        found = kinds(denoisers.make(name)[0])
        assert {kind for path, kind in found.items() if "noise_refiner" in path} == {"self"}
        assert {kind for path, kind in found.items() if ".att" in path and "layers" in path} == {
            "joint"
        }


def test_text_that_comes_as_token_ids_is_in_the_sequence():
    assert kinds(denoisers.make("omnigen")[0]) == {"layers.0.self_attn": "joint"}


def test_attention_between_sound_and_video_looks_elsewhere():
    assert kinds(denoisers.make("ltx2")[0]) == {
        "transformer_blocks.0.attn1": "self",
        "transformer_blocks.0.attn2": "cross",
        "transformer_blocks.0.audio_attn1": "self",
        "transformer_blocks.0.audio_attn2": "cross",
        "transformer_blocks.0.audio_to_video_attn": "cross",
        "transformer_blocks.0.video_to_audio_attn": "cross",
    }


@pytest.mark.parametrize(
    "pattern", ["mid 0.0 attn2", "mid_block*attn2", "mid*attn2", "mid * attn2"]
)
def test_sites_are_selected_by_the_short_names_that_tables_show_too(sd, pattern):
    (chosen,) = select_sites(find_sites(sd.unet), pattern=pattern)
    assert chosen.name == "mid_block.attentions.0.transformer_blocks.0.attn2"
