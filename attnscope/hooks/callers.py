"""Who calls the denoiser: the traced pipeline, another one that shares it, or a loop by hand.

Servers put several pipelines over one denoiser, callbacks call it between two steps, and a run
that was cancelled leaves a clock that still waits for its next step. Whose a call is stands on the
stack: the nearest method of a pipeline is the caller.
"""

from __future__ import annotations

import inspect
import sys
import threading
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


class Owner:
    """Whose a run is: who has set the scheduler for it, and who calls the denoiser in its first step.

    Args:
        pipe: the pipeline that has set the scheduler; ``None`` is a loop by hand.

    Attributes:
        pipe: once the run has begun, the pipeline that calls the denoiser.
        codes: the functions that call the denoiser in the first step; later calls by others are
            those of callbacks.
    """

    def __init__(self, pipe: Any | None = None) -> None:
        self.pipe = pipe
        self.codes: set[CodeType | None] = set()
        self._thread = threading.get_ident()

    def begin(self, who: Caller) -> None:
        """The run begins with this call. Who sets the scheduler by hand may leave it to a pipeline."""
        self.pipe = who.pipe
        self.codes.add(who.code)

    def is_calling(self, who: Caller) -> bool:
        """Whether a call is the owner's; the first one of a loop by hand is told by its thread."""
        if self.pipe is None and not self.codes:
            return self._thread == threading.get_ident()
        return who.pipe is self.pipe

    def is_at_work(self) -> bool:
        """Whether calls of the owner may still come, when somebody else makes one.

        A pipeline is at work while one of its methods runs. A loop by hand leaves no such trace: it
        is taken to have ended once it has begun.
        """
        return not self.codes if self.pipe is None else is_running(self.pipe)


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
