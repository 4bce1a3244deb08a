"""Counting the multiply-accumulates of one call of a denoiser from the shapes that it computes on.

Every function of torch that multiplies is seen as it is called, with the module that called it.
Attention is seen as one call on queries, keys and values, whichever kernel carries it out: torch's
own counter takes it apart on some devices and misses it on others.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.attention import FeedForward
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from attnscope.cost.counts import Counts, PartCost, SiteCost
from attnscope.errors import InputError, reason
from attnscope.sites.attention import confirmed_kind
from attnscope.sites.denoiser import Denoiser

if TYPE_CHECKING:
    from attnscope.models.architectures import Architecture


def count(denoiser: nn.Module, call: Callable[[], Any]) -> Counts:
    """Count what a denoiser computes in a call.

    Args:
        denoiser: of diffusers, on any device; on ``meta`` it takes neither time nor memory.
        call: calls it once, on one row if the counts are to be those of a row.

    Raises:
        InputError: it has no attention.
        RuntimeError: it has weights whose use cannot be counted.
    """
    found = Denoiser(denoiser)
    with _Watch(found).attached() as watch, torch.no_grad(), watch:
        call()
    watch.check()
    return Counts(
        sites=tuple(
            SiteCost(
                site.name, watch.kinds.get(site.name, site.kind), site.block, site.index,
                watch.inside[site.name, "projections"], watch.inside[site.name, "products"],
                _parameters(found.submodule(site)), watch.outputs[site.name],
            )
            for site in found.sites
        ),
        elsewhere=dict(watch.elsewhere),
        parameters=_parameters(found.module),
        modules=dict(watch.modules),
        around=tuple(
            PartCost(
                site.name, site.kind, site.block, site.index,
                watch.parts_of(site.name), watch.outputs[site.name], watch.shortcuts[site.name],
            )
            for site in found.around
            if site.name in watch.within
        ),
    )  # fmt: skip


def count_architecture(architecture: Architecture) -> Counts:
    """Count one call on one row of a denoiser that is built for it without weights.

    Raises:
        InputError: diffusers cannot build the denoiser, no inputs of it are known, or it does not
            take those that are.
    """
    try:
        return _counted(_anonymous(architecture))
    except InputError as error:
        raise InputError(f"{architecture.name}: {error}") from error
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{architecture.name}: a call of this {architecture.class_name} cannot be counted: "
            f"{reason(error)}"
        ) from error


@lru_cache(maxsize=64)
def _counted(architecture: Architecture) -> Counts:
    from attnscope.models.building import inputs

    denoiser = _built(replace(architecture, height=0, width=0, tokens=0, frames=0))
    return count(denoiser, partial(denoiser, **inputs(denoiser, architecture)))


def _anonymous(architecture: Architecture) -> Architecture:
    """What matters to the counts: some models differ in name only."""
    return replace(architecture, name="", source="", guided=True, steps=1)


@lru_cache(maxsize=2)
def _built(architecture: Architecture) -> Any:
    """The denoiser, which does not depend on what it is called on."""
    from attnscope.models.building import build

    return build(architecture)


class _Watch(TorchFunctionMode):
    """Sees every multiplication, and which module it belongs to."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.names = {module: name for name, module in denoiser.module.named_modules()}
        self.by_name = {site.name: site for site in denoiser.sites}
        self.kinds: dict[str, str] = {}
        self.around = {site.name for site in denoiser.around}
        self.within: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.inside: Counter[tuple[str, str]] = Counter()
        self.outputs: Counter[str] = Counter()
        self.shortcuts: Counter[str] = Counter()
        self.elsewhere: Counter[str] = Counter()
        self.modules: Counter[str] = Counter()
        self._stack: list[nn.Module] = []
        self._called: set[nn.Module] = set()
        self._multiplied: set[nn.Module] = set()

    @contextmanager
    def attached(self) -> Iterator[_Watch]:
        """Follow which module is being called."""
        handles = []
        try:
            for module in self.names:
                handles.append(module.register_forward_pre_hook(self._enter))
                handles.append(module.register_forward_hook(self._leave, with_kwargs=True))
            yield self
        finally:
            for handle in handles:
                handle.remove()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = _shape_only(func, args)
        if result is None:
            result = func(*args, **(kwargs or {}))
        if func in _FORMULAS:
            products, formula = _FORMULAS[func]
            self._add(formula(result, *args, **(kwargs or {})), products=products)
        return result

    def check(self) -> None:
        """Make sure that nothing that multiplies went unseen.

        Raises:
            RuntimeError: a module with a matrix of weights was called, and nothing was counted.
        """
        for module in self._called - self._multiplied:
            matrices = [p for p in module.parameters(recurse=False) if p.ndim > 1]
            if matrices and not any(module.children()) and not isinstance(module, nn.Embedding):
                raise RuntimeError(
                    f"{self.names[module]}, a {type(module).__name__}, has weights, but nothing that "
                    "it computes could be counted"
                )

    def _add(self, macs: int, *, products: bool) -> None:
        self._multiplied.update(self._stack[-1:])
        names = [self.names[module] for module in self._stack]
        site = next((name for name in reversed(names) if name in self.by_name), None)
        if not products and names:
            self.modules[names[-1]] += macs
        if site is None:
            part = self._part()
            self.elsewhere[part] += macs
        else:
            # Its kind, which the part is named by, is known when the call is over.
            part = "products" if products else "projections"
            self.inside[site, part] += macs
            part = f"{site} {part}"
        for name in self.around.intersection(names):
            if names[-1] == f"{name}.conv_shortcut":
                self.shortcuts[name] += macs
            else:
                self.within[name][part] += macs

    def _part(self) -> str:
        """What is multiplied outside of attention."""
        if any(isinstance(module, FeedForward) for module in self._stack):
            return "feed-forward"
        if self._stack and isinstance(self._stack[-1], _CONVOLUTIONS):
            return "convolution"
        return "rest"

    def parts_of(self, name: str) -> dict[str, int]:
        """What a part of the denoiser computes, by part, now that the call is over."""
        found: Counter[str] = Counter()
        for part, macs in self.within[name].items():
            site, _, what = part.rpartition(" ")
            found[f"{self.kinds[site]} {what}" if site else part] += macs
        return dict(found)

    def _enter(self, module: nn.Module, args: Any) -> None:
        self._stack.append(module)
        self._called.add(module)

    def _leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        self._stack.pop()
        name = self.names[module]
        if name in self.by_name:
            self.kinds[name] = confirmed_kind(self.by_name[name], module, args, kwargs, output)
        if name in self.by_name or name in self.around:
            self.outputs[name] = sum(part.numel() for part in _tensors(output))


def _tensors(output: Any) -> list[Tensor]:
    """The streams that a module returns."""
    if isinstance(output, Tensor):
        return [output]
    parts = output.values() if isinstance(output, dict) else output
    return [part for part in parts if isinstance(part, Tensor)]


_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d)


def _linear(result: Tensor, given: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    return given.numel() * weight.shape[0]


def _convolved(result: Tensor, given: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    return result.numel() * prod(weight.shape[1:])


def _transposed(result: Tensor, given: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    return given.numel() * prod(weight.shape[1:])


def _attended(result: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    """Queries ``[..., positions, channels]`` with keys, and the weights with values."""
    channels = query.shape[-1]
    return query.numel() // channels * key.shape[-2] * (channels + value.shape[-1])


def _multiplied(result: Tensor, left: Tensor, *_: Any, **__: Any) -> int:
    return result.numel() * left.shape[-1]


def _multiplied_and_added(result: Tensor, added: Tensor, left: Tensor, *_: Any, **__: Any) -> int:
    return result.numel() * left.shape[-1]


def _summed_over(result: Tensor, equation: str, *operands: Tensor) -> int:
    """An einsum: of one operand it moves numbers about, of two every label is a loop."""
    if len(operands) == 1:
        return 0
    labels = equation.replace(" ", "").partition("->")[0].split(",")
    if len(operands) != 2 or "." in equation:
        raise RuntimeError(f"the denoiser calls einsum({equation!r}), which cannot be counted yet")
    sizes = {
        label: size
        for subscript, operand in zip(labels, operands, strict=True)
        for label, size in zip(subscript, operand.shape, strict=True)
    }
    return prod(sizes.values())


def _unknown(name: str) -> Callable[..., int]:
    def formula(*_: Any, **__: Any) -> int:
        raise RuntimeError(f"the denoiser calls {name}, which cannot be counted yet")

    return formula


_FORMULAS: dict[Any, tuple[bool, Callable[..., int]]] = {
    functional.linear: (False, _linear),
    **dict.fromkeys((functional.conv1d, functional.conv2d, functional.conv3d, torch.conv1d, torch.conv2d, torch.conv3d), (False, _convolved)),
    **dict.fromkeys((functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d), (False, _transposed)),
    functional.scaled_dot_product_attention: (True, _attended),
    **dict.fromkeys((torch.mm, torch.bmm, torch.matmul, Tensor.mm, Tensor.bmm, Tensor.matmul,
                     Tensor.__matmul__), (True, _multiplied)),
    **dict.fromkeys((torch.addmm, torch.baddbmm, Tensor.addmm, Tensor.baddbmm), (True, _multiplied_and_added)),
    torch.einsum: (True, _summed_over),
    **{function: (True, _unknown(name)) for name, function in (
        ("torch.tensordot", torch.tensordot), ("F.bilinear", functional.bilinear),
        ("F.multi_head_attention_forward", functional.multi_head_attention_forward))},
}  # fmt: skip
"""Function of torch to whether it is one of attention's two products, and to its formula."""


_KEEPS_SHAPE = {
    functional.layer_norm,
    functional.group_norm,
    functional.gelu,
    functional.silu,
}


def _shape_only(func: Any, args: tuple[Any, ...]) -> Tensor | None:
    """The result on ``meta``, where it is only a shape: torch's own way there takes twice as long."""
    if not args or not isinstance(args[0], Tensor) or not args[0].is_meta:
        return None
    if func in _KEEPS_SHAPE:
        return torch.empty_like(args[0])
    if func is functional.scaled_dot_product_attention and len(args) > 2:
        return args[0].new_empty(*args[0].shape[:-1], args[2].shape[-1])
    return None


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
