"""Who calls the denoiser: the traced pipeline, another one that shares it, or a loop by hand.

Servers put several pipelines over one denoiser, callbacks call it between two steps, and a run
that was cancelled leaves a clock that still waits for its next step. Whose a call is stands on the
stack: the nearest method of a pipeline is the caller.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

_BETWEEN = ("torch", "accelerate", "attnscope", "diffusers.hooks", "diffusers.models")
"""Packages that stand between a call and the module that is called; they call nothing of their own."""


@dataclass(frozen=True)
class Caller:
    """What the stack says of a call.

    Args:
        pipe: the nearest pipeline that a method of is running; ``None`` in a loop by hand.
        ships: whether that method is code of diffusers, whose habits are known.
        apart: whether the call comes from a function that is not the pipeline's, which a method of
            the pipeline has called: a callback.
        where: the function that makes the call, with its file and line.
    """

    pipe: Any | None
    ships: bool
    apart: bool
    where: str


def who_calls() -> Caller:
    """Whose call this is."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_between(frame):
        frame = frame.f_back
    if frame is None:
        return Caller(None, False, False, "unknown code")
    code, own = frame.f_code, _module(frame).startswith("diffusers.")
    where = f"{code.co_qualname} ({code.co_filename}:{frame.f_lineno})"
    direct = frame
    while frame is not None:
        pipe = pipeline_of(frame)
        if pipe is not None:
            ships = _module(frame).startswith("diffusers.")
            return Caller(pipe, ships, frame is not direct and not own, where)
        frame = frame.f_back
    return Caller(None, False, False, where)


def is_running(pipe: Any) -> bool:
    """Whether a method of a pipeline is on the stack of any thread."""
    for frame in sys._current_frames().values():
        above: FrameType | None = frame
        while above is not None:
            if pipeline_of(above) is pipe:
                return True
            above = above.f_back
    return False


def pipeline_of(frame: FrameType) -> Any | None:
    """The pipeline that a frame is a method of; a function that is given one is no method of it."""
    code = frame.f_code
    if code.co_argcount == 0 or _is_between(frame):
        return None
    owner = frame.f_locals.get(code.co_varnames[0])
    if not hasattr(getattr(owner, "scheduler", None), "set_timesteps"):
        return None
    return owner if code is _code(getattr(owner, code.co_name, None)) else None


def _is_between(frame: FrameType) -> bool:
    module = _module(frame)
    return any(module == name or module.startswith(f"{name}.") for name in _BETWEEN)


def _module(frame: FrameType) -> str:
    name: str = frame.f_globals.get("__name__", "")
    return name


def _code(method: Any) -> CodeType | None:
    """The code of a method behind its decorators."""
    function = getattr(method, "__func__", method)
    return getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
