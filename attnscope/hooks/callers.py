"""Who calls the denoiser: the traced pipeline, another one that shares it, or a loop by hand.

Servers put several pipelines over one denoiser, callbacks call it between two steps, and a run
that was cancelled leaves a clock that still waits for its next step. Whose a call is stands on the
stack: the nearest method of a pipeline is the caller.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
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
        ships: whether that method and the function that makes the call are code of diffusers, whose
            habits are known; a block of one's own in a modular pipeline has others.
        code: of the function that makes the call.
        where: that function, with its file and line.
    """

    pipe: Any | None
    ships: bool
    code: CodeType | None
    where: str


def who_calls() -> Caller:
    """Whose this call is."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_between(frame):
        frame = frame.f_back
    if frame is None:
        return Caller(None, False, None, "unknown code")
    code = frame.f_code
    where = f"{code.co_qualname} ({code.co_filename}:{frame.f_lineno})"
    ships = _ships(frame)
    while frame is not None:
        pipe = pipeline_of(frame)
        if pipe is not None:
            return Caller(pipe, ships and _ships(frame), code, where)
        frame = frame.f_back
    return Caller(None, False, code, where)


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
    if not code.co_argcount or code.co_varnames[0] != "self" or _is_between(frame):
        return None
    owner = _self(frame)
    if not any(code is _code(names.get(code.co_name)) for names in _namespaces(owner)):
        return None
    try:  # whatever else stands on the stack may answer with an error of its own
        scheduler = getattr(owner, "scheduler", None)
    except Exception:
        return None
    return owner if hasattr(scheduler, "set_timesteps") else None


def _self(frame: FrameType) -> Any:
    """The first argument of a method."""
    snapshot = frame.f_locals
    owner = snapshot.get("self")
    if sys.version_info < (3, 13) and frame.f_code.co_flags & inspect.CO_OPTIMIZED:
        snapshot.clear()  # else the frame would keep alive what it held now until it ends
    return owner


def _namespaces(owner: Any) -> list[Mapping[str, Any]]:
    """Where methods of an object are looked up, without asking the object."""
    return [getattr(owner, "__dict__", {}), *(vars(kind) for kind in type(owner).__mro__)]


def _is_between(frame: FrameType) -> bool:
    module = _module(frame)
    return any(module == name or module.startswith(f"{name}.") for name in _BETWEEN)


def _ships(frame: FrameType) -> bool:
    return _module(frame).startswith("diffusers.")


def _module(frame: FrameType) -> str:
    name: str = frame.f_globals.get("__name__", "")
    return name


def _code(method: Any) -> CodeType | None:
    """The code of a method behind its decorators."""
    function = getattr(method, "__func__", method)
    return getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
