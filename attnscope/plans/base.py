"""What every attention call, every guidance branch and the text do at every denoising step.

A :class:`Plan` is a recipe: ``TGate(gate=10, interval=5)``. Made for a number of steps by
:meth:`Plan.over` it becomes a :class:`Trajectory`, which a :class:`~attnscope.Trace` carries out
and which answers ``action(site, step)``, ``branches(step)`` and ``text(step)``. Steps count from 0.

Every plan has a text form, :func:`~attnscope.plans.text_form.parse` reads it and ``str(plan)`` writes it::

    m=10,k=5                      tgate:m=10,k=5,w=2,f=1
    guidance-cutoff:m=10          null-text-late:m=3

Semantics: "Faster Diffusion via Temporal Attention Decomposition", sections 3 and 4, appendix B;
`TGate` follows its authors' code. Nothing here needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from functools import cached_property
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    Protocol,
    TypeVar,
)

from attnscope.errors import InputError
from attnscope.plans.options import options_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

Branch = Literal["uncond", "cond"]
Kept = Literal["uncond", "cond", "model's", "both"]
Text = Literal["prompt", "null"]
_KEPT: tuple[Kept, ...] = ("both", "uncond", "cond", "model's")
_TEXTS: tuple[Text, ...] = ("prompt", "null")
_KINDS = ("cross", "self", "joint")
"""Of attention, as in :mod:`attnscope.sites`, which needs torch."""
_MOST_STEPS = 1000
"""Training timesteps, and so the most steps that there can be."""


class Action(Enum):
    """What an attention module does in one call."""

    COMPUTE = "compute"
    STORE = "store"
    """Compute, and keep the result for later steps."""
    REUSE = "reuse"
    """Return what was kept, without computing."""


class AnySite(Protocol):
    """What a plan may know of a site; :class:`attnscope.Site` is one."""

    @property
    def kind(self) -> str:
        """``cross``, ``self`` or ``joint``."""


PLANS: dict[str, type[Plan]] = {}
"""Plans that have a text form, by name. See :func:`registered`."""

AnyPlan = TypeVar("AnyPlan", bound="Plan")


def registered(kind: type[AnyPlan]) -> type[AnyPlan]:
    """Give a plan a text form by its name and its options. Decorates a class of :class:`Plan`."""
    PLANS[kind.name] = kind
    return kind


@dataclass(frozen=True)
class Plan:
    """What happens at every step. Subclasses answer for single steps, whatever their number.

    A plan of one's own overrides :meth:`action`, :meth:`keeps` or :meth:`text`, each of which
    leaves everything as it is by default. ``action`` sees the whole site, so it may give every
    site a gate of its own; it is asked for sites of :attr:`kinds` only. What they answer is checked
    for every step when a run begins or a cost is counted, and not looked at twice.
    """

    name: ClassVar[str] = ""
    kinds: ClassVar[tuple[str, ...]] = ("cross", "self")
    """The kinds of attention that the plan acts on."""

    def __post_init__(self) -> None:
        for name, option in options_of(type(self)).items():
            option.check(name, getattr(self, name))

    def action(self, site: AnySite, step: int) -> Action:
        """What a site does at a step."""
        return Action.COMPUTE

    def keeps(self, step: int) -> Kept:
        """Which guidance branches run at a step: both, or the one that is named.

        ``"model's"`` leaves the choice to the model: the unconditional branch, or for Stable Video
        Diffusion the conditional one.
        """
        return "both"

    def text(self, step: int) -> Text:
        """What the conditional branch reads at a step: the prompt, or the encoding of ""."""
        return "prompt"

    def ever_drops(self) -> bool:
        """Whether a guidance branch is dropped at any step.

        Raises:
            InputError: the first answer is none.
        """
        return self._ever("keeps", _KEPT, ("uncond", "cond", "model's"))

    def ever_reads_null(self) -> bool:
        """Whether the prompt is replaced at any step.

        Raises:
            InputError: the first answer is none.
        """
        return self._ever("text", _TEXTS, ("null",))

    def _ever(self, method: str, choices: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
        """Whether a method gives one of the answers wanted, in whatever number of steps.

        What is wrong at a later step is left to :class:`Trajectory`: a run may not come so far.
        """
        for step in range(_MOST_STEPS):
            try:
                answer = getattr(self, method)(step)
            except LookupError:  # a table that ends here
                return False
            if step == 0:
                _check_answer(self, method, answer, step, choices)
            if answer in wanted:
                return True
        return False

    def over(self, steps: int, *, kept: Branch = "uncond") -> Trajectory:
        """The plan made for a number of steps.

        Args:
            steps: how many there are.
            kept: the branch that stays where the plan leaves the choice to the model.

        Raises:
            InputError: the plan's gate lies beyond the last step.
        """
        return Trajectory(self, steps, kept)

    def __str__(self) -> str:
        own = self.name or type(self).__name__
        name = next((name for name, kind in PLANS.items() if kind is type(self)), own)
        options = options_of(type(self))
        letters = [options[f.name].letter if f.name in options else f.name for f in fields(self)]
        given = [getattr(self, f.name) for f in fields(self)]
        values = ",".join(f"{letter}={value}" for letter, value in zip(letters, given, strict=True))
        return f"{name}:{values}" if values else name


@registered
@dataclass(frozen=True)
class Baseline(Plan):
    """Computes everything: S."""

    name: ClassVar[str] = "baseline"
    kinds: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True)
class Trajectory:
    """A plan made for a number of steps.

    Args:
        plan: what to do.
        steps: how many steps there are.
        kept: the branch that stays where the plan leaves the choice to the model.

    Raises:
        InputError: the plan's gate lies beyond the last step, there are no steps, or the plan's
            kinds, or what it answers for a branch or the text, are none.
    """

    plan: Plan
    steps: int
    kept: Branch = "uncond"

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise InputError(f"steps={self.steps!r} is no number of steps: choose 1 or more")
        if self.kept not in ("uncond", "cond"):
            raise InputError(f"kept={self.kept!r} is no guidance branch: choose 'uncond' or 'cond'")
        check_kinds(self.plan)
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
        return self._answers("keeps", _KEPT)

    @cached_property
    def _texts(self) -> tuple[Text, ...]:
        return self._answers("text", _TEXTS)

    def _answers(self, method: str, choices: tuple[Any, ...]) -> tuple[Any, ...]:
        """What a method of the plan answers for every step."""
        answers = []
        for step in range(self.steps):
            try:
                answer = getattr(self.plan, method)(step)
            except LookupError as error:
                raise self._unanswered(method, f"step {step}", error) from error
            _check_answer(self.plan, method, answer, step, choices)
            answers.append(answer)
        return tuple(answers)

    def _unanswered(self, method: str, where: str, error: Exception) -> InputError:
        return InputError(
            f"{_whose(self.plan)}.{method} has no answer for {where} ({error!r}): this run has "
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
            if action is Action.REUSE:
                raise InputError(
                    f"{self.plan} reuses {_where(site)} at step {step} before it stored any: answer "
                    "Action.STORE at an earlier step"
                )
        wanted = False
        for step in reversed(range(self.steps)):
            if actions[step] is Action.STORE:
                actions[step] = Action.STORE if wanted else Action.COMPUTE
                wanted = False
            wanted = wanted or actions[step] is Action.REUSE
        return tuple(actions)

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
                f"{_whose(self.plan)}.action asks for {error.name!r} of a site, and here are kinds "
                "alone: ask actions(site) for sites of attnscope.find_sites, or count its cost"
            ) from error
        if not isinstance(action, Action):
            raise InputError(
                f"{_whose(self.plan)}.action answers {action!r} for {_where(site)} at step {step}: "
                "choose Action.COMPUTE, Action.STORE or Action.REUSE (attnscope.Action)"
            )
        return action

    def last_reuses(self, site: AnySite) -> frozenset[int]:
        """The steps after which what a site stored is not needed any more."""
        actions = self.actions(site)
        last, wanted = set(), False
        for step in reversed(range(self.steps)):
            if actions[step] is Action.REUSE and not wanted:
                last.add(step)
            wanted = actions[step] is Action.REUSE or (wanted and actions[step] is Action.COMPUTE)
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

    def table(self, kinds: Sequence[str] = ("self", "cross")) -> pd.DataFrame:
        """The schedule as a tidy table.

        Args:
            kinds: of attention.

        Returns:
            Columns ``row`` (a kind of attention, ``branches`` or ``text``), ``step``, and
            ``what``: compute, store, reuse; both, uncond, cond, or one where the choice is the
            model's; prompt, null. The row of the text is there only if it changes.
        """
        import pandas as pd

        steps = range(self.steps)
        columns = {kind: [a.value for a in self.actions(_Example(kind))] for kind in kinds}
        columns["branches"] = ["one" if branch == "model's" else branch for branch in self.keeps]
        if self.reads_null:
            columns["text"] = [self.text(step) for step in steps]
        parts = [pd.DataFrame({"row": r, "step": steps, "what": w}) for r, w in columns.items()]
        return pd.concat(parts, ignore_index=True)


@dataclass(frozen=True)
class _Example:
    """Stands for every site of a kind."""

    kind: str


def made(plan: Plan, steps: int, *, kept: Branch = "uncond") -> Trajectory:
    """A plan made for a number of steps by its own :meth:`Plan.over`.

    Everything that carries a plan out, counts it or shows it makes it here.

    Args:
        plan: of any kind.
        steps: how many there are.
        kept: the branch that stays where the plan leaves the choice to the model.

    Raises:
        InputError: the plan does not fit the steps, or what it answers is none (:class:`Trajectory`),
            or it overrides ``over`` by something that makes no trajectory over these steps.
    """
    found: Any = plan.over(steps, kept=kept)
    if type(found) is not Trajectory or found.steps != steps:
        given = f"one over {found.steps} steps" if type(found) is Trajectory else repr(found)
        raise InputError(
            f"{_whose(plan)}.over answers {given}: leave it as it is, or answer "
            f"Trajectory(plan, {steps}, kept) of another plan"
        )
    return found


def check_kinds(plan: Plan) -> None:
    """Refuse a plan that acts on something else than kinds of attention.

    Raises:
        InputError: with what they are and what they may be.
    """
    kinds: Any = plan.kinds
    listed = isinstance(kinds, (tuple, list, set, frozenset))
    if not listed or any(kind not in _KINDS for kind in kinds):
        raise InputError(
            f"{_whose(plan)}.kinds={kinds!r} are no kinds of attention: give a tuple of any of "
            f"{', '.join(map(repr, _KINDS))}, such as ('cross',)"
        )


def _check_answer(
    plan: Plan, method: str, answer: Any, step: int, choices: tuple[str, ...]
) -> None:
    if not isinstance(answer, str) or answer not in choices:
        *most, last = map(repr, choices)
        raise InputError(
            f"{_whose(plan)}.{method} answers {answer!r} at step {step}: choose "
            f"{', '.join(most)} or {last}"
        )


def _whose(plan: Plan) -> str:
    """A plan in the name of its method: its class, or what a plan of plans is made of."""
    return str(plan) if hasattr(plan, "plans") or hasattr(plan, "plan") else type(plan).__name__


def _where(site: AnySite) -> str:
    """A site by its name and kind, or by its kind alone."""
    name = getattr(site, "name", None)
    return f"{site.kind}-attention" if name is None else f"{name} ({site.kind}-attention)"
