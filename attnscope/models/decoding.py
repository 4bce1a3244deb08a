"""From the final latents of a pipeline to its images, as the pipeline itself would decode them.

What is compared of a plan are latents and images, and both of one run: so pipelines are asked for latents,
and these are decoded here. That is done where what the pipeline does is known: it scales them and no more,
or its family says that it shifts or packs them, too (:attr:`attnscope.families.Family.latents`).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from attnscope.errors import InputError
from attnscope.sites.denoiser import Denoiser


def decoded(pipe: Any, latents: Tensor, height: int | None = None, width: int | None = None) -> Any:
    """Images of latents.

    Args:
        pipe: for which :func:`check_decodes` finds nothing to say.
        latents: as the pipeline returns them: ``[samples, channels, height, width]``, or packed.
        height: of the images in pixels, which packed latents do not tell; ``None`` is the pipeline's own.
        width: likewise.

    Returns:
        A list of PIL images.

    Raises:
        RuntimeError: the autoencoder returns what is no number, as in float16 some do.
    """
    vae, form = pipe.vae, _form(pipe)
    if form == "packed":
        own = pipe.default_sample_size * pipe.vae_scale_factor
        latents = pipe._unpack_latents(latents, height or own, width or own, pipe.vae_scale_factor)
    config = vae.config
    mean, deviation = (getattr(config, name, None) for name in ("latents_mean", "latents_std"))
    given = latents / config.scaling_factor
    if form in ("shifted", "packed"):
        given = given + config.shift_factor
    elif mean is not None and deviation is not None:
        shape = (1, -1, 1, 1)
        given = given * torch.tensor(deviation).to(given).view(shape)
        given = given + torch.tensor(mean).to(given).view(shape)
    upcast = vae.dtype == torch.float16 and getattr(config, "force_upcast", False)
    if upcast:
        vae.to(torch.float32)
    try:
        pictures = vae.decode(given.to(vae.dtype), return_dict=False)[0].detach()
    finally:
        if upcast:
            vae.to(torch.float16)
    if not torch.isfinite(pictures).all():
        raise RuntimeError("the autoencoder returns what is no number: choose `dtype='bfloat16'`")
    return pipe.image_processor.postprocess(pictures, output_type="pil")


def check_decodes(pipe: Any) -> None:
    """Refuse pipelines whose latents are not decoded here, before anything is measured.

    Raises:
        InputError: it makes videos, has no autoencoder of images, or shifts or packs its latents in a way
            that is not known.
    """
    if Denoiser.of(pipe).family.makes_videos or _form(pipe) is None:
        raise InputError(
            f"plans are not searched for {type(pipe).__name__} yet: the latents of Stable Diffusion 1, 2, "
            "XL and 3, PixArt, Flux 1, Chroma, AuraFlow, Lumina and Z-Image are decoded here, and of others "
            "that are scaled alone"
        )


def _form(pipe: Any) -> Literal["scaled", "shifted", "packed"] | None:
    """How final latents differ from what the autoencoder decodes; ``None`` where it is not known."""
    vae = getattr(pipe, "vae", None)
    config = getattr(vae, "config", None)
    if not hasattr(config, "scaling_factor") or not hasattr(pipe, "image_processor"):
        return None
    said = Denoiser.of(pipe).family.latents
    kinds = [kind.__name__ for kind in type(pipe).__mro__]
    form = next((said[kind] for kind in kinds if kind in said), None)
    shifts = getattr(config, "shift_factor", None) is not None
    if form is not None:
        return form if shifts else None
    packs = any(hasattr(pipe, name) for name in ("_unpack_latents", "_unpack_latents_with_ids"))
    return None if shifts or packs or hasattr(vae, "bn") else "scaled"
