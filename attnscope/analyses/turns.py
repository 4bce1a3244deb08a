"""Plans that are compared make a batch in turns: of every batch another one goes first.

What slows the machine down for a while then slows all of them. Whose turn it is follows from the number
of the batch in the run, so it is the same whoever makes the batch.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from attnscope.plans.base import Baseline, Plan
from attnscope.plans.guidance import GuidanceCutoff
from attnscope.runs.prompts import Prompt
from attnscope.runs.sampling import Sampling

T = TypeVar("T")
COMPARED_BATCHES = 4
"""As many, if there are prompts for them, so that what is compared can take turns."""
WARM_UP_STEPS = 2
_WARM: weakref.WeakKeyDictionary[Any, set[Sampling]] = weakref.WeakKeyDictionary()
"""By pipeline, the runs that it was warmed up for."""


def in_turns(names: Sequence[T], number: int) -> list[T]:
    """The order in which things take their turns.

    Args:
        names: of all of them.
        number: of the batch in the run, from 0.
    """
    first = number % len(names)
    return [*names[first:], *names[:first]]


@dataclass(frozen=True)
class Batch:
    """A batch of prompts that is made by one plan after the other.

    Args:
        pipe: that makes it.
        items: prompts, each with what the pipeline is given for it.
        settings: how images are sampled; those of the run, which tell it from others.
        options: further keywords of the pipeline.
    """

    pipe: Any
    items: Sequence[tuple[Prompt, Any]]
    settings: Sampling
    options: Mapping[str, Any]

    def make(self) -> Any:
        """What the pipeline makes of it, by the plan that it has."""
        ids = [prompt.prompt_id for prompt, _ in self.items]
        given = [item for _, item in self.items]
        return self.settings.call(self.pipe, given, ids, **self.options)

    def warm_up(self, plans: Iterable[Plan]) -> None:
        """A few steps, unless it was done: the first call of a process, or with one branch, is slower.

        Args:
            plans: that are to be timed.
        """
        from attnscope.hooks.trace import Trace

        warm = _WARM.setdefault(self.pipe, set())
        if self.settings in warm:
            return
        drops = any(plan.ever_drops() for plan in plans)
        short = replace(self, settings=replace(self.settings, steps=WARM_UP_STEPS))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Trace(self.pipe, plan=GuidanceCutoff(1) if drops else Baseline()):
                short.make()
        warm.add(self.settings)
