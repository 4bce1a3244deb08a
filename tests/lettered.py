"""Plans that say by letters what modules do at every step, and the same written out by hand.

``c`` computes, ``s`` stores, ``r`` reuses and ``f`` forecasts; of guidance ``b`` is both branches,
``c`` the conditional and ``u`` the unconditional one.
"""

from __future__ import annotations

import contextlib
import inspect
from dataclasses import dataclass, replace

import denoisers
import torch
import toys
from diffusers.models.resnet import ResnetBlock2D

from attnscope import Action, Plan
from attnscope.models import building
from attnscope.sites.denoiser import Denoiser

ACTIONS = {"c": Action.COMPUTE, "s": Action.STORE, "r": Action.REUSE, "f": Action.FORECAST}
BRANCHES = {"b": "both", "c": "cond", "u": "uncond"}


@dataclass(frozen=True)
class Lettered(Plan):
    """What modules of some kinds, and guidance, do at every step."""

    acting: tuple[str, ...]
    letters: str
    guidance: str = ""
    mean: bool = False
    weight: float = 0.0
    only: str = ""
    differences: int = 1

    @property
    def kinds(self):
        return self.acting

    @property
    def averages(self):
        return self.mean

    def action(self, site, step):
        acts = not self.only or site.name == self.only
        return ACTIONS[self.letters[step]] if acts else Action.COMPUTE

    def order(self, site):
        return self.differences

    def keeps(self, step):
        return BRANCHES[self.guidance[step]] if self.guidance else "both"

    def direction(self, step):
        return self.weight


def pipeline(name, folder):
    """A tiny pipeline, or a loop around a denoiser, and a function that runs it over some steps."""
    if name == "wan":
        pipe = toys.wan()
        return pipe, lambda steps: toys.call_wan(pipe, steps=steps)
    if name in toys.FAMILIES:
        pipe = toys.FAMILIES[name](folder)
        return pipe, lambda steps: toys.call(pipe, steps=steps)
    loop = _latte() if name == "latte" else denoisers.Loop(name, guided=True)
    return loop, loop


def _latte():
    found = toys.latte_architecture()  # without the variance, which no step of a loop asks for
    found = replace(found, config=found.config.replace('"out_channels": 8', '"out_channels": 4'))
    loop = denoisers.Loop("flux")
    torch.manual_seed(0)
    loop.transformer = building.build(found, device="cpu", seed=0).eval().requires_grad_(False)
    given = building.inputs(loop.transformer, found)
    loop.given, loop.guided = {"hidden_states": given.pop("hidden_states"), **given}, True
    return loop


def sites(pipe, kind):
    """The sites of a kind by name."""
    of = Denoiser.of(pipe)
    return {s.name: of.submodule(s) for s in (*of.sites, *of.around) if s.kind == kind}


def passing(module, args, kwargs):
    """What goes past a module that returns the stream behind it, in the order of what it returns."""
    given = inspect.signature(type(module).forward).bind(module, *args, **kwargs).arguments
    if isinstance(module, ResnetBlock2D):
        stream = given["input_tensor"]
        return (stream if module.conv_shortcut is None else module.conv_shortcut(stream),)
    image, text = given["hidden_states"], given.get("encoder_hidden_states")
    two = type(module).__name__ in (
        "JointTransformerBlock",
        "FluxTransformerBlock",
        "FluxSingleTransformerBlock",
    )
    return (text, image) if two else (image,)


def contribution(kind, module, args, kwargs, output):
    """What a module adds, of every stream that it returns; of most it is all that it returns."""
    parts = (output,) if isinstance(output, torch.Tensor) else tuple(output)
    if kind not in ("block", "resnet", "transformer"):
        return parts
    factor = getattr(module, "output_scale_factor", 1.0)
    pairs = zip(parts, passing(module, args, kwargs), strict=True)
    return tuple(None if part is None else part * factor - past for part, past in pairs)


def added(kind, module, args, kwargs, own):
    """What a module returns, of what it added before and of what goes past it now."""
    if kind not in ("block", "resnet", "transformer"):
        return own
    factor = getattr(module, "output_scale_factor", 1.0)
    pairs = zip(own, passing(module, args, kwargs), strict=True)
    return tuple(None if part is None else (part + past) / factor for part, past in pairs)


@contextlib.contextmanager
def by_hand(pipe, kind, letters, *, calls_per_step=1):
    """Modules that store and reuse with no hook of ours: their forwards are put in by hand."""
    denoiser, calls = Denoiser.of(pipe).module, [0]
    modules = sites(pipe, kind)
    for module in modules.values():

        def forward(*args, module=module, original=module.forward, kept={}, **kwargs):  # noqa: B006
            call = calls[0] % calls_per_step
            letter = letters[calls[0] // calls_per_step]
            if letter == "r":
                own, single = kept[module, call]
                parts = added(kind, module, args, kwargs, own)
                return parts[0] if single else parts
            output = original(*args, **kwargs)
            if letter == "s":
                own = contribution(kind, module, args, kwargs, output)
                kept[module, call] = own, isinstance(output, torch.Tensor)
            return output

        module.forward = forward
    counter = denoiser.register_forward_hook(lambda *_: calls.__setitem__(0, calls[0] + 1))
    try:
        yield
    finally:
        counter.remove()
        for module in modules.values():
            del module.forward
