"""Pipelines around a denoiser of random weights: time and memory do not depend on the values.

The denoiser is of true size; text encoders are left out, and the autoencoder is next to nothing
and never used, but for Stable Video Diffusion, whose pipeline encodes an image, and where such a pipeline is
saved as a folder to be loaded as any other.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from attnscope.families.base import no_pipeline_for
from attnscope.models import building
from attnscope.models.architectures import Architecture
from attnscope.models.memory import check_free

_CHANNELS = 8


def build(architecture: Architecture, *, device: str = "cpu", dtype: str = "float32") -> Any:
    """A diffusers pipeline with a randomly initialised denoiser.

    Args:
        architecture: of :func:`attnscope.models.architectures.find`.
        device: a torch device.
        dtype: name of a torch dtype.

    Raises:
        InputError: there is no pipeline for such a denoiser here, or no memory for it.
    """
    family = architecture.family
    if not family.has_pipeline:
        raise no_pipeline_for(architecture.class_name)
    if device.startswith("cpu"):
        check_free(building.build(architecture), architecture.name)
    denoiser = building.build(architecture, device=device, dtype=dtype)
    levels = architecture.scale.bit_length()
    parts = {} if family.starts_from_images else _parts(levels, scheduler_for(architecture))
    pipe = family.pipeline(denoiser, parts, levels)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device, getattr(torch, dtype))


def save(architecture: Architecture, folder: Path, *, seed: int = 0, **components: Any) -> None:
    """Write such a pipeline, its autoencoder and image encoder of random weights as well, as a folder.

    The same seed gives the same weights. What it makes of a prompt says nothing of quality.

    Args:
        architecture: of a denoiser, small enough for the CPU.
        folder: where the pipeline goes; it is there whole or not at all.
        seed: of all weights.
        components: in the place of those that :func:`build` leaves out, such as a text encoder.

    Raises:
        InputError: as of :func:`build`.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pipe = build(architecture)
    pipe.register_modules(**components)
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    pipe.save_pretrained(partial)
    partial.rename(folder)


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
    family = architecture.family
    if family.starts_from_images:
        from PIL import Image

        image = Image.new("RGB", (architecture.width, architecture.height))
        return shared | {
            "image": [image] * batch,
            "num_frames": architecture.frames,
            "generator": torch.Generator().manual_seed(seed),
            **family.guidance_keywords(guidance),
        }
    denoiser = getattr(pipe, "unet", None) or pipe.transformer
    given = building.inputs(denoiser, architecture, rows=2 * batch, seed=seed)
    latents = given.get("sample", given.get("hidden_states"))
    assert isinstance(latents, Tensor)
    text = given["encoder_hidden_states"]
    shared |= {
        "latents": latents[:batch],
        "prompt_embeds": text[:batch],
        "negative_prompt_embeds": text[batch:],
        **family.guidance_keywords(guidance),
    }
    pooled = given.get("added_cond_kwargs", {}).get("text_embeds")
    if pooled is not None:
        shared |= {
            "pooled_prompt_embeds": pooled[:batch],
            "negative_pooled_prompt_embeds": pooled[batch:],
        }
    return shared | family.pipeline_keywords(architecture.on, batch, text.device)


def scheduler_for(architecture: Architecture) -> Any:
    """The scheduler of such a pipeline: DPM-Solver, or LCM for models that run without guidance.

    Args:
        architecture: of a model that is conditioned on text.
    """
    import diffusers

    kind = diffusers.DPMSolverMultistepScheduler if architecture.guided else diffusers.LCMScheduler
    return kind(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)


def _parts(levels: int, scheduler: Any) -> dict[str, Any]:
    """What pipelines of text share."""
    import diffusers

    autoencoder = diffusers.AutoencoderKL(
        block_out_channels=(_CHANNELS,) * levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        norm_num_groups=4,
        latent_channels=4,
    )
    return {
        "vae": autoencoder.eval(),
        "scheduler": scheduler,
        "text_encoder": None,
        "tokenizer": None,
    }
