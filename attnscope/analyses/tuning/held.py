"""What a process keeps of batches that a search comes back to: whole runs, and the images of S.

Whoever makes batches, here or elsewhere, is handed one task after the other, and many are of the same
prompts. What all of them start from is made once in each process and held there.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from attnscope.runs.prompts import Prompt

R = TypeVar("R")


class Held:
    """What was made of batches of prompts, by pipeline and of one kind at a time."""

    def __init__(self) -> None:
        self._of: weakref.WeakKeyDictionary[Any, tuple[Hashable, dict[tuple[Prompt, ...], Any]]] = (
            weakref.WeakKeyDictionary()
        )

    def of(self, pipe: Any, kind: Hashable, prompts: Sequence[Prompt], make: Callable[[], R]) -> R:
        """What is held of a batch, or made of it now.

        Let go before it is made: all of another kind, and batches that have some of the same prompts,
        since a batch that did not fit comes back in halves.

        Args:
            pipe: the pipeline that makes it.
            kind: what is made, and what else than the prompts decides it.
            prompts: of the batch.
            make: makes it; must not refer to the pipeline in what it returns.
        """
        known, made = self._of.get(pipe, (None, {}))
        if known != kind:
            made = {}
            self._of[pipe] = kind, made
        batch = tuple(prompts)
        if batch not in made:
            for other in [one for one in made if not {*one}.isdisjoint(batch)]:
                del made[other]
            made[batch] = make()
        found: R = made[batch]
        return found


HELD = Held()
"""Of this process."""
