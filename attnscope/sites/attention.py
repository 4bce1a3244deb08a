"""Where attention happens in a denoiser.

A *site* is one attention module of a U-Net or a diffusion transformer that works on what is being
denoised. This module finds sites and says what kind each is; it knows nothing of what will be done
to them.

Attention that prepares a condition is none, wherever it stands in the denoiser: the resamplers of
image prompts (IP-Adapter Plus, FaceID), refiners of the text (HunyuanVideo, Lumina 2, Z-Image),
blocks of the text alone (Kandinsky 5, Flux 3), encoders of the image that a video starts from
(I2VGen-XL). It sees no x_t, so it says nothing of how denoising converges, and most of it gives the
same at every step. Refiners of the noise are sites.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.attention_processor import Attention, MochiAttention
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from attnscope.errors import InputError
from attnscope.families import of_denoiser
from attnscope.kinds import AROUND, KINDS, Kind
from attnscope.sites.names import is_named

_DENOISERS = ("unet", "transformer", "transformer_2")
"""What pipelines call them."""
ATTENTION_CLASSES = (Attention, MochiAttention, AttentionModuleMixin)

_TEXT_ARGUMENTS = frozenset(
    {"encoder_hidden_states", "cap_feats", "text_embeds", "prompt_embeds", "text_bth", "input_ids"}
)

_NOISE_ALONE = "noise_refiner"  # before the text joins in Lumina 2, Z-Image, Bria Fibo 2

_OF_A_CONDITION = frozenset(
    {"text", "txt", "context", "caption", "cap", "prompt", "cond", "condition", "conditioning",
     "siglip", "clip", "perceiver", "resampler", "connector", "connectors", "embed", "embedder",
     "embedding", "embeddings", "proj", "projection"}
)  # fmt: skip
"""Words in the names of modules that prepare a condition: ``encoder_hid_proj``, ``text_fusion``."""


@dataclass(frozen=True)
class Site:
    """One attention module of a denoiser, or something beside it that is watched alike.

    Args:
        name: dotted path inside the denoiser, such as
            ``down_blocks.0.attentions.0.transformer_blocks.0.attn2``.
        kind: ``cross`` if the keys come from another sequence, ``self`` if not, ``joint`` if the
            text stream takes part in the sequence itself; or one of :data:`attnscope.kinds.AROUND`. Of a
            joint site that returns text and image apart, observers are shown the image's part; of
            one that is given both as one sequence (Flux's single blocks), the whole sequence.
        block: the stage the site belongs to, such as ``down_blocks.0`` or ``mid_block``.
        index: position among all sites of the denoiser, in the order of data flow.
    """

    name: str
    kind: Kind
    block: str
    index: int


def find_denoiser(pipe: Any) -> nn.Module:
    """The U-Net or transformer of a pipeline.

    Raises:
        InputError: there is none, or there are two.
    """
    found = [
        getattr(pipe, name)
        for name in _DENOISERS
        if isinstance(getattr(pipe, name, None), nn.Module)
    ]
    name = type(pipe).__name__
    if not found or getattr(pipe, "scheduler", None) is None:
        raise InputError(
            f"{name} has no denoiser to watch: a pipeline needs a 'unet' or 'transformer' "
            "and a 'scheduler'"
        )
    if len(found) > 1:
        raise InputError(f"{name} switches between two denoisers, which is not supported yet")
    denoiser: nn.Module = found[0]
    return denoiser


def _no_module(value: Any) -> str:
    """What to give instead of a pipeline, or of something else that is no denoiser."""
    names = [name for name in _DENOISERS if isinstance(getattr(value, name, None), nn.Module)]
    instead = f"give its denoiser, `pipe.{names[0]}`" if names else "give a pipeline's denoiser"
    return f"{type(value).__name__} is no U-Net or transformer: {instead}"


def find_sites(denoiser: nn.Module) -> tuple[Site, ...]:
    """Every attention site of a denoiser, in the order of data flow.

    The kind is read off the module and its parent block. Names lie: ``attn2`` of Stable Diffusion
    3.5 is self-attention, and with ``only_cross_attention`` an ``attn1`` is cross-attention. A
    :class:`~attnscope.Trace` confirms the kind when the site is called.

    Args:
        denoiser: a U-Net or transformer of diffusers, compiled or not.

    Returns:
        Those that work on what is being denoised; attention that prepares a condition is left out.

    Raises:
        InputError: the denoiser has no attention modules that diffusers knows, or it is none.
    """
    if not isinstance(denoiser, nn.Module):
        raise InputError(_no_module(denoiser))
    denoiser = unwrapped(denoiser)
    modules = dict(denoiser.named_modules())
    names = [
        name
        for name, module in modules.items()
        if isinstance(module, ATTENTION_CLASSES) and not _prepares_a_condition(name)
    ]
    if not names:
        raise InputError(
            f"{type(denoiser).__name__} has no attention modules "
            "(looked for diffusers' Attention, MochiAttention and AttentionModuleMixin)"
        )
    names.sort(key=_flow)
    sites = [
        Site(name, _kind(name, modules), block_of(name), index) for index, name in enumerate(names)
    ]
    if _text_is_in_the_sequence(denoiser, sites):
        sites = [
            replace(site, kind="joint")
            if site.kind == "self" and not site.name.startswith(_NOISE_ALONE)
            else site
            for site in sites
        ]
    return tuple(sites)


def select_sites(
    sites: Iterable[Site],
    *,
    kinds: Sequence[str] = KINDS,
    pattern: str | Sequence[str] | None = None,
) -> tuple[Site, ...]:
    """The sites of some kinds whose names match a pattern.

    Args:
        sites: where to choose from.
        kinds: any of ``cross``, ``self``, ``joint``, and of :data:`attnscope.kinds.AROUND` where ``sites``
            has them.
        pattern: shell-style pattern of site names (``up_blocks.1*``) or of the short names that tables
            show (``mid 0.0 attn2``), or several; ``None`` is all.

    Raises:
        InputError: an unknown kind, or nothing matches.
    """
    known = (*KINDS, *AROUND)
    unknown = [kind for kind in kinds if kind not in known]
    if unknown or not kinds:
        raise InputError(f"kinds={','.join(kinds)!r} is not known (choose from {', '.join(known)})")
    available = list(sites)
    chosen = tuple(site for site in available if matches(site, kinds, pattern))
    if not chosen:
        counts = ", ".join(
            f"{sum(site.kind == kind for site in available)} {kind}" for kind in KINDS
        )
        wanted = f"kinds={','.join(kinds)}" + (f", sites={pattern!r}" if pattern else "")
        example = f", the first is {available[0].name!r}" if available else ""
        raise InputError(f"no attention site matches {wanted}: the denoiser has {counts}{example}")
    return chosen


def matches(site: Site, kinds: Sequence[str], pattern: str | Sequence[str] | None) -> bool:
    """Whether a site is of one of the kinds and its name matches one of the patterns."""
    patterns = [pattern] if isinstance(pattern, str) else pattern
    named = patterns is None or any(is_named(site.name, glob) for glob in patterns)
    return site.kind in kinds and named


def unwrapped(denoiser: nn.Module) -> nn.Module:
    """The model of diffusers behind ``torch.compile`` or a module of one's own around it.

    Either puts a word of its own before every name, and hides which class of denoiser it is.

    Args:
        denoiser: the model, or something around it.

    Returns:
        The model that holds all attention; what is given where there is no such one.
    """
    module: nn.Module | None = denoiser
    while module is not None and not isinstance(module, ModelMixin):
        module = getattr(module, "_orig_mod", None) or _only_holder(module)
    return getattr(denoiser, "_orig_mod", denoiser) if module is None else module


def _only_holder(module: nn.Module) -> nn.Module | None:
    """The part of a module that holds all of its attention, if one does."""
    holders = [
        part
        for part in module.children()
        if any(isinstance(within, ATTENTION_CLASSES) for within in part.modules())
    ]
    return holders[0] if len(holders) == 1 else None


def _prepares_a_condition(name: str) -> bool:
    """Whether a module stands in a part of the denoiser that never sees what is being denoised.

    Names are all there is before a call: refiners of the text and of the noise are of one class.
    ``tests/sites/test_sites.py`` compares them with what really depends on the latents.

    Args:
        name: dotted path; what counts is the way to the first numbered block.
    """
    way = re.split(r"\.\d+", name)[0] if re.search(r"\.\d+", name) else name.rpartition(".")[0]
    return any(
        part == "token_refiner"
        or part.endswith("_encoder")  # I2VGen-XL's image_latents_temporal_encoder
        or not _OF_A_CONDITION.isdisjoint(part.split("_"))
        for part in way.split(".")
    )


def _flow(name: str) -> int:
    """Sorting key of the order of data flow: U-Nets register ``up_blocks`` before ``mid_block``."""
    for rank, prefix in enumerate(("down_", "mid_", "up_")):
        if name.startswith(prefix):
            return rank
    return 0


def block_of(name: str) -> str:
    """The stage that a module belongs to, such as ``down_blocks.0``."""
    match = re.match(r"[^.]+(\.\d+)?", name)
    return match.group(0) if match else name


def _kind(name: str, modules: dict[str, nn.Module]) -> Kind:
    module = modules[name]
    parent_name, _, leaf = name.rpartition(".")
    parent = modules[parent_name]
    cross = getattr(module, "is_cross_attention", None)
    if cross is None:
        # Classes that do not say it: the second of two in a block is the one that looks elsewhere.
        siblings = sum(isinstance(child, ATTENTION_CLASSES) for child in parent.children())
        named = "cross" in leaf.lower() or "cross" in type(module).__name__.lower()
        second = leaf.endswith("attn2") and siblings > 1
        cross = named or second or "_to_" in leaf  # LTX-2's video_to_audio_attn
    elif "self" in leaf.lower():
        cross = False  # OmniGen's has keys of a width of their own, and nothing else
    if getattr(module, "added_kv_proj_dim", None) is not None:
        # Added keys join the image's own (SD3, Flux, DeepFloyd) unless the module says that it
        # looks elsewhere only; Wan's added keys are a second foreign sequence.
        return "cross" if getattr(module, "only_cross_attention", cross) else "joint"
    if cross:
        return "cross"
    return "joint" if "Single" in type(parent).__name__ else "self"


def _text_is_in_the_sequence(denoiser: nn.Module, sites: Sequence[Site]) -> bool:
    """Whether text is an input but no site looks elsewhere: then it is part of the sequence."""
    if of_denoiser(denoiser).text_in_sequence:
        return True
    if any(site.kind != "self" for site in sites):
        return False
    parameters = inspect.signature(type(denoiser).forward).parameters
    return not _TEXT_ARGUMENTS.isdisjoint(parameters)


def confirmed_kind(
    site: Site, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
) -> Kind:
    """The kind of a site as one call shows it.

    Args:
        site: as found without a call.
        module: the attention module that was called.
        args: its positional arguments.
        kwargs: its keyword arguments.
        output: what it returned.
    """
    if site.kind == "joint" or isinstance(output, tuple):
        return "joint"
    if "encoder_hidden_states" not in inspect.signature(type(module).forward).parameters:
        return site.kind
    query = kwargs.get("hidden_states", args[0] if args else None)
    keys = kwargs.get("encoder_hidden_states", args[1] if len(args) > 1 else None)
    return "self" if keys is None or keys is query else "cross"
