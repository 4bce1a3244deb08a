"""Final latents are decoded as the pipelines themselves decode them, or refused."""

import flows
import numpy as np
import pytest
import toys
from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
)
from torch import Generator, randn

from attnscope.errors import InputError
from attnscope.models.decoding import check_decodes, decoded


def shifted(pipe):
    """With an autoencoder like Flux's: its latents are shifted, too."""
    pipe.vae.register_to_config(shift_factor=0.3, scaling_factor=0.36)
    return pipe


def with_means(pipe):
    """With an autoencoder like that of some SDXL, which knows mean and deviation of its latents."""
    pipe.vae.register_to_config(
        latents_mean=[0.1, -0.2, 0.3, 0.4], latents_std=[1.0, 2.0, 0.5, 3.0]
    )
    return pipe


def auraflow():
    transformer = AuraFlowTransformer2DModel(
        sample_size=16, patch_size=2, in_channels=4, num_mmdit_layers=1, num_single_dit_layers=1,
        attention_head_dim=8, num_attention_heads=2, caption_projection_dim=16, joint_attention_dim=16,
        out_channels=4, pos_embed_max_size=64,
    )  # fmt: skip
    pipe = AuraFlowPipeline(
        None, None, toys._vae(), transformer, FlowMatchEulerDiscreteScheduler(shift=1.73)
    )
    return toys._quiet(pipe)


def call_auraflow(pipe, **options):
    states = randn((4, 6, 16), generator=Generator().manual_seed(7))
    mask = states[:2, :, 0] > -9
    return pipe(
        prompt_embeds=states[:2], prompt_attention_mask=mask, negative_prompt_embeds=states[2:],
        negative_prompt_attention_mask=mask, height=32, width=32, num_inference_steps=3,
        generator=Generator().manual_seed(0), **options,
    ).images  # fmt: skip


def two(pipe, **options):
    return toys.call(pipe, prompts=2, **options)


PIPELINES = {
    "sd": (lambda folder: toys.stable_diffusion(folder), two),
    "sdxl": (lambda folder: toys.stable_diffusion_xl(folder), two),
    "sdxl with means": (lambda folder: with_means(toys.stable_diffusion_xl(folder)), two),
    "pixart": (lambda folder: toys.pixart(folder), two),
    "sd3": (lambda folder: shifted(toys.sd3()), toys.call_sd3),
    "flux": (lambda folder: shifted(toys.flux()), lambda p, **o: toys.call_flux(p, steps=3, **o)),
    "lumina2": (lambda folder: shifted(flows.lumina2()), flows.call_lumina2),
    "z-image": (lambda folder: shifted(flows.z_image()), flows.call_z_image),
    "auraflow": (lambda folder: auraflow(), call_auraflow),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_images_are_those_that_the_pipeline_makes(name, tokenizer_folder):
    make, call = PIPELINES[name]
    pipe = make(tokenizer_folder)
    check_decodes(pipe)
    images, latents = call(pipe, output_type="pil"), call(pipe, output_type="latent")
    width, height = images[0].size
    ours = decoded(pipe, latents, height, width)
    assert len(ours) == len(images) == 2
    for one, other in zip(ours, images, strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(other))
    assert np.asarray(images[0]).std() > 1  # something is in them


def test_packed_latents_of_an_oblong_image_are_unpacked_by_its_size():
    pipe = shifted(toys.flux())
    images, latents = (
        toys.call_flux(pipe, steps=2, height=16, width=32, output_type=kind)
        for kind in ("pil", "latent")
    )
    ours = decoded(pipe, latents, 16, 32)
    assert images[0].size == ours[0].size == (32, 16)
    assert np.array_equal(np.asarray(images[0]), np.asarray(ours[0]))


def test_a_pipeline_of_ones_own_decodes_as_that_it_derives_from():
    pipe = shifted(toys.sd3())
    pipe.__class__ = type("Mine", (type(pipe),), {})
    check_decodes(pipe)


def shifted_without_a_family(folder):
    return shifted(toys.stable_diffusion(folder))


def packed_without_a_family(folder):
    pipe = toys.stable_diffusion(folder)
    pipe._unpack_latents = lambda *_: None
    return pipe


def without_autoencoder(folder):
    pipe = toys.stable_diffusion(folder)
    pipe.vae = None
    return pipe


@pytest.mark.parametrize(
    "make",
    [
        shifted_without_a_family,
        packed_without_a_family,
        without_autoencoder,
        toys.stable_video_diffusion,
        lambda _: toys.wan(),
        lambda _: toys.sd3(),  # which would shift by what its autoencoder does not say
        lambda _: flows.prx_pixel(),
    ],
    ids=["shifted", "packed", "no autoencoder", "svd", "wan", "sd3 without shift", "prx-pixel"],
)
def test_what_is_not_certain_is_refused_in_one_line(make, tokenizer_folder):
    with pytest.raises(InputError, match=r"plans are not searched for .* yet"):
        check_decodes(make(tokenizer_folder))
