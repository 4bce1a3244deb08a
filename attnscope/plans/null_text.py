"""Plans that take the text away: S^F_m and S^L_m of section 3.2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from attnscope.plans.base import Plan, Text, registered
from attnscope.plans.options import Option


@registered
@dataclass(frozen=True)
class NullTextLate(Plan):
    """The prompt in the first m steps and the encoding of "" after them: S^F_m of section 3.2.

    Args:
        gate: m.

    Raises:
        InputError: the gate is below 1.
    """

    name: ClassVar[str] = "null-text-late"
    kinds: ClassVar[tuple[str, ...]] = ()
    gate: int

    def text(self, step: int) -> Text:
        """What the conditional branch reads at a step."""
        return "prompt" if step < self.gate else "null"


@registered
@dataclass(frozen=True)
class NullTextEarly(Plan):
    """The encoding of "" in the first m steps and the prompt after them: S^L_m of section 3.2.

    Args:
        gate: m; 0 is the baseline.

    Raises:
        InputError: the gate is negative.
    """

    name: ClassVar[str] = "null-text-early"
    kinds: ClassVar[tuple[str, ...]] = ()
    gate: Annotated[int, Option("m", nats=True)]

    def text(self, step: int) -> Text:
        """What the conditional branch reads at a step."""
        return "null" if step < self.gate else "prompt"
