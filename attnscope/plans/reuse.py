"""Plans that reuse attention: T-GATE, and each of its halves alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnscope.plans.base import Action, AnySite, Kept, Plan, registered


@registered
@dataclass(frozen=True)
class TGate(Plan):
    """The paper's method: cross-attention and guidance until the gate, self-attention sparsely.

    ==============================  =======================  ==============  ========
    step i, gate m                  self-attention           cross-          branches
    ==============================  =======================  ==============  ========
    i < m-1 and i < w               compute                  compute         both
    i < m-1 and i = w               store                    compute         both
    i < m-1 and i > w               store if i % k = 0,      compute         both
                                    else reuse
    i = m-1                         store                    store           both
    i >= m                          store if i % f = 0,      reuse           one
                                    else reuse
    ==============================  =======================  ==============  ========

    Args:
        gate: m, the number of guided steps.
        interval: k, of self-attention before the gate; 1 computes it always.
        warmup: w, steps before self-attention is reused.
        late_interval: f, of self-attention from the gate on; 1 computes it always.

    Raises:
        InputError: a value is no whole number or too small.
    """

    name: ClassVar[str] = "tgate"
    gate: int
    interval: int = 1
    warmup: int = 2
    late_interval: int = 1

    def action(self, site: AnySite, step: int) -> Action:
        """What a site does at a step."""
        if site.kind == "cross":
            return _gated(step, self.gate)
        if step >= self.gate:
            return _every(self.late_interval, step)
        return _sparse(step, self.gate, self.interval, self.warmup)

    def keeps(self, step: int) -> Kept:
        """One branch from the gate on."""
        return "both" if step < self.gate else "model's"


@registered
@dataclass(frozen=True)
class CrossReuse(Plan):
    """Cross-attention computed until the gate and reused from there on; guidance stays.

    Args:
        gate: m, the number of steps that compute it.

    Raises:
        InputError: the gate is below 1.
    """

    name: ClassVar[str] = "cross-reuse"
    kinds: ClassVar[tuple[str, ...]] = ("cross",)
    gate: int

    def action(self, site: AnySite, step: int) -> Action:
        """What a site does at a step."""
        return _gated(step, self.gate)


@registered
@dataclass(frozen=True)
class SelfReuseEarly(Plan):
    """Self-attention sparse before the gate and computed from there on: S^L of appendix B.

    Args:
        gate: m.
        interval: k, by T-GATE's rule.
        warmup: w, steps before anything is reused.

    Raises:
        InputError: a value is no whole number or too small.
    """

    name: ClassVar[str] = "self-reuse-early"
    kinds: ClassVar[tuple[str, ...]] = ("self",)
    gate: int
    interval: int
    warmup: int = 2

    def action(self, site: AnySite, step: int) -> Action:
        """What a site does at a step."""
        if step >= self.gate:
            return Action.COMPUTE
        return _sparse(step, self.gate, self.interval, self.warmup)


@registered
@dataclass(frozen=True)
class SelfReuseLate(Plan):
    """Self-attention computed before the gate and every k-th step from there on: S^F of appendix B.

    Args:
        gate: m.
        interval: k, counted from the gate.

    Raises:
        InputError: a value is no whole number or too small.
    """

    name: ClassVar[str] = "self-reuse-late"
    kinds: ClassVar[tuple[str, ...]] = ("self",)
    gate: int
    interval: int

    def action(self, site: AnySite, step: int) -> Action:
        """What a site does at a step."""
        if step < self.gate:
            return Action.COMPUTE
        return _every(self.interval, step - self.gate)


def paper_plan(steps: int) -> TGate:
    """The paper's m=10, k=5 of 25 steps, or the same part of others."""
    return TGate(gate=max(1, round(0.4 * steps)), interval=5)


def _gated(step: int, gate: int) -> Action:
    """Cross-attention of T-GATE: kept at the last step before the gate."""
    if step >= gate:
        return Action.REUSE
    return Action.STORE if step == gate - 1 else Action.COMPUTE


def _sparse(step: int, gate: int, interval: int, warmup: int) -> Action:
    """Self-attention of T-GATE before the gate; ``step`` is absolute, not counted from ``warmup``."""
    if step == gate - 1 or step == warmup:
        return Action.STORE
    return Action.COMPUTE if step < warmup else _every(interval, step)


def _every(interval: int, step: int) -> Action:
    return Action.REUSE if step % interval else Action.STORE
