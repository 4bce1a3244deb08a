"""What is measured of stale modules and missing guidance: runs that differ from a whole one at few steps.

- ``module``: the modules of one kind and stage stale by one step; nothing else is. By this, families of
  modules are chosen (:func:`attnscope.analyses.tuning.search.families`).
- ``window``: all modules of a family are stale in 1 to L steps after one at which they computed, by
  repeating what they stored or by forecasting it; what that does to the latents at the end of the
  window.
- ``final``: one stale step after which everything is computed to the end; what is left in the final
  latents. Their quotient says how damage at a noise level grows or fades until the end.
- ``guidance``: one step without guidance; or guidance that goes on along its last direction from a step on,
  and what that does to the latents behind every further step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from attnscope.analyses.tuning.modules import Group, timetable
from attnscope.plans.timetable import COMPUTE, FORECAST, REUSE, Timetable

LONGEST = 8
"""Stale steps of a window, at most."""


@dataclass(frozen=True)
class Part:
    """One thing to measure: a run of which some steps are computed.

    Args:
        what: ``window``, ``final``, ``guidance`` or ``module``.
        group: whose modules are stale; empty is all.
        letter: how (:mod:`attnscope.plans.timetable`); of ``guidance``, ``c`` drops it and ``d`` goes on
            along its last direction.
        step: the first that is stale, or that has no guidance.
        plan: what is carried out.
        computed: the steps that compute.
        read: the step at which the latents are read, or the first and last of several.
    """

    what: str
    group: str
    letter: str
    step: int
    plan: Timetable
    computed: range
    read: range

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What tells it from all others."""
        return self.what, self.group, self.letter, self.step

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return len(self.plan.log_snr)

    @property
    def reads(self) -> list[tuple[int, int]]:
        """Before which steps the latents are read, each with how many stale steps are behind it.

        The number of steps stands for the final latents, which count 0 where they are far behind.
        """
        if self.what == "final":
            return [(self.step + 1, 1), (self.steps, 0)]
        return [(step, step - self.step) for step in self.read]


@dataclass(frozen=True)
class Steps:
    """The steps of a run, and all that there is to measure at them.

    Args:
        levels: log-SNR of x_t at every step, in nats.
        guided: whether there are two guidance branches.
    """

    levels: tuple[float, ...]
    guided: bool

    def __len__(self) -> int:
        return len(self.levels)

    def windows(self, family: str, groups: Sequence[Group]) -> Iterator[Part]:
        """Windows of stale steps.

        Args:
            family: a name for the modules, which is the ``group`` of these parts.
            groups: the modules that are stale.
        """
        count = len(self)
        for letter, stored in ((REUSE, 1), (FORECAST, 2)):
            for step in range(stored, count):
                end = min(step + LONGEST, count)
                letters = COMPUTE * step + letter * (end - step) + COMPUTE * (count - end)
                plan = timetable(groups, self.levels, letters)
                computed, read = range(step - stored, end), range(step + 1, end + 1)
                yield Part("window", family, letter, step, plan, computed, read)

    def parts(
        self, groups: Sequence[Group], fine: Sequence[Group] = (), *, stride: int = 2
    ) -> Iterator[Part]:
        """All that there is to measure but windows.

        Args:
            groups: all modules that a plan acts on.
            fine: further groups whose one stale step is measured by itself, at every step.
            stride: of the steps at which all else is measured but guidance.
        """
        count = len(self)
        known = {group.name for group in fine}
        singles = [(group, stride) for group in groups if group.name not in known]
        singles += [(group, 1) for group in fine]
        for group, every in singles:
            for step in self._every(every):
                plan = timetable([group], self.levels, self._stale_at(step))
                computed, read = range(step - 1, step + 1), range(step + 1, step + 2)
                yield Part("module", group.name, REUSE, step, plan, computed, read)
        for step in self._every(stride):
            plan = timetable(groups, self.levels, self._stale_at(step))
            computed, read = range(step - 1, count), range(count, count + 1)
            yield Part("final", "", REUSE, step, plan, computed, read)
        if self.guided:
            yield from self._guidance()

    def _every(self, stride: int) -> list[int]:
        """Steps at which something may be stale, the last one among them."""
        return sorted({*range(1, len(self), stride), len(self) - 1})

    def _stale_at(self, step: int) -> str:
        return COMPUTE * step + REUSE + COMPUTE * (len(self) - 1 - step)

    def _guidance(self) -> Iterator[Part]:
        count = len(self)
        for step in range(count):
            for letter, weight in (("c", 0.0), ("d", 1.0)):
                if weight and not step:
                    continue
                end = count if weight else step + 1
                letters = "b" * step + "c" * (end - step) + "b" * (count - end)
                directions = tuple(weight * (step <= number < end) for number in range(count))
                plan = timetable((), self.levels, (), guidance=letters, directions=directions)
                computed = range(step - 1 if weight else step, end)
                yield Part("guidance", "", letter, step, plan, computed, range(step + 1, end + 1))
