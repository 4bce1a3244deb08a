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
    yield from Fitting(batch_size).through(items, work, progress=progress)


class Fitting:
    """Goes through items in batches as large as fit, and remembers for the next ones what fitted.

    Args:
        size: of the first batch; ``None`` is all that there is.
    """

    def __init__(self, size: int | None = None) -> None:
        self.size = size

    def through(
        self,
        items: Sequence[T],
        work: Callable[[Sequence[T]], R],
        *,
        progress: Progress = SILENT,
    ) -> Iterator[tuple[Sequence[T], R]]:
        """Work through items; see :func:`in_batches`."""
        done = 0
        while done < len(items):
            batch = items[done : done + (self.size or len(items))]
            result = _attempt(work, batch)
            if isinstance(result, _OutOfMemory):
                self.size = _halved(len(batch), progress)
                continue
            yield batch, result
            done += len(batch)


def is_memory(error: Exception) -> bool:
    """Whether memory ran out, so that a smaller batch may do."""
    from accelerate.utils.memory import should_reduce_batch_size

    return isinstance(error, RuntimeError) and bool(should_reduce_batch_size(error))


class _OutOfMemory:
    """Stands for a batch that did not fit; the exception itself would keep its tensors alive."""


def _attempt(work: Callable[[Any], R], batch: Any) -> R | _OutOfMemory:
    try:
        return work(batch)
    except RuntimeError as error:
        if is_memory(error):
            return _OutOfMemory()
        raise


def _halved(count: int, progress: Progress) -> int:
    """The size of batches after one of so many items that did not fit; the device's cache is emptied.

    Raises:
        InputError: it was one item.
    """
    from accelerate.utils.memory import clear_device_cache

    if count == 1:
        raise InputError(
            "out of memory with one image at a time: choose `dtype='float16'`, a smaller "
            "`height` and `width`, or fewer `sites`"
        )
    size = max(1, count // 2)
    clear_device_cache(garbage_collection=True)
    progress.halved(size)
    return size
