"""How fast workers are, in few words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from attnscope.plain import how_many

_NAMED = 3
"""So many workers are told one by one."""


@dataclass
class Rates:
    """What every worker made, and in how much of its time.

    Args:
        items: by worker.
        seconds: by worker.
    """

    items: dict[int, int] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)

    def add(self, worker: int, items: int, seconds: float) -> None:
        """A worker made so many items in so many seconds."""
        self.items[worker] = self.items.get(worker, 0) + items
        self.seconds[worker] = self.seconds.get(worker, 0.0) + seconds

    def forget(self, worker: int) -> None:
        """A worker is not there any more."""
        self.items.pop(worker, None)
        self.seconds.pop(worker, None)

    def __str__(self) -> str:
        return told({one: self.items[one] / max(self.seconds[one], 1e-9) for one in self.items})


def told(rates: Mapping[int, float]) -> str:
    """Items a second, by worker, as a bar shows them.

    Args:
        rates: by the number of the worker; 0 is this process.
    """
    if not rates:
        return ""
    if set(rates) == {0}:
        return f"{rates[0]:.3g}/s"
    ordered = [rates[number] for number in sorted(rates)]
    whole = f"{sum(ordered):.3g}/s by {how_many(len(ordered), 'worker')}"
    if len(ordered) <= _NAMED:
        return f"{whole} ({', '.join(f'{rate:.3g}' for rate in ordered)})"
    return f"{whole} ({min(ordered):.3g} to {max(ordered):.3g})"
