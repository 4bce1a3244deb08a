"""T-GATE on videos as the paper's tables count it: self-attention reused in space alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnscope.plans.base import Action, AnySite, registered
from attnscope.plans.reuse import TGate


@registered
@dataclass(frozen=True)
class SpatialTGate(TGate):
    """T-GATE that leaves self-attention over time as it is.

    The rows of SVD and OpenSora in the paper's Tables 1 and 2 cost what this does; its authors' code
    reuses self-attention over time, too, as :class:`~attnscope.plans.reuse.TGate` does. Cross-attention
    of either kind is gated. Of images it is T-GATE itself.

    Args:
        gate: m, and the other values as of :class:`~attnscope.plans.reuse.TGate`.

    Raises:
        InputError: a value is no whole number or too small.
    """

    name: ClassVar[str] = "tgate-spatial"

    def action(self, site: AnySite, step: int) -> Action:
        """What a site does at a step."""
        if site.kind == "self" and "temporal" in getattr(site, "name", ""):
            return Action.COMPUTE
        return super().action(site, step)
