"""The plan that stops guidance early."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from attnscope.plans.base import Kept, Plan, registered


@registered
@dataclass(frozen=True)
class GuidanceCutoff(Plan):
    """Guidance until the gate, one branch from there on, all attention computed.

    With ``keep="cond"`` the early stop of guidance of "Adaptive Guidance: Training-free
    Acceleration of Conditional Diffusion Models"; with ``keep="uncond"`` the part of T-GATE's gain
    that comes from guidance alone.

    Args:
        gate: m, the number of guided steps.
        keep: the branch that stays, ``cond`` or ``uncond``; ``model's`` is the one that T-GATE keeps.

    Raises:
        InputError: the gate is below 1, or there is no such branch.
    """

    name: ClassVar[str] = "guidance-cutoff"
    kinds: ClassVar[tuple[str, ...]] = ()
    gate: int
    keep: Literal["uncond", "cond", "model's"] = "cond"

    def keeps(self, step: int) -> Kept:
        """One branch from the gate on."""
        return "both" if step < self.gate else self.keep
