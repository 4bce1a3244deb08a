"""Pipelines around a denoiser of random weights: time and memory do not depend on the values.

The denoiser is of true size; text encoders are left out, and the autoencoder is next to nothing
and never used, but for Stable Video Diffusion, whose pipeline encodes an image.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attnscope.errors import InputError
from attnscope.models import architectures
from attnscope.models.architectures import Architecture

_CHANNELS = 8


def build(architecture: Architecture, *, device: str = "cpu", dtype: str = "float32") -> Any:
    """A diffusers pipeline with a randomly initialised denoiser.

    Args:
        architecture: of :func:`attnscope.models.architectures.find`.
        device: a torch device.
        dtype: name of a torch dtype.

    Raises:
        InputError: there is no pipeline for such a denoiser here.
    """
    makers = {
        "UNet2DConditionModel": _stable_diffusion,
        "PixArtTransformer2DModel": _pixart,
        "UNetSpatioTemporalConditionModel": _video,
        "LatteTransformer3DModel": _latte,
    }
    if architecture.class_name not in makers:
        raise InputError(
            f"there is no pipeline here for a {architecture.class_name} of random weights "
            f"(there is one for {', '.join(makers)}): leave `random_weights` out"
        )
    denoiser = architectures.build(architecture, device=device, dtype=dtype)
    pipe = makers[architecture.class_name](denoiser, architecture)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device, getattr(torch, dtype))


def call_keywords(
    pipe: Any,
    architecture: Architecture,
    *,
    steps: int,
    guidance: float,
    batch: int = 1,
    seed: int = 0,
) -> dict[str, Any]:
    """What such a pipeline is called with: random embeddings in the place of a prompt's.

    Args:
        pipe: of :func:`build`.
        architecture: says the sizes.
        steps: denoising steps.
        guidance: guidance scale.
        batch: images at a time.
        seed: of the values.
    """
    shared = {
        "num_inference_steps": steps,
        "height": architecture.height,
        "width": architecture.width,
        "output_type": "latent",
    }
    if architecture.class_name == "UNetSpatioTemporalConditionModel":
        from PIL import Image

        image = Image.new("RGB", (architecture.width, architecture.height))
        return shared | {
            "image": [image] * batch,
            "num_frames": architecture.frames,
            "min_guidance_scale": min(1.0, guidance),
            "max_guidance_scale": guidance,
            "generator": torch.Generator().manual_seed(seed),
        }
    denoiser = getattr(pipe, "unet", None) or pipe.transformer
    given = architectures.inputs(denoiser, architecture, rows=2 * batch, seed=seed)
    latents = given.get("sample", given.get("hidden_states"))
    assert isinstance(latents, Tensor)
    text = given["encoder_hidden_states"]
    shared |= {
        "latents": latents[:batch],
        "prompt_embeds": text[:batch],
        "negative_prompt_embeds": text[batch:],
        "guidance_scale": guidance,
    }
    pooled = given.get("added_cond_kwargs", {}).get("text_embeds")
    if pooled is not None:
        shared |= {
            "pooled_prompt_embeds": pooled[:batch],
            "negative_pooled_prompt_embeds": pooled[batch:],
        }
    if architecture.class_name == "PixArtTransformer2DModel":
        mask = torch.ones(batch, architecture.tokens, device=text.device)
        shared |= {
            "negative_prompt": None,
            "prompt_attention_mask": mask,
            "negative_prompt_attention_mask": mask,
            "use_resolution_binning": False,
        }
    if architecture.class_name == "LatteTransformer3DModel":
        shared |= {"negative_prompt": None, "video_length": architecture.frames}
    return shared


def _scheduler(architecture: Architecture) -> Any:
    """The one of a model's authors, or their own fast one."""
    import diffusers

    kind = diffusers.DPMSolverMultistepScheduler
    if not architecture.guided:
        kind = diffusers.LCMScheduler
    return kind(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)


def _autoencoder(levels: int = 4) -> Any:
    import diffusers

    return diffusers.AutoencoderKL(
        block_out_channels=(_CHANNELS,) * levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        norm_num_groups=4,
        latent_channels=4,
    ).eval()


def _levels(architecture: Architecture) -> int:
    return architecture.scale.bit_length()


def _stable_diffusion(denoiser: Any, architecture: Architecture) -> Any:
    import diffusers

    parts = {
        "vae": _autoencoder(_levels(architecture)),
        "scheduler": _scheduler(architecture),
        "text_encoder": None,
        "tokenizer": None,
        "unet": denoiser,
    }
    if denoiser.config.addition_embed_type == "text_time":
        return diffusers.StableDiffusionXLPipeline(
            text_encoder_2=None, tokenizer_2=None, add_watermarker=False, **parts
        )
    return diffusers.StableDiffusionPipeline(
        safety_checker=None, feature_extractor=None, requires_safety_checker=False, **parts
    )


def _pixart(denoiser: Any, architecture: Architecture) -> Any:
    import diffusers

    told = denoiser.use_additional_conditions  # the size of the image, as alpha at 1024 is
    kind = diffusers.PixArtAlphaPipeline if told else diffusers.PixArtSigmaPipeline
    return kind(
        transformer=denoiser,
        vae=_autoencoder(_levels(architecture)),
        scheduler=_scheduler(architecture),
        text_encoder=None,
        tokenizer=None,
    )


def _latte(denoiser: Any, architecture: Architecture) -> Any:
    import diffusers

    return diffusers.LattePipeline(
        transformer=denoiser,
        vae=_autoencoder(_levels(architecture)),
        scheduler=_scheduler(architecture),
        text_encoder=None,
        tokenizer=None,
    )


def _video(denoiser: Any, architecture: Architecture) -> Any:
    import diffusers
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
    )

    levels = _levels(architecture)
    autoencoder = diffusers.AutoencoderKLTemporalDecoder(
        block_out_channels=(32,) * levels,  # its decoder norms by 32 groups
        down_block_types=("DownEncoderBlock2D",) * levels,
        latent_channels=4,
    )
    encoder = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=4,
            image_size=224,
            patch_size=56,
            projection_dim=denoiser.config.cross_attention_dim,
        )
    )
    return diffusers.StableVideoDiffusionPipeline(
        unet=denoiser,
        vae=autoencoder.eval(),
        image_encoder=encoder.eval(),
        feature_extractor=CLIPImageProcessor(),
        scheduler=diffusers.EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
            prediction_type="v_prediction", interpolation_type="linear", steps_offset=1,
            timestep_type="continuous", timestep_spacing="leading", use_karras_sigmas=True,
            sigma_min=0.002, sigma_max=700.0,
        ),
    )  # fmt: skip
