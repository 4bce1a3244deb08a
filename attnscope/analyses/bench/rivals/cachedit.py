"""Cache-DiT: the blocks of a transformer are left out where the first ones change little."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from typing import Any

from attnscope.analyses.bench.rivals.base import Call, Task, registered
from attnscope.errors import InputError

_LOG_LEVEL = "CACHE_DIT_LOG_LEVEL"
_FIRST_BLOCKS = 8
"""That are computed at every step unless it is told otherwise."""


@registered(
    "cache-dit", "Cache-DiT", "cache-dit", by_values=True, caches=True,
    about="DBCache, F8B0 (F1B0 of 8 blocks or fewer), 8 steps first, threshold 0.08",
)  # fmt: skip
@contextlib.contextmanager
def cache_dit(pipe: Any, task: Task) -> Iterator[Call]:
    """DBCache with the settings that it has by itself, but for transformers of few blocks.

    It computes the first 8 blocks at every step. Of the 8 of a small transformer that is all: it
    counts steps as cached and leaves nothing out. There it computes the first one, the other of the
    settings that its guide shows. Whether guidance branches come in one batch or call by call it
    knows of each pipeline; without guidance there is one call.
    """
    package = _imported()
    known = package.BlockAdapterRegister
    if not known.is_supported(pipe):
        raise InputError(f"it knows no blocks of {type(pipe).__name__}")
    lists = _flat(known.get_adapter(pipe, skip_post_init=True).blocks)
    fewest = min(len(blocks) for blocks in lists)
    settings = package.DBCacheConfig(
        Fn_compute_blocks=_FIRST_BLOCKS if fewest > _FIRST_BLOCKS else 1,
        enable_separate_cfg=None if task.guided else False,
    )
    try:
        package.enable_cache(pipe, cache_config=settings)
        yield pipe
    finally:  # it stands on the pipeline's class, too
        package.disable_cache(pipe)


def _imported() -> Any:
    """The package, which prints what it does as it goes unless it is told not to when it loads."""
    told = os.environ.get(_LOG_LEVEL)
    os.environ[_LOG_LEVEL] = told or "error"
    try:
        return importlib.import_module("cache_dit")
    finally:
        if told is None:
            del os.environ[_LOG_LEVEL]


def _flat(found: Any) -> list[Any]:
    """Modules, of which there may be one, a list, or lists."""
    if isinstance(found, list):
        return [module for each in found for module in _flat(each)]
    return [found]
