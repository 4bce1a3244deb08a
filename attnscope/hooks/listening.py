"""Hearing what a pipeline calls on its way, by methods that are put on the instance for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

_PREPARE = ("prepare_latents", "prepare_intermediate_images")
"""What pipelines prepare latents by; the second is DeepFloyd IF's, whose latents are pixels."""


@contextlib.contextmanager
def put_on(owner: Any, name: str, method: Callable[..., Any]) -> Iterator[None]:
    """Put a method on an instance, and give back what was there, which may be the instance's own."""
    own = vars(owner).get(name)
    vars(owner)[name] = method
    try:
        yield
    finally:
        if own is None:
            vars(owner).pop(name, None)
        else:
            vars(owner)[name] = own


@contextlib.contextmanager
def contexts_heard(denoiser: nn.Module, hear: Callable[[str | None], None]) -> Iterator[None]:
    """Hear the names that a pipeline gives its calls by ``denoiser.cache_context(name)``.

    Args:
        denoiser: of the pipeline; one without ``cache_context`` has nothing to hear.
        hear: called with the name when the context begins, and with ``None`` when it ends.
    """
    original = getattr(denoiser, "cache_context", None)
    if original is None:
        yield
        return

    @contextlib.contextmanager
    def cache_context(name: str, *args: Any, **kwargs: Any) -> Iterator[None]:
        hear(name)
        try:
            with original(name, *args, **kwargs):
                yield
        finally:
            hear(None)

    with put_on(denoiser, "cache_context", cache_context):
        yield


@contextlib.contextmanager
def latents_heard(pipe: Any, hear: Callable[[Any], None]) -> Iterator[None]:
    """Hear the latents that a pipeline prepares, which tell how many images it makes.

    Args:
        pipe: a pipeline; one with none of :data:`_PREPARE` has nothing to hear.
        hear: called with what it returned.
    """
    name = next((name for name in _PREPARE if hasattr(pipe, name)), None)
    if name is None:
        yield
        return
    original = getattr(pipe, name)

    def prepare(*args: Any, **kwargs: Any) -> Any:
        latents = original(*args, **kwargs)
        hear(latents)
        return latents

    with put_on(pipe, name, prepare):
        yield
