"""T-GATE that reuses one branch's cross-attention instead of the mean of both (appendix K, Figure A9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from attnscope.plans.base import Kept, registered
from attnscope.plans.reuse import TGate


@registered
@dataclass(frozen=True)
class Anchored(TGate):
    """T-GATE whose branch goes on with what it stored itself.

    Both branches share their latents, so where text enters by cross-attention alone (SD, PixArt) a
    branch that stays and reuses its own outputs is the same as either branch that reuses them. With
    other embeddings of text, as in SDXL, those of the branch that stays count, too.

    Args:
        gate: m, and the other values as of :class:`~attnscope.plans.reuse.TGate`.
        keep: the branch that stays, ``cond``, ``uncond`` or ``model's``, whose outputs are reused.

    Raises:
        InputError: a value is no whole number or too small, or there is no such branch.
    """

    name: ClassVar[str] = "anchored"
    averages: ClassVar[bool] = False
    keep: Literal["uncond", "cond", "model's"] = "cond"

    def keeps(self, step: int) -> Kept:
        """One branch from the gate on."""
        return "both" if step < self.gate else self.keep
