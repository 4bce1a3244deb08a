"""A plan made for a number of steps: what it says of each of them, asked once and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from inspect import signature
from math import isfinite
from typing import TYPE_CHECKING, Any

from attnscope.errors import InputError
from attnscope.kinds import in_words
from attnscope.plans.base import (
    KEPT,
    ORDERS,
    TEXTS,
    Action,
    AnySite,
    Branch,
    Kept,
    Plan,
    Text,
    check_answer,
    check_kinds,
    whose,
)
from attnscope.plans.options import TELLING, Levels, UnknownLevelsError

if TYPE_CHECKING:
    import pandas as pd


SCALED = "attention to "
"""Begins the row of a word in a table."""


def is_of_modules(row: str) -> bool:
    """Whether a row of a table stands for modules, and not for guidance, the text or a word."""
    return row not in ("branches", "text") and not row.startswith(SCALED)


@dataclass(frozen=True)
class Trajectory:
    """A plan made for a number of steps.

    Args:
        plan: what to do.
        steps: how many steps there are.
        kept: the branch that stays where the plan leaves the choice to the model.
        levels: log-SNR of x_t at every step, as of :meth:`attnscope.plans.base.Plan.over`.

    Raises:
        InputError: the plan's gate lies beyond the last step or it is made for other steps, there are
            no steps, there are not as many levels, or the plan's kinds, or what it answers for a branch or the text, are none.
    """

    plan: Plan
    steps: int
    kept: Branch = "uncond"
    levels: Levels = None

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise InputError(f"steps={self.steps!r} is no number of steps: choose 1 or more")
        if self.kept not in ("uncond", "cond"):
            raise InputError(f"kept={self.kept!r} is no guidance branch: choose 'uncond' or 'cond'")
        if self.levels is not None and len(self.levels) != self.steps:
            raise InputError(f"{len(self.levels)} noise levels do not fit {self.steps} steps")
        check_kinds(self.plan)
        own = self.plan.own_steps
        if own not in (None, self.steps):
            raise UnknownLevelsError(
                f"{self.plan} was found at {own} steps, and the noise levels of these {self.steps} are "
                f"not known here: choose `steps={own}`, or {TELLING}"
            )
        gate = getattr(self.plan, "gate", 0)
        if isinstance(gate, (int, float)) and gate > self.steps:
            raise InputError(
                f"the gate of {self.plan} lies beyond the last step: m={gate}, but there are "
                f"{self.steps} steps (choose m from 1 to {self.steps})"
            )
        # Asked here, and here alone, so that an answer that is none stops the run before it begins.
        _ = self.keeps, self._texts

    @cached_property
    def keeps(self) -> tuple[Kept, ...]:
        """What the plan says of guidance at every step."""
        return self._answers("keeps", KEPT)

    @cached_property
    def _texts(self) -> tuple[Text, ...]:
        return self._answers("text", TEXTS)

    def _answers(self, method: str, choices: tuple[Any, ...]) -> tuple[Any, ...]:
        """What a method of the plan answers for every step."""
        answers = []
        for step in range(self.steps):
            try:
                answer = getattr(self.plan, method)(step)
            except LookupError as error:
                raise self._unanswered(method, f"step {step}", error) from error
            check_answer(self.plan, method, answer, step, choices)
            answers.append(answer)
        return tuple(answers)

    def _unanswered(self, method: str, where: str, error: Exception) -> InputError:
        return InputError(
            f"{whose(self.plan)}.{method} has no answer for {where} ({error!r}): this run has "
            f"{self.steps} steps"
        )

    def action(self, site: AnySite, step: int) -> Action:
        """What a site does at a step; what no later step reuses is not stored."""
        return self.actions(site)[step]

    def actions(self, site: AnySite) -> tuple[Action, ...]:
        """What a site does at every step.

        Raises:
            InputError: the plan answers something that is no action, has no answer, or reuses what
                was never stored; with the site and the step.
        """
        if site.kind not in self.plan.kinds:
            return (Action.COMPUTE,) * self.steps
        actions = [self._answered(site, step) for step in range(self.steps)]
        for step, action in enumerate(actions):
            if action is Action.STORE:
                break
            if not action.computes:
                raise InputError(
                    f"{self.plan} reuses {_where(site)} at step {step} before it stored any: answer "
                    "Action.STORE at an earlier step"
                )
        carried = 1 + self.order(site) if Action.FORECAST in actions else 1  # stored before it
        wanted = 0  # of what was stored before
        for step in reversed(range(self.steps)):
            if actions[step] is Action.STORE:
                actions[step] = Action.STORE if wanted else Action.COMPUTE
                wanted = max(0, wanted - 1)
            elif not actions[step].computes:
                wanted = max(wanted, carried if actions[step] is Action.FORECAST else 1)
        return tuple(actions)

    def order(self, site: AnySite) -> int:
        """By which differences a site forecasts; see :meth:`attnscope.Plan.order`.

        Raises:
            InputError: the plan answers something else than 1 or 2.
        """
        order: Any = self.plan.order(site)
        if isinstance(order, bool) or order not in ORDERS:
            raise InputError(
                f"{whose(self.plan)}.order answers {order!r} for {_where(site)}: choose 1, along a line, or "
                "2, along a parabola"
            )
        return int(order)

    def depth(self, site: AnySite) -> int:
        """How many of the newest outputs of a site are kept: one more than its order where it forecasts."""
        return 1 + self.order(site) if Action.FORECAST in self.actions(site) else 1

    def beyond(self, first: int, last: int, step: int) -> float:
        """How far a step lies behind the last of two, in parts of what lies between these, over log-SNR.

        Returns:
            0 where log-SNR is not known, not finite or the same at both.
        """
        if self.levels is None:
            return 0.0
        before, here, there = (self.levels[number] for number in (first, last, step))
        known = isfinite(before) and isfinite(here) and isfinite(there)
        return (there - here) / (here - before) if known and here != before else 0.0

    def bend(self, stored: tuple[int, int, int], step: int) -> tuple[float, float]:
        """What leads from the line through the last two of three steps to the parabola through all.

        Newton's second divided difference over log-SNR, which steps need not divide evenly: what is
        forecast is the line plus ``a`` times the last difference minus ``b`` times the one before.

        Args:
            stored: the steps at which outputs were stored, the newest last.
            step: that is forecast.

        Returns:
            ``a`` and ``b``; both 0 where log-SNR is not known, not finite, or the same at two of them.
        """
        if self.levels is None:
            return 0.0, 0.0
        x0, x1, x2, x = (self.levels[number] for number in (*stored, step))
        if not all(map(isfinite, (x0, x1, x2, x))) or len({x0, x1, x2}) < 3:
            return 0.0, 0.0
        curved = (x - x2) * (x - x1) / (x2 - x0)
        return curved / (x2 - x1), curved / (x1 - x0)

    def _answered(self, site: AnySite, step: int) -> Action:
        """What the plan answers for a site and a step."""
        try:
            action: Any = self.plan.action(site, step)
        except LookupError as error:
            raise self._unanswered("action", f"{_where(site)} at step {step}", error) from error
        except AttributeError as error:
            if not isinstance(error.obj, _Example):
                raise
            raise InputError(
                f"{whose(self.plan)}.action asks for {error.name!r} of a site, and here are kinds "
                "alone: ask actions(site) for sites of attnscope.find_sites, or count its cost"
            ) from error
        if not isinstance(action, Action):
            raise InputError(
                f"{whose(self.plan)}.action answers {action!r} for {_where(site)} at step {step}: "
                "choose Action.COMPUTE, Action.STORE, Action.REUSE or Action.FORECAST (attnscope.Action)"
            )
        return action

    def last_reuses(self, site: AnySite) -> frozenset[int]:
        """The steps after which what a site stored is not needed any more."""
        actions = self.actions(site)
        if Action.FORECAST in actions:  # what is stored next may be carried on from it
            return frozenset({max(n for n, a in enumerate(actions) if not a.computes)})
        last, wanted = set(), False
        for step in reversed(range(self.steps)):
            reuses = not actions[step].computes
            if reuses and not wanted:
                last.add(step)
            wanted = reuses or (wanted and actions[step] is Action.COMPUTE)
        return frozenset(last)

    def branches(self, step: int) -> tuple[Branch, ...]:
        """The guidance branches that run at a step, where there is guidance."""
        keeps = self.keeps[step]
        if keeps == "both":
            return ("uncond", "cond")
        return (self.kept,) if keeps == "model's" else (keeps,)

    def text(self, step: int) -> Text:
        """What the conditional branch reads at a step."""
        return self._texts[step]

    @cached_property
    def directions(self) -> tuple[float, ...]:
        """How much of the last guidance counts at every step; see :meth:`attnscope.Plan.direction`."""
        return tuple(
            float(self.plan.direction(step)) if self.branches(step) == ("cond",) else 0.0
            for step in range(self.steps)
        )

    @property
    def averages(self) -> bool:
        """Whether what both branches stored is averaged once one is dropped."""
        return self.plan.averages

    @cached_property
    def guided_steps(self) -> int:
        """Steps at which both branches run."""
        return sum(len(self.branches(step)) == 2 for step in range(self.steps))

    @cached_property
    def drops(self) -> bool:
        """Whether a branch is ever dropped."""
        return self.guided_steps < self.steps

    @cached_property
    def reads_null(self) -> bool:
        """Whether the conditional branch ever reads the encoding of ""."""
        return "null" in self._texts

    @cached_property
    def factors(self) -> dict[str, tuple[float, ...]]:
        """Of every word to which attention is ever scaled, by what at each step; 1 is not at all."""
        weights = [self.plan.weights(step) for step in range(self.steps)]
        words = dict.fromkeys(word for own in weights for word in own)
        return {word: tuple(float(own.get(word, 1)) for own in weights) for word in words}

    def table(self, kinds: Sequence[str] | None = None) -> pd.DataFrame:
        """The schedule as a tidy table.

        Args:
            kinds: of modules; ``None`` is self- and cross-attention, and of a plan that names its
                modules all of theirs.

        Returns:
            Columns ``row`` (a kind of attention, or the name of a module; ``branches`` or
            ``text``), ``step``, and ``what``: compute, store, reuse, forecast; both, uncond, cond, or
            one where the choice is the model's; prompt, null. The row of the text is there only if
            it changes. Where modules are named, ``kind`` is theirs and missing in other rows; where
            noise levels are known, ``log_snr`` is that of the step in nats; and where guidance goes
            on after a branch was dropped, ``weight`` is how much of it, in the row ``branches``. A word
            to which attention is scaled has a row ``attention to WORD`` of ``removed``, ``less``, ``more``
            and ``unscaled``, with the number itself as ``factor``.
        """
        import pandas as pd

        steps = range(self.steps)
        named, rules = self._rows(("self", "cross") if kinds is None else kinds)
        if kinds is not None:
            named = {name: kind for name, kind in named.items() if kind in kinds}
        sites: dict[str, AnySite] = {n: _Named(kind, n) for n, kind in named.items()}
        sites |= {kind: _Example(kind) for kind in rules}
        columns = {row: [a.value for a in self.actions(site)] for row, site in sites.items()}
        columns["branches"] = ["one" if branch == "model's" else branch for branch in self.keeps]
        if self.reads_null:
            columns["text"] = [self.text(step) for step in steps]
        scaled = {f"{SCALED}{word}": factors for word, factors in self.factors.items()}
        columns |= {row: [_scaling(factor) for factor in own] for row, own in scaled.items()}
        parts = [pd.DataFrame({"row": r, "step": steps, "what": w}) for r, w in columns.items()]
        table = pd.concat(parts, ignore_index=True)
        if self.plan.modules:
            table["kind"] = table["row"].map({**named, **{kind: kind for kind in rules}})
        if self.levels is not None:
            table["log_snr"] = table["step"].map(dict(enumerate(self.levels)))
        if any(self.directions):
            weights = table["step"].map(dict(enumerate(self.directions)))
            table["weight"] = weights.where(table["row"] == "branches")
        if scaled:
            told = [
                scaled.get(row, ())[step : step + 1]
                for row, step in zip(table["row"], table["step"], strict=True)
            ]
            table["factor"] = [own[0] if own else float("nan") for own in told]
        return table

    def _rows(self, kinds: Sequence[str]) -> tuple[dict[str, str], list[str]]:
        """The modules that the plan names, with their kinds, and the kinds that it rules on."""
        named = dict(self.plan.kinds_named)
        if not named:
            return {}, list(kinds)
        ruled = [k for k in kinds if k in self.plan.kinds and k not in named.values()]
        return named, ruled


def _scaling(factor: float) -> str:
    """What becomes of attention that is scaled."""
    if factor in (0, 1):
        return "unscaled" if factor else "removed"
    return "more" if factor > 1 else "less"


@dataclass(frozen=True)
class _Example:
    """Stands for every site of a kind."""

    kind: str


@dataclass(frozen=True)
class _Named:
    """Stands for a site that a plan names."""

    kind: str
    name: str


def made(plan: Plan, steps: int, *, kept: Branch = "uncond", levels: Levels = None) -> Trajectory:
    """A plan made for a number of steps by its own :meth:`Plan.over`.

    Everything that carries a plan out, counts it or shows it makes it here.

    Args:
        plan: of any kind.
        steps: how many there are.
        kept: the branch that stays where the plan leaves the choice to the model.
        levels: log-SNR of x_t at every step, where it is known.

    Raises:
        InputError: the plan does not fit the steps, or what it answers is none (:class:`Trajectory`),
            or it overrides ``over`` by something that makes no trajectory over these steps.
    """
    known = "levels" in signature(plan.over).parameters  # a plan of one's own may not ask for them
    found: Any = plan.over(steps, kept=kept, **({"levels": levels} if known else {}))
    if type(found) is not Trajectory or found.steps != steps:
        given = f"one over {found.steps} steps" if type(found) is Trajectory else repr(found)
        raise InputError(
            f"{whose(plan)}.over answers {given}: leave it as it is, or answer "
            f"Trajectory(plan, {steps}, kept, levels) of another plan"
        )
    return found if known else replace(found, levels=levels)


def _where(site: AnySite) -> str:
    """A site by its name and kind, or by its kind alone."""
    name = getattr(site, "name", None)
    return in_words(site.kind) if name is None else f"{name} ({in_words(site.kind)})"
