"""Taking a module apart: its own contribution, which is kept and reused, and the path around it.

A plan reuses what a module adds to the stream that passes through it, never the stream: what came in
afresh goes on. Attention and feed-forwards return nothing but their contribution, unless they add
their input themselves; a residual block, a transformer block and a whole transformer of a U-Net
return the stream, so that their input (by the shortcut, where there is one) is taken off again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from attnscope.sites.around import argument, stream_of
from attnscope.sites.attention import Site

Own = tuple[Tensor | None, ...]
"""What is kept of a call: a tensor a stream, ``None`` for what is none."""
Given = tuple[tuple[Any, ...], Mapping[str, Any]]
"""Positional and keyword arguments of a call."""


class Whole:
    """A module that returns its own contribution and nothing else."""

    def compute(self, module: nn.Module, forward: Callable[..., Any], given: Given) -> Any:
        """The result of a call, from which the other methods go on."""
        args, kwargs = given
        return forward(*args, **kwargs)

    def output(self, module: nn.Module, result: Any, given: Given) -> Any:
        """What the module returns, of what was computed."""
        return result

    def own(self, module: nn.Module, result: Any, given: Given) -> Own:
        """What is kept of it."""
        keys = tuple(result) if isinstance(result, dict) else None
        self._form = None if isinstance(result, Tensor) else (type(result), keys)
        return tensors_of(result)

    def completed(self, module: nn.Module, own: Own, given: Given) -> Any:
        """What the module returns, of what was kept and of its fresh input."""
        return _formed(self._form, own)


class SelfAdding(Whole):
    """Attention that adds its input to its result and rescales the sum, by switches of its own."""

    def compute(self, module: nn.Module, forward: Callable[..., Any], given: Given) -> Any:
        """The result with both switched off."""
        with _switched_off(module):
            return super().compute(module, forward, given)

    def output(self, module: Any, result: Any, given: Given) -> Any:
        """With the module's own residual connection and rescaling applied."""
        if module.residual_connection:
            result = result + first_of(*given)
        return result / module.rescale_output_factor

    def completed(self, module: nn.Module, own: Own, given: Given) -> Any:
        """The same of what was kept."""
        return self.output(module, super().completed(module, own, given), given)


class Residual(Whole):
    """A module that returns the stream behind it.

    Args:
        site: the module's, for the error.
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    def own(self, module: nn.Module, result: Any, given: Given) -> Own:
        """The stream less what passed by; in the stream's dtype, whose rounding it therefore has.

        Raises:
            RuntimeError: it returns a stream that it was not given.
        """
        behind = super().own(module, result, given)
        self._places = _places(module, behind, given)
        factor = getattr(module, "output_scale_factor", 1.0)
        pairs = zip(behind, self._passing(module, given), strict=True)
        found: list[Tensor | None] = []
        for after, before in pairs:
            if after is None:  # the last block of Stable Diffusion 3 lets the text go
                found.append(None)
                continue
            if not isinstance(before, Tensor) or after.shape != before.shape:
                raise RuntimeError(
                    f"{self._site.name} returns another stream than it is given, so what it adds "
                    "to it is not known: this denoiser is not supported by plans that reuse it"
                )
            found.append((after * factor if factor != 1 else after) - before)
        return tuple(found)

    def completed(self, module: nn.Module, own: Own, given: Given) -> Any:
        """What was kept, added to what passes by now."""
        factor = getattr(module, "output_scale_factor", 1.0)
        pairs = zip(own, self._passing(module, given), strict=True)
        sums = tuple(
            None if kept is None or now is None else _over(kept + now, factor)
            for kept, now in pairs
        )
        return super().completed(module, sums, given)

    def _passing(self, module: Any, given: Given) -> Own:
        """What passes the module by: its streams, through the shortcut of a residual block."""
        streams = tuple(argument(name, module, *given) for name in self._places)
        shortcut = getattr(module, "conv_shortcut", None)
        return streams if shortcut is None else tuple(map(shortcut, streams))


def _over(stream: Tensor, factor: float) -> Tensor:
    return stream if factor == 1 else stream / factor


def way_of(site: Site, module: nn.Module, *, acts: bool) -> Whole:
    """How a module is taken apart.

    Args:
        site: the module's.
        module: which is hooked.
        acts: whether a plan acts on anything; if not, nothing is taken apart.
    """
    if site.kind in ("block", "resnet", "transformer"):
        return Residual(site)
    apart = acts and site.kind != "joint" and adds_its_input(module)
    return SelfAdding() if apart else Whole()


def adds_its_input(module: nn.Module) -> bool:
    """Whether an attention module adds its input to its result or rescales the sum itself."""
    residual: bool = getattr(module, "residual_connection", False)
    return residual or getattr(module, "rescale_output_factor", 1.0) != 1.0


def first_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What a module is given first: attention attends from it, a stream begins with it."""
    if args:
        return args[0]
    return kwargs.get("hidden_states", kwargs.get("input_tensor"))


def tensors_of(result: Any) -> Own:
    """The streams that a module returns.

    Raises:
        RuntimeError: there are other things among them.
    """
    parts = (result,) if isinstance(result, Tensor) else tuple(_parts(result))
    if any(part is not None and not isinstance(part, Tensor) for part in parts) or not parts:
        raise RuntimeError(
            f"what would be kept is a {type(result).__name__} of more than tensors: this denoiser is "
            "not supported by plans that reuse it"
        )
    return parts


def _parts(result: Any) -> Any:
    if isinstance(result, dict):  # diffusers' output classes are
        return result.values()
    return result if isinstance(result, (list, tuple)) else (object(),)


def _formed(form: tuple[type[Any], tuple[str, ...] | None] | None, own: Own) -> Any:
    """Streams in the form in which the module returned them: its type, and the names of its parts."""
    if form is None:
        return own[0]
    kind, keys = form
    return kind(own) if keys is None else kind(**dict(zip(keys, own, strict=True)))


def _places(module: nn.Module, behind: Own, given: Given) -> tuple[str, ...]:
    """The arguments that hold what passes by, in the order of what is returned."""
    kind: Any = type(module)
    image = stream_of(kind)
    if len(behind) == 1:
        return (image.argument,)
    return tuple(
        image.argument if place == image.place else "encoder_hidden_states"
        for place in range(len(behind))
    )


@contextlib.contextmanager
def _switched_off(module: Any) -> Iterator[None]:
    """Switch a module's residual connection and rescaling off."""
    own = module.residual_connection, module.rescale_output_factor
    module.residual_connection, module.rescale_output_factor = False, 1.0
    try:
        yield
    finally:
        module.residual_connection, module.rescale_output_factor = own
