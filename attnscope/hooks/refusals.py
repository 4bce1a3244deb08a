"""Whether a plan can be carried out on a pipeline; what cannot is refused by name, beforehand.

What shows at the end of a run alone is left to :mod:`attnscope.hooks.shortfalls`.
"""

from __future__ import annotations

import dis
import inspect
import re
from collections.abc import Iterator
from types import CodeType
from typing import Any, NoReturn

from torch import nn

from attnscope import versions
from attnscope.errors import InputError
from attnscope.hooks.apart import adds_its_input
from attnscope.kinds import KINDS, in_words
from attnscope.notices import warn
from attnscope.plans.base import Branch, Plan, check_kinds
from attnscope.sites.attention import find_denoiser, unwrapped
from attnscope.sites.denoiser import Denoiser


def model_keeps(denoiser: Denoiser) -> Branch:
    """The branch that T-GATE keeps.

    The unconditional one, where the condition comes in through cross-attention and pooled
    embeddings alone, so that what is reused still holds it. Stable Video Diffusion also
    concatenates its image to the latents, with zeros for the unconditional branch, and joint
    attention goes on reading the text: there the conditional one stays.
    """
    joint = any(site.kind == "joint" for site in denoiser.sites)
    return "cond" if joint else denoiser.family.keeps


def check(plan: Plan, pipe: Any, denoiser: Denoiser) -> None:
    """Refuse what a plan cannot do on a pipeline.

    Raises:
        InputError: with the pipeline's name, the reason and what is possible instead.
    """
    check_kinds(plan)
    if plan.kinds:
        _check_sites(plan, denoiser)
    check_caches(plan, denoiser)
    check_scheduler(pipe)
    if plan.ever_drops():
        _check_guidance(plan, pipe)
        if getattr(pipe, "controlnet", None) is not None:
            warn(
                "the ControlNet still runs on both guidance branches after the gate: only the "
                "denoiser's part of the work is saved"
            )


def check_run(plan: Plan, pipe: Any, denoiser: Denoiser) -> bool:
    """Refuse what was done to a pipeline since it was hooked; a run begins.

    Args:
        plan: what is carried out.
        pipe: with the denoiser as it is now, which may have been compiled.
        denoiser: as it was hooked.

    Returns:
        Whether anything in the denoiser is compiled.

    Raises:
        InputError: it was compiled without a place for hooks, or given a cache of diffusers.
    """
    check_caches(plan, denoiser)
    check_nothing_hides(denoiser)
    return check_compiled(find_denoiser(pipe))


def check_caches(plan: Plan, denoiser: Denoiser) -> None:
    """Refuse a cache of diffusers on a denoiser whose attention a plan acts on.

    Raises:
        InputError: one is there, whether by ``enable_cache`` or by a function such as
            ``apply_pyramid_attention_broadcast``.
    """
    if plan.kinds and (caches := _caches(denoiser.module)):
        raise InputError(
            f"{denoiser.class_name} has a cache of diffusers enabled ({caches[0]}), which would act on the same calls as {plan}: call "
            "disable_cache() first, or remove its hooks where a function has put them on"
        )


def check_nothing_hides(denoiser: Denoiser) -> None:
    """Refuse a cache of diffusers that answers before attention is asked, and so goes unseen.

    Raises:
        InputError: one was put on an attention module after the ``Trace`` was.
    """
    for site in denoiser.sites:
        hooks = _hooks(denoiser.submodule(site))
        names = [type(hook).__module__.partition(".")[0] for hook in hooks]
        later = hooks[names.index("attnscope") + 1 :] if "attnscope" in names else ()
        if any(map(_cache, later)):
            raise InputError(
                f"a cache of diffusers was enabled inside the Trace, which would not see what "
                f"{site.name} answers from it: enable it before the block"
            )


def check_not_swapped(pipe: Any, denoiser: Denoiser) -> None:
    """Refuse a denoiser that was put into the place of the traced one.

    Raises:
        RuntimeError: the pipeline's denoiser is another than the one that was hooked.
    """
    if unwrapped(find_denoiser(pipe)) is not denoiser.module:
        raise RuntimeError(
            "the pipeline's denoiser was swapped inside a Trace: swap it before the block, or "
            "disable() the acceleration first"
        )


def refuse_copy(denoiser: Denoiser) -> NoReturn:
    """Refuse a copy of a hooked denoiser, whose hooks would report to a ``Trace`` of nothing.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError(
        f"a {denoiser.class_name} on which there is a Trace or an acceleration cannot be copied or pickled: do it before, or disable it first"
    )


def _caches(model: nn.Module) -> list[str]:
    """Hooks of diffusers that answer in the place of a module, by the files that they are from."""
    hooks = [hook for module in model.modules() for hook in _hooks(module)]
    return [file for hook in hooks if (file := _cache(hook))]


def _hooks(module: nn.Module) -> list[Any]:
    """The hooks of diffusers on a module, the outermost last."""
    registry = getattr(module, "_diffusers_hook", None)
    return [] if registry is None else [registry.hooks[name] for name in registry._hook_order]


def _cache(hook: Any) -> str | None:
    """The file that a hook is from, if it keeps results for later steps."""
    package, _, file = type(hook).__module__.rpartition(".")
    return file if package == "diffusers.hooks" and re.search("cache|broadcast", file) else None


def check_scheduler(pipe: Any) -> None:
    """Refuse pipelines that put another scheduler into their scheduler's place while they run."""
    swaps = any(
        instruction.opname == "STORE_ATTR" and instruction.argval == "scheduler"
        for code in _calls(type(pipe))
        for instruction in dis.get_instructions(code)
    )
    if swaps:
        raise InputError(
            f"{type(pipe).__name__} swaps its scheduler for a copy within a run, so its steps "
            "cannot be followed: this pipeline is not supported"
        )


def _calls(kind: type[Any]) -> Iterator[CodeType]:
    """The code of a pipeline's call, and of those that it calls by ``super``."""
    for base in kind.__mro__:
        if "__call__" in vars(base):
            code = inspect.unwrap(vars(base)["__call__"]).__code__
            yield code
            if "super" not in code.co_names:
                return


def check_compiled(denoiser: nn.Module) -> bool:
    """Whether anything in a denoiser is compiled.

    Raises:
        InputError: with ``fullgraph=True``, which leaves no place for a hook.
    """
    contexts = []
    for module in denoiser.modules():
        contexts.append(getattr(module, "dynamo_ctx", None))
        compiled = module._compiled_call_impl
        if compiled is not None:
            contexts.append(inspect.getclosurevars(compiled).nonlocals.get("self"))
    if any(map(versions.may_not_break, contexts)):
        raise InputError(
            f"{type(unwrapped(denoiser)).__name__} is compiled with fullgraph=True, which leaves no "
            "place between attention calls: compile it without"
        )
    return any(context is not None for context in contexts)


def check_attends(attends: bool, compiled: bool) -> None:
    """Refuse to look into attention that a compiler has made a graph of.

    Raises:
        InputError: it is compiled.
    """
    if attends and compiled:
        raise InputError(
            "what compiled attention attends to cannot be seen: watch the pipeline as it is before "
            "torch.compile, or after denoiser.compile was undone by loading it anew"
        )


def _check_sites(plan: Plan, denoiser: Denoiser) -> None:
    name, sites = denoiser.class_name, denoiser.sites
    everything = (*sites, *denoiser.around)
    acted = [site for site in everything if site.kind in plan.kinds]
    joint = sum(site.kind == "joint" for site in sites)
    if not acted:
        kinds = sorted({site.kind for site in everything} - {"latent"})
        raise InputError(
            f"{plan} acts on {' and '.join(map(in_words, plan.kinds))}, but {name} has only "
            f"{', '.join(map(in_words, kinds))}"
            + ("; joint attention is left alone" if joint else "")
        )
    missing = set(plan.modules) - {site.name for site in everything}
    if missing:
        raise InputError(
            f"{plan} names {len(missing)} of {len(plan.modules)} modules that this {name} does not "
            f"have, such as {min(missing)!r}: it was made for another model"
        )
    if joint and "joint" not in plan.kinds and {"cross", "self"} & {*plan.kinds}:
        warn(f"{name}: {plan} leaves its {joint} joint attention sites alone")
    for site in acted:
        module = denoiser.submodule(site)
        if site.kind not in KINDS:
            continue
        if "AddedKV" in type(getattr(module, "processor", None)).__name__ or (
            adds_its_input(module) and not hasattr(module, "rescale_output_factor")
        ):
            raise InputError(
                f"{name}: {site.name} adds its input to its output in a way that cannot be switched "
                f"off, so {plan} cannot reuse it"
            )


def _check_guidance(plan: Plan, pipe: Any) -> None:
    name = type(pipe).__name__
    call = inspect.unwrap(type(pipe).__call__)
    reason = None
    apart = "cache_context" in call.__code__.co_names
    if apart and "cond_uncond" not in call.__code__.co_consts:
        reason = "it calls its denoiser once per guidance branch, so no batch holds two"
    elif hasattr(type(pipe), "do_perturbed_attention_guidance"):
        reason = "perturbed-attention guidance is a branch of its own"
    elif "image_guidance_scale" in inspect.signature(call).parameters:
        reason = "it guides by text and by image, with three branches"
    if reason:
        raise InputError(
            f"{plan} drops a guidance branch, which {name} does not support: {reason} "
            "(cross-reuse and the self-reuse plans drop none)"
        )
