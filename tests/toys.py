"""Tiny pipelines with random weights, built in code, one per family."""

from __future__ import annotations

import contextlib
import json
import re
import warnings
from collections.abc import Iterator

import numpy as np
import torch
import transformers
from diffusers import (
    AutoencoderKL,
    AutoencoderKLTemporalDecoder,
    AutoencoderKLWan,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    LCMScheduler,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    StableVideoDiffusionPipeline,
    UNet2DConditionModel,
    UNetSpatioTemporalConditionModel,
    WanPipeline,
    WanTransformer3DModel,
)
from PIL import Image
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from attnscope.models.architectures import Architecture
from attnscope.shapes.architecture import tokenizer as shapes_tokenizer

_TEXT = {
    "vocab_size": 1000,
    "hidden_size": 32,
    "intermediate_size": 37,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "projection_dim": 32,
    "max_position_embeddings": 24,
    "bos_token_id": 655,
    "eos_token_id": 656,
    "pad_token_id": 656,
}


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
    )


def _scheduler() -> DPMSolverMultistepScheduler:
    return DPMSolverMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
    )


def _unet(**options: object) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        **{
            "sample_size": 16,
            "block_out_channels": (16, 32),
            "layers_per_block": 1,
            "norm_num_groups": 8,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "cross_attention_dim": 32,
            "attention_head_dim": 8,
            **options,
        }
    )


def stable_diffusion(folder, **options) -> StableDiffusionPipeline:
    """A Stable Diffusion pipeline; ``options`` go to its U-Net."""
    torch.manual_seed(0)
    pipe = StableDiffusionPipeline(
        unet=_unet(**options),
        vae=_vae(),
        text_encoder=CLIPTextModel(CLIPTextConfig(**_TEXT)),
        tokenizer=shapes_tokenizer(folder),
        scheduler=_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return _quiet(pipe)


def stable_diffusion_xl(folder, **options) -> StableDiffusionXLPipeline:
    """An SDXL pipeline with both text encoders, pooled embeddings and time ids."""
    torch.manual_seed(0)
    tokenizer = shapes_tokenizer(folder)
    pipe = StableDiffusionXLPipeline(
        unet=_unet(
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            transformer_layers_per_block=(1, 2),
            projection_class_embeddings_input_dim=80,
            cross_attention_dim=64,
            **options,
        ),
        vae=_vae(),
        text_encoder=CLIPTextModel(CLIPTextConfig(**_TEXT)),
        text_encoder_2=CLIPTextModelWithProjection(CLIPTextConfig(**_TEXT)),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        scheduler=_scheduler(),
        add_watermarker=False,
    )
    return _quiet(pipe)


def lcm_sdxl(folder) -> StableDiffusionXLPipeline:
    """A distilled SDXL: the guidance scale is an embedding, so there is one branch."""
    return _distilled(stable_diffusion_xl(folder, time_cond_proj_dim=16))


def lcm_pixart(folder) -> PixArtAlphaPipeline:
    """A distilled PixArt-alpha, for calls with ``guidance=0``."""
    return _distilled(pixart(folder))


def _distilled(pipe):
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    return pipe


def pixart_sigma(folder) -> PixArtSigmaPipeline:
    """A PixArt-Sigma pipeline without text encoder."""
    return _quiet(PixArtSigmaPipeline(**pixart(folder).components))


def pixart_1024(folder) -> PixArtAlphaPipeline:
    """A PixArt-alpha of the large kind, which is also told the size of the image."""
    return pixart(folder, sample_size=128, use_additional_conditions=True)


def pixart(folder, **options) -> PixArtAlphaPipeline:
    """A PixArt-alpha pipeline without text encoder; :func:`call` gives it embeddings.

    ``options`` go to its transformer.
    """
    torch.manual_seed(0)
    settings = {
        "sample_size": 16,
        "num_layers": 2,
        "patch_size": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 3,
        "caption_channels": 32,
        "in_channels": 4,
        "cross_attention_dim": 24,
        "out_channels": 8,
        "attention_bias": True,
        "activation_fn": "gelu-approximate",
        "num_embeds_ada_norm": 1000,
        "norm_type": "ada_norm_single",
        "norm_elementwise_affine": False,
        "norm_eps": 1e-6,
    }
    transformer = PixArtTransformer2DModel(**{**settings, **options})
    pipe = PixArtAlphaPipeline(
        transformer=transformer,
        vae=_vae(),
        text_encoder=None,
        tokenizer=None,
        scheduler=_scheduler(),
    )
    return _quiet(pipe)


def stable_video_diffusion(folder) -> StableVideoDiffusionPipeline:
    """An SVD pipeline: spatial and temporal attention, velocity prediction, Euler."""
    torch.manual_seed(0)
    unet = UNetSpatioTemporalConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=16,
        in_channels=8,
        out_channels=4,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        cross_attention_dim=32,
        num_attention_heads=8,
        projection_class_embeddings_input_dim=96,
        addition_time_embed_dim=32,
    )
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        latent_channels=4,
    )
    vision = CLIPVisionConfig(
        hidden_size=32,
        projection_dim=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=224,
        intermediate_size=37,
        patch_size=56,
    )
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        interpolation_type="linear",
        prediction_type="v_prediction",
        sigma_max=700.0,
        sigma_min=0.002,
        steps_offset=1,
        timestep_spacing="leading",
        timestep_type="continuous",
        use_karras_sigmas=True,
    )
    pipe = StableVideoDiffusionPipeline(
        unet=unet,
        vae=vae,
        image_encoder=CLIPVisionModelWithProjection(vision),
        scheduler=scheduler,
        feature_extractor=CLIPImageProcessor(
            crop_size={"height": 224, "width": 224}, size={"shortest_edge": 224}
        ),
    )
    return _quiet(pipe)


def wan() -> WanPipeline:
    """A Wan pipeline without text encoder: it calls its denoiser once per guidance branch."""
    torch.manual_seed(0)
    transformer = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=16,
        out_channels=16,
        text_dim=32,
        freq_dim=256,
        ffn_dim=32,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
    )
    vae = AutoencoderKLWan(
        base_dim=3,
        z_dim=16,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
    )
    pipe = WanPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=vae,
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
    )
    return _quiet(pipe)


def flux() -> FluxPipeline:
    """A Flux pipeline without text encoders, which names the one branch that it calls."""
    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
    )
    pipe = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_vae(),
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
        transformer=transformer,
    )
    return _quiet(pipe)


def sd3(*, dual: bool = False) -> StableDiffusion3Pipeline:
    """A Stable Diffusion 3 pipeline without text encoders; ``dual`` is 3.5's second attention."""
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=32,
        pos_embed_max_size=16,
        dual_attention_layers=(0,) if dual else (),
        qk_norm="rms_norm" if dual else None,
    )
    nothing = dict.fromkeys(
        (
            "text_encoder",
            "tokenizer",
            "text_encoder_2",
            "tokenizer_2",
            "text_encoder_3",
            "tokenizer_3",
        )
    )
    return _quiet(
        StableDiffusion3Pipeline(
            transformer=transformer,
            vae=_vae(),
            scheduler=FlowMatchEulerDiscreteScheduler(),
            **nothing,
        )
    )


def call_sd3(pipe: StableDiffusion3Pipeline, *, prompts: int = 2, **options) -> torch.Tensor:
    """Latents of images of 9 tokens of text, guided."""
    noise = torch.Generator().manual_seed(7)
    states = torch.randn((2 * prompts, 9, 32), generator=noise).to(pipe.dtype)
    pooled = torch.randn((2 * prompts, 32), generator=noise).to(pipe.dtype)
    return pipe(
        prompt_embeds=states[:prompts],
        negative_prompt_embeds=states[prompts:],
        pooled_prompt_embeds=pooled[:prompts],
        negative_pooled_prompt_embeds=pooled[prompts:],
        guidance_scale=5.0,
        generator=torch.Generator().manual_seed(0),
        **{"height": 32, "width": 32, "num_inference_steps": 3, "output_type": "latent", **options},
    ).images


def latte_architecture() -> Architecture:
    """A Latte, which makes videos and takes the caches of diffusers."""
    config = {
        "sample_size": 4,
        "num_layers": 2,
        "patch_size": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "caption_channels": 32,
        "in_channels": 4,
        "cross_attention_dim": 16,
        "out_channels": 8,
        "attention_bias": True,
        "num_embeds_ada_norm": 1000,
        "norm_type": "ada_norm_single",
        "video_length": 3,
    }
    name = "LatteTransformer3DModel"
    return Architecture("latte", name, json.dumps(config), "", 32, 32, tokens=5, frames=3)


def ip_adapter(unet):
    """Weights of a small IP-Adapter with four image tokens."""
    torch.manual_seed(2)
    width = unet.config.cross_attention_dim
    weights, key = {}, 1
    for name in unet.attn_processors:
        if name.endswith("attn2.processor"):
            out = unet.get_submodule(name.removesuffix(".processor")).to_q.out_features
            weights[f"{key}.to_k_ip.weight"] = torch.randn(out, width) * 0.2
            weights[f"{key}.to_v_ip.weight"] = torch.randn(out, width) * 0.2
            key += 2
    projection = torch.nn.Linear(32, 4 * width)
    norm = torch.nn.LayerNorm(width)
    image_proj = {f"proj.{k}": v for k, v in projection.state_dict().items()}
    image_proj |= {f"norm.{k}": v for k, v in norm.state_dict().items()}
    return {"image_proj": image_proj, "ip_adapter": weights}


def image_processor(model: str) -> type:
    """A model's image processor that wants no torchvision: ``CLIPImageProcessorPil``, from transformers 5.0 on."""
    usual = f"{model}ImageProcessor"
    return getattr(transformers, f"{usual}Pil", None) or getattr(transformers, usual)


def clip(folder) -> str:
    """The folder of a CLIP for images of 32 x 32, 24 tokens long."""
    torch.manual_seed(0)
    tokenizer = shapes_tokenizer(folder / "tokenizer")
    shape = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 4}
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = {**shape, **ids, "vocab_size": len(tokenizer), "max_position_embeddings": 24}
    vision = {**shape, "image_size": 32, "patch_size": 8}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    preprocessing = image_processor("CLIP")(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    CLIPModel(config).save_pretrained(folder / "clip")
    CLIPProcessor(preprocessing, tokenizer).save_pretrained(folder / "clip")
    return str(folder / "clip")


def call_wan(pipe: WanPipeline, *, guidance: float = 5.0, steps: int = 4) -> torch.Tensor:
    """Latents of two videos of two latent frames."""
    states = torch.randn((4, 8, 32), generator=torch.Generator().manual_seed(7))
    return pipe(
        prompt_embeds=states[:2],
        negative_prompt_embeds=states[2:],
        height=16,
        width=16,
        num_frames=5,
        num_inference_steps=steps,
        guidance_scale=guidance,
        output_type="latent",
        generator=torch.Generator().manual_seed(0),
    ).frames


def call_flux(pipe: FluxPipeline, *, steps: int = 12, **options) -> torch.Tensor:
    """Latents of two images."""
    noise = torch.Generator().manual_seed(7)
    dtype = getattr(pipe, "dtype", torch.float32)  # a cache's call has none
    return pipe(
        prompt_embeds=torch.randn((2, 5, 32), generator=noise).to(dtype),
        pooled_prompt_embeds=torch.randn((2, 32), generator=noise).to(dtype),
        num_inference_steps=steps,
        generator=torch.Generator().manual_seed(0),
        **{"height": 16, "width": 16, "output_type": "latent", **options},
    ).images


@contextlib.contextmanager
def warns(match: str) -> Iterator[None]:
    """Expects a warning of ours; what the libraries warn of beside it is none of ours."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    messages = [str(warning.message) for warning in caught]
    assert any(re.search(match, message) for message in messages), messages


FAMILIES = {
    "sd": stable_diffusion,
    "sdxl": stable_diffusion_xl,
    "pixart": pixart,
    "svd": stable_video_diffusion,
}
VARIANTS = {
    **FAMILIES,
    "lcm-sdxl": lcm_sdxl,
    "lcm-pixart": lcm_pixart,
    "pixart-sigma": pixart_sigma,
    "pixart-1024": pixart_1024,
}

PROMPTS = ("a small red circle on a white background", "a large blue star on a black background")


def call(pipe, *, prompts=1, per_prompt=1, guidance=5.0, steps=4, seed=0, **options):
    """Run a toy pipeline: latents ``[prompts * per_prompt, ...]`` as a tensor.

    ``guidance=1`` switches guidance off, for SVD as well.
    """
    generator = torch.Generator().manual_seed(seed)
    common = {
        "num_inference_steps": steps,
        "output_type": "latent",
        "generator": generator,
        **options,
    }
    if isinstance(pipe, StableVideoDiffusionPipeline):
        pixels = np.linspace(0, 255, 32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)
        image = [Image.fromarray(np.roll(pixels, 7 * i, 0)) for i in range(prompts)]
        return pipe(
            image if prompts > 1 else image[0],
            height=32,
            width=32,
            num_frames=3,
            num_videos_per_prompt=per_prompt,
            min_guidance_scale=guidance,
            max_guidance_scale=guidance,
            **common,
        ).frames
    common |= {"guidance_scale": guidance, "num_images_per_prompt": per_prompt}
    if isinstance(pipe, (PixArtAlphaPipeline, PixArtSigmaPipeline)):
        embeds = torch.Generator().manual_seed(7)
        states = torch.randn((2 * prompts, 8, 32), generator=embeds).to(pipe.dtype)
        mask = torch.ones(2 * prompts, 8)
        return pipe(
            prompt_embeds=states[:prompts],
            prompt_attention_mask=mask[:prompts],
            negative_prompt=None,
            negative_prompt_embeds=states[prompts:],
            negative_prompt_attention_mask=mask[prompts:],
            use_resolution_binning=False,
            **{"height": 32, "width": 32, **common},
        ).images
    return pipe(list(PROMPTS[:prompts]), **{"height": 32, "width": 32, **common}).images


def _quiet(pipe):
    for component in pipe.components.values():
        if isinstance(component, torch.nn.Module):
            component.eval().requires_grad_(False)
    pipe.set_progress_bar_config(disable=True)
    return pipe
