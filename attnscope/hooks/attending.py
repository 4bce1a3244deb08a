"""Attention where it is computed: queries, keys and mask on their way into the kernel.

Modules end in :func:`torch.nn.functional.scaled_dot_product_attention`, whichever processor they have.
There, and only while a module runs that somebody listens to, what goes in is shown to observers, and a
plan may weight words by the mask. The call itself stays what it was, so the kernel does, and the image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from attnscope.errors import InputError
from attnscope.sites.attention import Site
from attnscope.sites.denoiser import Denoiser


@dataclass(frozen=True)
class Attention:
    """One call of attention to text, as its kernel gets it.

    Args:
        query: ``[batch, heads, queries, width]``.
        key: ``[batch, heads, keys, width]``.
        mask: that is added to the scores, or where they may be (bool), broadcast to
            ``[batch, heads, queries, keys]``.
        scale: of the scores.
        image: the queries that are of the image.
        text: the keys that are of the text.
        image_keys: the keys that are of the image; none where it is looked at from elsewhere alone.
        rows: how many rows of the pipeline's batch are in it, the first ones; ``None`` is all. Perturbed
            attention is the identity, and computed apart.
    """

    query: Tensor
    key: Tensor
    mask: Tensor | None
    scale: float
    image: slice
    text: slice
    image_keys: slice
    rows: int | None = None

    @property
    def is_joint(self) -> bool:
        """Whether text and image are one sequence, so that the text looks at the image as well."""
        return self.image != slice(0, self.query.shape[2])

    @property
    def looks_at_itself(self) -> bool:
        """Whether the image has keys of its own, beside those of the text or alone."""
        return bool(self.image_keys.start < self.image_keys.stop)


_KERNEL = torch._C._nn.scaled_dot_product_attention
"""As torch has it, also where somebody has put something else in the place of its name."""
Heard = Callable[[Tensor, Tensor, Tensor | None, float], Tensor | None]
"""Takes query, key, mask and scale; returns the mask to use, or ``None`` for the one that there is."""


class Listening(TorchFunctionMode):
    """Hears the first attention that is computed in its block, in this thread.

    Args:
        heard: called with what goes in.
        keys: which a call must have to be the one; image prompts have others (IP-Adapter, Wan).
    """

    def __init__(self, heard: Heard, keys: int | None = None) -> None:
        super().__init__()
        self.calls = 0
        self._heard, self._keys = heard, keys

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Called by torch in the place of each of its functions."""
        kwargs = kwargs or {}
        if func is not _KERNEL:
            return func(*args, **kwargs)
        names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
        given = dict(zip(names, args, strict=False)) | kwargs
        query, key = given["query"], given["key"]
        if self.calls or self._keys not in (None, key.shape[2]):
            return func(*args, **kwargs)
        self.calls += 1
        if given.get("is_causal"):
            raise InputError(
                "this model looks at text causally, position by position, which is not supported where "
                "attention to words is watched or scaled"
            )
        if given.get("enable_gqa"):
            key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
        scale = given.get("scale") or 1 / math.sqrt(query.shape[-1])
        mask = self._heard(query, key, given.get("attn_mask"), float(scale))
        return func(*args, **kwargs) if mask is None else func(**(given | {"attn_mask": mask}))


def attention_of(
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    scale: float,
    *,
    site: Site,
    denoiser: Denoiser,
    text: int | None,
) -> Attention:
    """What a kernel gets, with the ranges of image and text.

    Args:
        query: as of :class:`Attention`.
        key: likewise.
        mask: likewise.
        scale: likewise.
        site: whose attention it is.
        denoiser: that it is a part of.
        text: tokens of the text in a joint sequence, or that stand beside the image's as keys alone.

    Raises:
        InputError: where text stands in a joint sequence is not known.
    """
    queries, keys = query.shape[2], key.shape[2]
    whole, none = slice(0, queries), slice(0, 0)
    if site.kind == "self":
        return Attention(query, key, mask, scale, whole, none, slice(0, keys))
    if site.kind == "cross":
        if denoiser.family.starts_from_images:
            raise InputError(
                f"this model has no text: {site.name} looks at the image that it starts from, so there "
                "are no words to watch or to scale (self-attention has maps of points: PointAttention)"
            )
        return Attention(query, key, mask, scale, whole, slice(0, keys), none)
    if text is not None and 0 < text < keys:
        words, image = slice(0, text), slice(text, keys)
        if denoiser.family.text_leads is False:
            image, words = slice(0, keys - text), slice(keys - text, keys)
        if queries == keys and denoiser.family.text_leads is not None:
            return Attention(query, key, mask, scale, image, words, image)
        if queries == keys - text and denoiser.family.adds_text_keys(denoiser.module.config):
            return Attention(query, key, mask, scale, whole, words, image)
    raise InputError(
        f"where the text stands in the sequence of {site.name} is not known for this model: attention to "
        "words is known of cross-attention, of joint attention in Stable Diffusion 3, Flux and their "
        "like, and of DeepFloyd IF"
    )


def rows_of_kernel(module: torch.nn.Module, rows: int) -> int | None:
    """How many rows of a batch a module's kernel gets; ``None`` is all of them.

    Args:
        module: an attention module. The processors of perturbed-attention guidance of diffusers take the
            last of three parts of a batch apart, and without classifier-free guidance the last of two.
        rows: of the batch.
    """
    name = type(getattr(module, "processor", None)).__name__
    if not name.startswith("PAG"):
        return None
    return rows * 2 // 3 if name.startswith("PAGCFG") else rows // 2


def check_heard(site: Site, module: torch.nn.Module, listening: Listening) -> None:
    """Refuse a module whose attention went another way.

    Raises:
        InputError: with how to have it go this way.
    """
    if listening.calls:
        return
    processor = type(getattr(module, "processor", module)).__name__
    raise InputError(
        f"{site.name} computes its attention by {processor}, not by a call of torch's "
        "scaled_dot_product_attention of its own, so it cannot be seen: for this run, give it diffusers' "
        f"{_usual_processor(module)} by set_attn_processor, or call set_attention_backend('native'), and "
        "leave attention slicing and xformers off"
    )


def _usual_processor(module: torch.nn.Module) -> str:
    """The processor of diffusers that ends in the call of torch, for a module of its kind."""
    known = getattr(type(module), "_default_processor_cls", None)
    if known is not None:
        return str(known.__name__)
    if getattr(module, "added_kv_proj_dim", None) is None:
        return "AttnProcessor2_0"
    text_is_a_stream = getattr(module, "context_pre_only", None) is not None
    return "JointAttnProcessor2_0" if text_is_a_stream else "AttnAddedKVProcessor2_0"
