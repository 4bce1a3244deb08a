"""Text whose keys stand beside those of an image: DeepFloyd IF, and Wan from an image to a video."""

from __future__ import annotations

import diffusers
import numpy as np
import pytest
import torch
import toys
from PIL import Image
from test_attention_maps import Materialised
from torch.nn import functional
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

import attnscope
from attnscope.errors import InputError
from attnscope.hooks.attending import Attention, attention_of
from attnscope.hooks.moments import Denoising, Moment
from attnscope.hooks.weighting import Weighting
from attnscope.observers import AttentionMaps, PointAttention
from attnscope.sites.denoiser import Denoiser

TEXT, STEPS = 7, 2
SIZES = {8 * 12: (8, 12), 4 * 6: (4, 6)}
"""Rows and columns of the sites of the U-Net, by how many positions they have."""
READ_BY_WAN = 512


def deepfloyd():
    """A pipeline of pixels without text encoder; keys of the text come before those of the image."""
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        sample_size=16,
        in_channels=3,
        out_channels=6,
        layers_per_block=1,
        block_out_channels=(16, 32, 32),
        down_block_types=("ResnetDownsampleBlock2D", *["SimpleCrossAttnDownBlock2D"] * 2),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=(*["SimpleCrossAttnUpBlock2D"] * 2, "ResnetUpsampleBlock2D"),
        cross_attention_dim=24,
        encoder_hid_dim=20,
        encoder_hid_dim_type="text_proj",
        attention_head_dim=8,
        norm_num_groups=4,
        resnet_time_scale_shift="scale_shift",
    ).eval()
    pipe = diffusers.IFPipeline(
        tokenizer=None,
        text_encoder=None,
        unet=unet,
        scheduler=diffusers.DDPMScheduler(variance_type="learned_range"),
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def call_deepfloyd(pipe):
    states = torch.randn((4, TEXT, 20), generator=torch.Generator().manual_seed(7))
    return pipe(
        prompt_embeds=states[:2].to(pipe.dtype),
        negative_prompt_embeds=states[2:].to(pipe.dtype),
        num_inference_steps=STEPS,
        height=16,
        width=24,
        guidance_scale=5.0,
        output_type="pt",
        generator=torch.Generator().manual_seed(0),
    ).images


def looked(materialised, step, keys):
    """Over sites, the conditional half of the batch, heads averaged: [rows, keys, h, w] of the largest."""
    total, large = 0, SIZES[8 * 12]
    for calls in materialised.found.values():
        found = calls[step][2:, :, :, keys].mean(1).mT
        maps = found.reshape(*found.shape[:2], *SIZES[found.shape[-1]])
        total = total + functional.interpolate(maps, large, mode="bilinear")
    return (total / len(materialised.found)).numpy()


@pytest.mark.parametrize(("dtype", "off"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_where_text_is_keys_alone_maps_are_those_of_a_softmax_over_text_and_image(
    monkeypatch, dtype, off
):
    pipe = deepfloyd().to(dtype)
    plain = call_deepfloyd(pipe)
    words, points = AttentionMaps(), PointAttention([(0.3, 0.5)], sites="mid*")
    with attnscope.Trace(pipe, observers=[words, points]):
        watched = call_deepfloyd(pipe)
    assert torch.equal(plain, watched)
    materialised = Materialised(pipe, monkeypatch)
    call_deepfloyd(pipe)
    maps = words.maps()
    assert maps.values.shape == (2, STEPS, TEXT, 8, 12)
    for step in range(STEPS):
        expected = looked(materialised, step, slice(0, TEXT))
        np.testing.assert_allclose(maps.values[:, step], expected, atol=off)
    assert (maps.values.sum(2) < 1).all()  # the rest is paid to the image
    middle = materialised.found["mid_block.attentions.0"][1][2:].mean(1)
    at = 2 * 6 + 1  # row 2 of 4, column 1 of 6
    np.testing.assert_allclose(
        points.maps().values[:, 1, 0].reshape(2, -1), middle[:, at, TEXT:], atol=off
    )


def test_memory_of_pixels_is_foreseen():
    pipe, held = deepfloyd(), []

    class Watched(AttentionMaps):
        def attend(self, *args):
            super().attend(*args)
            held.append(self.held)

    observer = Watched()
    with attnscope.Trace(pipe, observers=[observer]):
        call_deepfloyd(pipe)
    told = {"steps": STEPS, "words": TEXT, "batch": 2, "height": 16, "width": 24}
    assert max(held) == observer.nbytes(pipe, **told)
    assert observer.maps().nbytes == observer.host_nbytes(pipe, **told)


def test_the_text_does_not_look_back():
    with (
        pytest.raises(InputError, match="the text does not look at the image at"),
        attnscope.Trace(pipe := deepfloyd(), observers=[AttentionMaps(of_text=True)]),
    ):
        call_deepfloyd(pipe)


def test_without_all_words_the_image_is_left_to_look_at():
    run = Denoising(0, 4, samples=1)
    weighting = Weighting.__new__(Weighting)
    weighting._run, weighting._words, weighting._made = run, [()], {}
    weighting._positions = {"red": [[0, 1]]}
    query, key = torch.randn(2, 3, 6, 4), torch.randn(2, 3, 8, 4)
    attention = Attention(query, key, None, 0.5, slice(0, 6), slice(0, 2), slice(2, 8))
    mask = weighting.mask(attention, Moment(0, 0, 2, 2), {"red": 0.0})
    assert mask is not None
    assert torch.isinf(mask[1, 0, 0]).tolist() == [True] * 2 + [False] * 6


@pytest.mark.parametrize("kind", ["image_proj", "text_image_proj", "ip_image_proj"])
def test_keys_of_an_image_in_the_place_of_the_text_are_refused(kind):
    """As of Kandinsky, whose U-Net reads an image there, alone or before the text."""
    pipe = deepfloyd()
    pipe.unet.register_to_config(encoder_hid_dim_type=kind)
    denoiser = Denoiser.of(pipe)
    query, key = torch.randn(2, 3, 6, 4), torch.randn(2, 3, 8, 4)
    with pytest.raises(
        InputError, match=r"where the text stands in the sequence of .* is not known"
    ):
        attention_of(query, key, None, 0.5, site=denoiser.sites[0], denoiser=denoiser, text=2)


def wan_from_image():
    """Wan with keys of an image before those of the text, asked by themselves."""
    pipe = toys.wan()
    torch.manual_seed(0)
    config = {
        **dict(pipe.transformer.config, _use_default_values=[]),
        "in_channels": 36,
        "image_dim": 32,
        "added_kv_proj_dim": 24,
    }
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4,
        image_size=32, patch_size=8,
    )  # fmt: skip
    made = diffusers.WanImageToVideoPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=pipe.vae,
        transformer=diffusers.WanTransformer3DModel.from_config(config),
        scheduler=pipe.scheduler,
        image_processor=CLIPImageProcessor(
            crop_size={"height": 32, "width": 32}, size={"shortest_edge": 32}
        ),
        image_encoder=CLIPVisionModel(vision),
    )
    return toys._quiet(made)


def call_wan_from_image(pipe):
    states = torch.randn((2, READ_BY_WAN, 32), generator=torch.Generator().manual_seed(7))
    pixels = np.linspace(0, 255, 16 * 32 * 3).reshape(16, 32, 3).astype(np.uint8)
    return pipe(
        image=Image.fromarray(pixels),
        prompt_embeds=states[:1],
        negative_prompt_embeds=states[1:],
        height=16,
        width=32,
        num_frames=5,
        num_inference_steps=STEPS,
        guidance_scale=5.0,
        output_type="latent",
        generator=torch.Generator().manual_seed(0),
    ).frames


def test_where_an_image_has_keys_of_its_own_the_text_has_a_softmax_of_its_own(monkeypatch):
    pipe = wan_from_image()
    plain = call_wan_from_image(pipe)
    observer = AttentionMaps()
    with attnscope.Trace(pipe, observers=[observer]):
        watched = call_wan_from_image(pipe)
    assert torch.equal(plain, watched)
    maps = observer.maps()
    assert maps.axes == ("sample", "step", "word", "frame", "height", "width")
    assert maps.values.shape[2] == READ_BY_WAN
    np.testing.assert_allclose(maps.values.sum(2), 1, atol=1e-4)
    materialised = Materialised(pipe, monkeypatch)
    call_wan_from_image(pipe)
    of_image = of_text = 0
    for site, calls in materialised.found.items():
        if materialised.sites[site] != "cross":
            continue
        own = [found for found in calls if found.shape[-1] == READ_BY_WAN]
        of_image += len(calls) - len(own)
        of_text = of_text + own[2].mean(1)  # of step 1, the conditional branch, which comes first
    assert of_image == 2 * STEPS * 2  # sites, steps, branches
    expected = (of_text / 2).mT.reshape(1, READ_BY_WAN, *maps.values.shape[3:])
    np.testing.assert_allclose(maps.values[:, 1], expected, atol=1e-5)
