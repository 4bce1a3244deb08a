"""What a denoiser would do if something about it were otherwise: the controls of a measurement.

Each is a block around calls of an unmodified pipeline, and after it everything is as it was:
other weights, other latents than its own trajectory's, and two captions over the same latents.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.sites.attention import find_denoiser
from attnscope.sites.denoiser import Denoiser

_LATENT_ARGUMENTS = ("sample", "hidden_states")


@contextlib.contextmanager
def random_weights(pipe: Any, seed: int) -> Iterator[None]:
    """Give a pipeline a denoiser of the same architecture whose weights were never trained.

    They are drawn as the classes of diffusers and torch draw them; text encoder and autoencoder
    stay. The denoiser itself is put back afterwards, unchanged.

    Args:
        pipe: a pipeline that is not traced.
        seed: of the weights.
    """
    denoiser = Denoiser.of(pipe)
    name = next(name for name, part in pipe.components.items() if part is denoiser.outer)
    original: Any = denoiser.module
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(seed)
        drawn = type(original).from_config(original.config)
    # Not its own to(), which warns of modules that are better kept in float32.
    nn.Module.to(drawn, device=original.device, dtype=original.dtype)
    drawn.eval().requires_grad_(False)
    setattr(pipe, name, drawn)
    try:
        yield
    finally:
        setattr(pipe, name, denoiser.outer)


@contextlib.contextmanager
def latents_kept(pipe: Any, kept: list[Tensor]) -> Iterator[None]:
    """Append what the denoiser is given to ``kept``: a tensor a call, on the device.

    Args:
        pipe: the pipeline.
        kept: for :func:`latents_replayed`.
    """

    def keep(latents: Tensor) -> Tensor:
        kept.append(latents.detach().clone())
        return latents

    with _given(pipe, keep):
        yield


@contextlib.contextmanager
def latents_replayed(pipe: Any, kept: list[Tensor]) -> Iterator[None]:
    """Give the denoiser latents of another run, whatever the pipeline makes of its predictions.

    So every step sees the trajectory of that run, which need not be that of this denoiser.

    Args:
        pipe: the pipeline; it must be called with the same numbers of prompts and steps.
        kept: of :func:`latents_kept`; starts again from its first when it is used up.

    Raises:
        RuntimeError: the denoiser is called on another batch or size.
    """
    calls = 0

    def replay(latents: Tensor) -> Tensor:
        nonlocal calls
        other = kept[calls % len(kept)]
        calls += 1
        if other.shape != latents.shape:
            raise RuntimeError(
                f"the denoiser is called on {list(latents.shape)} and was on {list(other.shape)} "
                "in the run whose latents it is given"
            )
        return other

    with _given(pipe, replay):
        yield


@contextlib.contextmanager
def same_latents(pipe: Any, pairs: int) -> Iterator[None]:
    """Give the denoiser the latents of the first n samples for the n after them, too.

    Called on the captions of n images and then on n other ones, a pipeline makes the n images as
    it would without the others, and shows the denoiser at each step the same latents with another
    text. What it makes of the other samples is no image of anything.

    Args:
        pipe: the pipeline, to be called on ``2 * pairs`` prompts.
        pairs: n.

    Raises:
        RuntimeError: the denoiser is called on another number of samples.
    """

    def repeat(latents: Tensor) -> Tensor:
        if len(latents) % (2 * pairs):
            raise RuntimeError(
                f"the denoiser is called on {len(latents)} rows, which are not {pairs} pairs of "
                "samples in every guidance branch"
            )
        split = latents.reshape(-1, 2, pairs, *latents.shape[1:])
        return split[:, :1].expand_as(split).reshape(latents.shape)

    with _given(pipe, repeat):
        yield


@contextlib.contextmanager
def _given(pipe: Any, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Change the latents that the denoiser is given."""

    def swap(
        denoiser: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (_changed(args[0]), *args[1:]), kwargs
        name = next((name for name in _LATENT_ARGUMENTS if name in kwargs), "")
        return args, {**kwargs, name: _changed(kwargs.get(name))}

    def _changed(latents: Any) -> Tensor:
        if not isinstance(latents, Tensor):
            raise RuntimeError("this denoiser is not given its latents as one batch")
        return change(latents)

    handle = find_denoiser(pipe).register_forward_pre_hook(swap, with_kwargs=True, prepend=True)
    try:
        yield
    finally:
        handle.remove()
