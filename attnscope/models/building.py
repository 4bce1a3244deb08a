"""Denoisers built from their architecture alone, without weights, and what to call them on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from attnscope.errors import InputError
from attnscope.families import of_denoiser
from attnscope.models.architectures import Architecture

if TYPE_CHECKING:
    import torch


def build(
    architecture: Architecture, *, device: str = "meta", dtype: str = "float32", seed: int = 0
) -> Any:
    """The denoiser with random weights; on ``meta`` with none, which takes no memory.

    Args:
        architecture: of :func:`attnscope.models.architectures.find`.
        device: a torch device.
        dtype: name of a torch dtype.
        seed: of the weights.

    Raises:
        InputError: diffusers has no such class, or cannot build it.
    """
    import diffusers
    import torch

    kind = getattr(diffusers, architecture.class_name, None)
    if kind is None or not hasattr(kind, "from_config"):
        raise InputError(f"diffusers has no {architecture.class_name}")
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(seed)
        try:
            denoiser = kind.from_config(json.loads(architecture.config))
        except Exception as error:  # at a configuration that is not as it expects
            raise InputError(
                f"diffusers cannot build this {architecture.class_name}: {type(error).__name__} {error}"
            ) from error
    denoiser.to(device)  # some buffers are made on the CPU whatever the device
    if dtype != "float32":
        denoiser.to(getattr(torch, dtype))
    return denoiser.eval().requires_grad_(False)


def inputs(denoiser: Any, architecture: Architecture, *, rows: int = 1, seed: int = 0) -> dict[str, Any]:  # fmt: skip
    """Keywords of one call of a denoiser: random values of the shapes that a pipeline gives it.

    Args:
        denoiser: of :func:`build`; the values are on its device and of its dtype.
        architecture: says the sizes.
        rows: of the batch.
        seed: of the values.

    Raises:
        InputError: what such a denoiser is called on is not known.
    """
    import torch

    place = {"device": denoiser.device, "dtype": denoiser.dtype}
    on_meta = denoiser.device.type == "meta"
    generator = None if on_meta else torch.Generator(denoiser.device).manual_seed(seed)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(rows, *shape, generator=generator, **place)

    made = of_denoiser(denoiser).inputs(denoiser, architecture.on, noise)
    return {"timestep": torch.ones(rows, **place), **made}
