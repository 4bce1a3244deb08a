"""Tiny pipelines over flow matching whose models predict something else than eps - x_0."""

from __future__ import annotations

import torch
import toys
from diffusers import (
    AutoencoderKL,
    AutoencoderKLMochi,
    FlowMatchEulerDiscreteScheduler,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    MochiPipeline,
    MochiTransformer3DModel,
)


def _vae(channels: int) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=32,
    )


def _trained(transformer):
    """With an output layer that is not zero, as it starts in some."""
    for name, weight in transformer.named_parameters():
        if weight.ndim > 1 and not weight.any():
            torch.nn.init.normal_(weight, std=0.2)
        if name == "cap_pad_token":
            torch.nn.init.normal_(weight)
    return transformer


def lumina2() -> Lumina2Pipeline:
    """Turns the sign; one call a branch, and norms set right after guidance."""
    torch.manual_seed(0)
    transformer = Lumina2Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        hidden_size=24,
        num_layers=1,
        num_refiner_layers=1,
        num_attention_heads=3,
        num_kv_heads=1,
        multiple_of=2,
        axes_dim_rope=(4, 2, 2),
        axes_lens=(64, 64, 64),
        cap_feat_dim=16,
    )
    return toys._quiet(
        Lumina2Pipeline(
            _trained(transformer),
            FlowMatchEulerDiscreteScheduler(shift=6.0),
            _vae(4),
            None,
            None,
        )
    )


def call_lumina2(pipe, *, guidance=4.0, **options):
    states = torch.randn((4, 6, 16), generator=torch.Generator().manual_seed(7))
    mask = torch.ones(2, 6, dtype=torch.long)
    return pipe(
        prompt_embeds=states[:2],
        prompt_attention_mask=mask,
        negative_prompt_embeds=states[2:],
        negative_prompt_attention_mask=mask,
        height=16,
        width=16,
        num_inference_steps=4,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(0),
        **{"output_type": "latent", **options},
    ).images


def z_image():
    """Turns the sign; latents one by one, both branches in one call, the conditional one first."""
    from diffusers import ZImagePipeline, ZImageTransformer2DModel

    torch.manual_seed(0)
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=24,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=3,
        n_kv_heads=3,
        cap_feat_dim=16,
        axes_dims=[4, 2, 2],
        axes_lens=[64, 64, 64],
    )
    return toys._quiet(
        ZImagePipeline(
            FlowMatchEulerDiscreteScheduler(shift=3.0),
            _vae(4),
            None,
            None,
            _trained(transformer),
        )
    )


def call_z_image(pipe, *, guidance=4.0, **options):
    states = torch.randn((4, 6, 16), generator=torch.Generator().manual_seed(7))
    return pipe(
        prompt_embeds=list(states[:2]),
        negative_prompt_embeds=list(states[2:]),
        height=32,
        width=32,
        num_inference_steps=4,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(0),
        **{"output_type": "latent", **options},
    ).images


def mochi() -> MochiPipeline:
    """Inverts the sigmas; both branches in one batch."""
    torch.manual_seed(0)
    transformer = MochiTransformer3DModel(
        patch_size=2,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        pooled_projection_dim=16,
        in_channels=12,
        qk_norm="rms_norm",
        text_embed_dim=16,
        time_embed_dim=4,
        max_sequence_length=16,
    )
    vae = AutoencoderKLMochi(
        latent_channels=12,
        out_channels=3,
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        layers_per_block=(1, 1, 1, 1, 1),
    )
    return toys._quiet(
        MochiPipeline(
            FlowMatchEulerDiscreteScheduler(invert_sigmas=True),
            vae,
            None,
            None,
            _trained(transformer),
        )
    )


def call_mochi(pipe, *, guidance=4.0, **options):
    states = torch.randn((4, 6, 16), generator=torch.Generator().manual_seed(7))
    mask = torch.ones(2, 6, dtype=torch.bool)
    return pipe(
        prompt_embeds=states[:2],
        prompt_attention_mask=mask,
        negative_prompt_embeds=states[2:],
        negative_prompt_attention_mask=mask,
        height=16,
        width=16,
        num_frames=7,
        num_inference_steps=4,
        guidance_scale=guidance,
        output_type="latent",
        generator=torch.Generator().manual_seed(0),
        **options,
    ).frames


def prx_pixel():
    """Predicts x_0, of which its pipeline makes a velocity for the scheduler."""
    from diffusers import PRXPixelPipeline, PRXTransformer2DModel

    torch.manual_seed(0)
    transformer = PRXTransformer2DModel(
        in_channels=3,
        patch_size=2,
        context_in_dim=16,
        hidden_size=16,
        mlp_ratio=2.0,
        num_heads=2,
        depth=1,
        axes_dim=[4, 4],
    )
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    return toys._quiet(PRXPixelPipeline(_trained(transformer), scheduler, None, None))


def call_prx_pixel(pipe, *, guidance=4.0, **options):
    states = torch.randn((2, 6, 16), generator=torch.Generator().manual_seed(7))
    mask = torch.ones(1, 6, dtype=torch.bool)
    return pipe(
        prompt_embeds=states[:1],
        prompt_attention_mask=mask,
        negative_prompt_embeds=states[1:],
        negative_prompt_attention_mask=mask,
        height=16,
        width=16,
        use_resolution_binning=False,
        num_inference_steps=4,
        guidance_scale=guidance,
        output_type="latent",
        generator=torch.Generator().manual_seed(0),
        **options,
    ).images
