"""Which batches a run is cut into: its prompts and the size that it records decide, not who makes them.

Shards, workers and a run that goes on make the same batches, so that what depends on a batch, such as
the last bits of an image, is the same whoever makes it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from attnscope.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """Which of the batches are made here.

    Args:
        number: of the share, from 1.
        of: how many shares there are.
    """

    number: int = 1
    of: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @classmethod
    def parse(cls, text: str) -> Share:
        """``2/4`` as the second of four.

        Raises:
            InputError: it is none.
        """
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text.strip())
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise InputError(f"shard {text!r} is none: write i/n, such as 1/4, with i from 1 to n")
        return cls(int(found[1]), int(found[2]))

    @property
    def is_whole(self) -> bool:
        """Whether there is no other one."""
        return self.of == 1

    def has(self, number: int) -> bool:
        """Whether a batch, counted from 0, is of this share."""
        return number % self.of == self.number - 1


WHOLE = Share()
"""All batches."""


def cut(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """All batches, in their order.

    Args:
        items: all of the run's, whether they are made or not.
        size: of a batch, as the run records it; the last one may be smaller.
    """
    return [items[start : start + size] for start in range(0, len(items), size)]


def batches_left(
    items: Sequence[tuple[Any, ...]],
    size: int,
    known: Collection[int],
    share: Share = WHOLE,
    *,
    first: int = 0,
) -> Iterator[tuple[int, Sequence[tuple[Any, ...]]]]:
    """The batches of a share of which something is missing.

    Args:
        items: all of the run's, each a :class:`attnscope.runs.prompts.Prompt` and what goes with it.
        size: of a batch, as the run records it.
        known: ``prompt_id`` of what is there.
        share: which of the batches are made here.
        first: number of the first batch, where others are counted before.

    Yields:
        The number of a batch, and what of it is missing.
    """
    for number, batch in enumerate(cut(items, size), first):
        left = [item for item in batch if item[0].prompt_id not in known]
        if left and share.has(number):
            yield number, left


def count_of(items: Sequence[Any], size: int, share: Share = WHOLE, *, first: int = 0) -> int:
    """How many of the items are of a share; arguments as of :func:`batches_left`."""
    return sum(
        len(batch) for number, batch in enumerate(cut(items, size), first) if share.has(number)
    )
