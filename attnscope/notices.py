"""Warnings that point at the line of the user's own that led to them."""

from __future__ import annotations

import sys
import warnings
from types import FrameType

_BETWEEN = ("attnscope", "torch", "diffusers", "transformers", "accelerate", "contextlib")
"""Packages whose lines tell a user nothing: ours, and those that call our hooks."""


def warn(message: str) -> None:
    """Warn, as of the innermost line that is neither ours nor of a library that called us.

    Args:
        message: what fell short, and what to do about it.
    """
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and frame.f_back is not None and _is_between(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def _is_between(frame: FrameType) -> bool:
    name = str(frame.f_globals.get("__name__", ""))
    return name.partition(".")[0] in _BETWEEN
