"""The ways in which a plan saves, and a plan with one of them alone or on some kinds alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from attnscope.errors import InputError
from attnscope.plans.base import (
    Action,
    AnySite,
    Kept,
    Plan,
    Text,
)
from attnscope.plans.options import Levels
from attnscope.plans.text_form import parse

Saving = Literal[
    "guidance",
    "cross",
    "self",
    "joint",
    "feed-forward",
    "block",
    "resnet",
    "transformer",
    "sampler",
]
SAVINGS: dict[Saving, str] = {
    "guidance": "guidance cut-off",
    "cross": "cross-attention reuse",
    "self": "self-attention reuse",
    "joint": "joint attention reuse",
    "feed-forward": "feed-forward reuse",
    "block": "block reuse",
    "resnet": "residual block reuse",
    "transformer": "transformer reuse",
    "sampler": "sampler reuse",
}
"""The ways in which a plan saves."""


@dataclass(frozen=True)
class Within(Plan):
    """A part of another plan: all of it, but for what a subclass leaves out.

    Args:
        plan: the whole plan.
    """

    plan: Plan

    @property
    def kinds(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of the whole plan."""
        return self.plan.kinds

    @property
    def gate(self) -> int:
        """That of the whole plan."""
        gate: int = getattr(self.plan, "gate", 0)
        return gate

    @property
    def averages(self) -> bool:  # type: ignore[override]
        """What the whole plan says."""
        return self.plan.averages

    @property
    def modules(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those that the whole plan names."""
        return self.plan.modules

    @property
    def kinds_named(self) -> Mapping[str, str]:
        """Those of the whole plan."""
        return self.plan.kinds_named

    @property
    def own_steps(self) -> int | None:
        """Those of the whole plan."""
        return self.plan.own_steps

    def placed(self, levels: Levels) -> Plan:
        """A part of the whole plan, placed."""
        return replace(self, plan=self.plan.placed(levels))

    def weights(self, step: int) -> Mapping[str, float]:
        """What the whole plan says."""
        return self.plan.weights(step)

    def direction(self, step: int) -> float:
        """What the whole plan says."""
        return self.plan.direction(step)

    def action(self, site: AnySite, step: int) -> Action:
        """What the whole plan says."""
        return self.plan.action(site, step)

    def order(self, site: AnySite) -> int:
        """What the whole plan says."""
        return self.plan.order(site)

    def keeps(self, step: int) -> Kept:
        """What the whole plan says."""
        return self.plan.keeps(step)

    def text(self, step: int) -> Text:
        """What the whole plan says; the text costs nothing."""
        return self.plan.text(step)


@dataclass(frozen=True)
class Alone(Within):
    """One of the ways in which a plan saves, alone: what it is worth by itself.

    Args:
        plan: the whole plan, also in its text form.
        saving: which part of it stays: ``guidance``, or a kind of modules such as ``cross``.

    Raises:
        InputError: there is no such plan or way.
    """

    name: ClassVar[str] = "alone"
    saving: Saving

    def __post_init__(self) -> None:
        object.__setattr__(self, "plan", parse(self.plan))
        if self.saving not in SAVINGS:
            raise InputError(f"no such saving: {self.saving!r} (choose {', '.join(SAVINGS)})")

    @property
    def kinds(self) -> tuple[str, ...]:  # type: ignore[override]
        """The one kind of modules, if the plan acts on it."""
        return tuple(kind for kind in self.plan.kinds if kind == self.saving)

    def keeps(self, step: int) -> Kept:
        """What the whole plan says, if this is about guidance."""
        return super().keeps(step) if self.saving == "guidance" else "both"

    def __str__(self) -> str:
        return f"{self.plan}, {SAVINGS[self.saving]} alone"
