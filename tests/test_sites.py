import pytest
import torch
import toys
from diffusers import (
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    WanTransformer3DModel,
)

from attnscope import StepDistance, Trace, find_sites
from attnscope.sites import Site, confirmed_kind, select_sites


def kinds(denoiser):
    return {site.name: site.kind for site in find_sites(denoiser)}


def test_stable_diffusion_has_self_and_cross_attention_in_pairs(sd):
    sites = find_sites(sd.unet)
    assert [site.kind for site in sites] == ["self", "cross"] * (len(sites) // 2)
    assert all(("attn2" in site.name) == (site.kind == "cross") for site in sites)


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
