"""Going through prompts in batches that fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from attnscope.errors import InputError
from attnscope.runs.progress import SILENT, Progress

T = TypeVar("T")
R = TypeVar("R")
S = TypeVar("S")


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
    done = 0
    while done < len(items):
        batch = items[done : done + batch_size]
        result = _attempt(work, batch)
        if isinstance(result, _OutOfMemory):
            batch_size = _halved(len(batch), progress)
            continue
        yield batch, result
        done += len(batch)


class Batches(Generic[T, R]):
    """Items in batches, with what was made of each once, for work that comes back to them.

    What comes back may need more memory than what was made at first. A batch for which it runs out is
    made anew in halves, and so are those behind it; what was done with those before it stays.

    Args:
        items: what to work through.
        batch_size: of the first batch.
        make: what is made of a batch before anything else is done with it.
        progress: told every new batch size.

    Raises:
        InputError: not even one item fits.
    """

    def __init__(
        self,
        items: Sequence[T],
        batch_size: int,
        make: Callable[[Sequence[T]], R],
        *,
        progress: Progress = SILENT,
    ) -> None:
        self._make, self._progress = make, progress
        self._made = list(in_batches(items, batch_size, make, progress=progress))

    def __iter__(self) -> Iterator[tuple[Sequence[T], R]]:
        """Every batch, and what was made of it."""
        return iter(self._made)

    @property
    def first(self) -> tuple[Sequence[T], R]:
        """The first batch, and what was made of it."""
        return self._made[0]

    def each(self, work: Callable[[Sequence[T], R], S]) -> Iterator[S]:
        """Do something with every batch.

        Args:
            work: given a batch and what was made of it. It may be called again with a part of the same
                items, and what was made of that part.

        Yields:
            What ``work`` makes of every batch, once for every item.

        Raises:
            InputError: not even one item fits.
        """
        place = 0
        while place < len(self._made):
            result = _attempt(lambda made: work(*made), self._made[place])
            if isinstance(result, _OutOfMemory):
                self._halve(place)
                continue
            yield result
            place += 1

    def _halve(self, place: int) -> None:
        """Make a batch anew in halves, and those behind it, none of which is kept meanwhile."""
        count = len(self._made[place][0])
        rest = [item for items, _ in self._made[place:] for item in items]
        del self._made[place:]
        size = _halved(count, self._progress)
        self._made += in_batches(rest, size, self._make, progress=self._progress)


class _OutOfMemory:
    """Stands for a batch that did not fit; the exception itself would keep its tensors alive."""


def _attempt(work: Callable[[Any], R], batch: Any) -> R | _OutOfMemory:
    from accelerate.utils.memory import should_reduce_batch_size

    try:
        return work(batch)
    except RuntimeError as error:
        if should_reduce_batch_size(error):
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
