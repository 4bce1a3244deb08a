"""Going through prompts in batches that fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from attnscope.errors import InputError
from attnscope.runs.progress import SILENT, Progress

T = TypeVar("T")
R = TypeVar("R")


def in_batches(
    items: Sequence[T],
    batch_size: int,
    work: Callable[[Sequence[T]], R],
    *,
    progress: Progress = SILENT,
) -> Iterator[tuple[Sequence[T], R]]:
    """Work through items batch by batch; out of memory halves the batch and goes on.

    Args:
        items: what to work through.
        batch_size: of the first batch.
        work: what to do with a batch. It may be called again with a part of the same items.
        progress: told the new batch size.

    Yields:
        Every batch and what ``work`` made of it.

    Raises:
        InputError: not even one item fits.
    """
    from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

    done = 0
    while done < len(items):
        batch = items[done : done + batch_size]
        result = _attempt(work, batch, should_reduce_batch_size)
        if isinstance(result, _OutOfMemory):
            if len(batch) == 1:
                raise InputError(
                    "out of memory with one image at a time: choose `dtype='float16'`, a smaller "
                    "`height` and `width`, or fewer `sites`"
                )
            batch_size = max(1, len(batch) // 2)
            clear_device_cache(garbage_collection=True)
            progress.halved(batch_size)
            continue
        yield batch, result
        done += len(batch)


class _OutOfMemory:
    """Stands for a batch that did not fit; the exception itself would keep its tensors alive."""


def _attempt(
    work: Callable[[Any], R], batch: Any, is_memory: Callable[[Exception], bool]
) -> R | _OutOfMemory:
    try:
        return work(batch)
    except RuntimeError as error:
        if is_memory(error):
            return _OutOfMemory()
        raise
