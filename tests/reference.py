"""T-GATE written out: a plain loop over denoiser and scheduler with explicit caching, no hooks.

It shares nothing with ``attnscope`` but the names of the modules that are attention.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools

import torch
from torch import nn


class Recorded:
    """What a pipeline gives its denoiser and its scheduler first."""

    def __init__(self, pipe, call):
        self.pipe = pipe
        self.denoiser = pipe.unet if hasattr(pipe, "unet") else pipe.transformer

        def note_call(module, args, kwargs):
            if not hasattr(self, "kwargs"):
                self.args, self.kwargs = args, kwargs

        handle = self.denoiser.register_forward_pre_hook(note_call, with_kwargs=True)
        step, signature = pipe.scheduler.step, inspect.signature(pipe.scheduler.step)

        def note_step(*args, **kwargs):
            bound = signature.bind(*args, **kwargs)
            if not hasattr(self, "latents"):
                self.latents = bound.arguments["sample"].clone()
                generator = bound.arguments.get("generator")
                self.noise_state = None if generator is None else generator.get_state()
            return step(*args, **kwargs)

        note_step.__signature__ = signature
        pipe.scheduler.step = note_step
        call()
        del pipe.scheduler.step
        handle.remove()


class Cached(nn.Module):
    """An attention module that is told what to do."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.mode, self.kept = inner, "compute", None

    def forward(self, *args, **kwargs):
        if self.mode == "reuse":
            return self.kept
        output = self.inner(*args, **kwargs)
        if self.mode == "store":
            self.kept = output
        return output


def tgate(recorded, *, steps, guidance, m, k=1, w=2, f=1):
    """Latents of T-GATE, or of the plain pipeline for ``m=None``."""
    m = steps + 1 if m is None else m

    def modes(i):
        return _tgate_modes(i, m, k, w, f)

    return _loop(recorded, steps, guidance, modes, gate=m)


def cross_reuse(recorded, *, steps, guidance, m):
    """Latents where cross-attention is kept at step m - 1 and both branches run on."""
    modes = ["compute"] * (m - 1) + ["store"] + ["reuse"] * (steps - m)
    return _loop(recorded, steps, guidance, lambda i: ("compute", modes[i]), gate=steps + 1)


def _loop(recorded, steps, guidance, modes, gate):
    pipe, denoiser, latents = recorded.pipe, recorded.denoiser, recorded.latents
    video = latents.ndim == 5
    kwargs = dict(recorded.kwargs)
    given = recorded.args[0]
    branches = len(given) // len(latents)
    # Stable Video Diffusion's image, beside the noise in the channels.
    image = given[:, :, latents.shape[2] :] if video else None
    repeated_time = kwargs.pop("timestep", None) is not None  # PixArt gives it row by row
    attention = {
        name: module
        for name, module in denoiser.named_modules()
        if name.endswith(("attn1", "attn2"))
    }
    cached = {name: Cached(module) for name, module in attention.items()}
    for name, module in cached.items():
        parent, _, leaf = name.rpartition(".")
        setattr(denoiser.get_submodule(parent), leaf, module)
    selfs = [module for name, module in cached.items() if name.endswith("attn1")]
    crosses = [module for name, module in cached.items() if name.endswith("attn2")]
    generator = torch.Generator()
    if recorded.noise_state is not None:
        generator.set_state(recorded.noise_state)
    pipe.scheduler.set_timesteps(steps)
    try:
        for i, t in enumerate(pipe.scheduler.timesteps):
            own, other = modes(i)
            for modules, mode in ((selfs, own), (crosses, other)):
                for module in modules:
                    module.mode = mode
            both = branches == 2 and i < gate
            if i == gate and branches == 2:
                for module in cached.values():
                    if module.kept is not None:
                        first, second = module.kept.chunk(2)
                        module.kept = (first + second) / 2
            x = torch.cat([latents] * 2) if both else latents
            x = pipe.scheduler.scale_model_input(x, t)
            if video:
                conditional = image if both or branches == 1 else image[len(latents) :]
                x = torch.cat([x, conditional], dim=2)
            inputs = (
                kwargs if both or branches == 1 else _half(kwargs, 1 if video else 0, len(latents))
            )
            noise = denoiser(x, timestep=t.expand(len(x)) if repeated_time else t, **inputs)[0]
            if both:
                uncond, cond = noise.chunk(2)
                noise = uncond + guidance * (cond - uncond)
            channels = latents.shape[2 if video else 1]
            if not video and noise.shape[1] == 2 * channels:
                noise = noise[:, :channels]
            takes = inspect.signature(pipe.scheduler.step).parameters
            options = {"generator": generator} if "generator" in takes else {}
            latents = pipe.scheduler.step(noise, t, latents, **options, return_dict=False)[0]
    finally:
        for name, module in attention.items():
            parent, _, leaf = name.rpartition(".")
            setattr(denoiser.get_submodule(parent), leaf, module)
    return latents


def _tgate_modes(i, m, k, w, f):
    """What self- and cross-attention do at step i."""
    if i == m - 1:
        return "store", "store"
    if i >= m:
        return "store" if i % f == 0 else "reuse", "reuse"
    if i < w:
        return "compute", "compute"
    return "store" if i == w or i % k == 0 else "reuse", "compute"


def _half(kwargs, which, samples):
    part = slice(which * samples, (which + 1) * samples)
    halved = {}
    for name, value in kwargs.items():
        if isinstance(value, torch.Tensor):
            value = value[part]
        elif isinstance(value, dict):
            value = {key: v[part] if isinstance(v, torch.Tensor) else v for key, v in value.items()}
        halved[name] = value
    return halved


class Lanes(nn.Module):
    """An attention module that is told what to do, with a cache for each kind of call."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.mode, self.lane, self.kept = inner, "compute", 0, {}

    def forward(self, *args, **kwargs):
        if self.mode == "reuse":
            return self.kept[self.lane]
        output = self.inner(*args, **kwargs)
        if self.mode == "store":
            self.kept[self.lane] = output
        return output


@contextlib.contextmanager
def patched(pipe, modes, *, gate=None, part=0, calls_per_step=1, averaged=True):
    """A whole pipeline with its denoiser's forward replaced, for any pipeline.

    From ``gate`` on both halves of the batch are made alike, which is what dropping the other half
    and returning the kept one twice comes to. What was kept is averaged over them, or is the kept half's.
    """
    denoiser = pipe.unet if hasattr(pipe, "unet") else pipe.transformer
    names = [name for name, _ in denoiser.named_modules() if name.endswith(("attn1", "attn2"))]
    attention = {name: denoiser.get_submodule(name) for name in names}
    lanes = {name: Lanes(module) for name, module in attention.items()}
    forward, count = denoiser.forward, itertools.count()

    def call(*args, **kwargs):
        step, lane = divmod(next(count), calls_per_step)
        own, other = modes(step)
        for name, module in lanes.items():
            module.mode = own if name.endswith("attn1") else other
            module.lane = lane
            if step == gate:
                for key, kept in module.kept.items():
                    halves = kept.chunk(2)
                    one = sum(halves) / 2 if averaged else halves[part]
                    module.kept[key] = torch.cat([one] * 2)
        if gate is not None and step >= gate:
            batch = len(args[0])
            args, kwargs = _alike(args, batch, part), _alike(kwargs, batch, part)
        return forward(*args, **kwargs)

    for name, module in lanes.items():
        parent, _, leaf = name.rpartition(".")
        setattr(denoiser.get_submodule(parent), leaf, module)
    denoiser.forward = call
    try:
        yield
    finally:
        del denoiser.forward
        for name, module in attention.items():
            parent, _, leaf = name.rpartition(".")
            setattr(denoiser.get_submodule(parent), leaf, module)


def tgate_patched(pipe, *, m, k=1, w=2, f=1, part=0, averaged=True):
    """T-GATE on a whole pipeline; ``part`` is the half of the batch that stays."""
    modes = lambda i: _tgate_modes(i, m, k, w, f)  # noqa: E731
    return patched(pipe, modes, gate=m, part=part, averaged=averaged)


def _alike(value, batch, part):
    if isinstance(value, torch.Tensor):
        if value.ndim and len(value) == batch:
            return torch.cat([value.chunk(2)[part]] * 2)
        return value
    if isinstance(value, dict):
        return {key: _alike(item, batch, part) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_alike(item, batch, part) for item in value)
    return value
