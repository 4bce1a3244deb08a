"""What every module, every guidance branch and the text do at every denoising step.

A :class:`Plan` is a recipe: ``TGate(gate=10, interval=5)``. Made for a number of steps by
:meth:`Plan.over` it becomes a :class:`~attnscope.plans.trajectory.Trajectory`, which a
:class:`~attnscope.Trace` carries out and which answers ``action(site, step)``, ``branches(step)`` and
``text(step)``. Steps count from 0.

Every plan has a text form: :func:`~attnscope.plans.text_form.parse` reads it, ``str(plan)`` writes it::

    m=10,k=5                      tgate:m=10,k=5,w=2,f=1
    guidance-cutoff:m=10          null-text-late:m=3

Semantics: "Faster Diffusion via Temporal Attention Decomposition", sections 3 and 4, appendix B;
`TGate` follows its authors' code. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    Protocol,
    TypeVar,
)

from attnscope.errors import InputError
from attnscope.kinds import ACTING
from attnscope.plans.options import Levels, Nats, options_of

if TYPE_CHECKING:
    from attnscope.plans.trajectory import Trajectory

Branch = Literal["uncond", "cond"]
Kept = Literal["uncond", "cond", "model's", "both"]
Text = Literal["prompt", "null"]
KEPT: tuple[Kept, ...] = ("both", "uncond", "cond", "model's")
TEXTS: tuple[Text, ...] = ("prompt", "null")
"""What :meth:`Plan.keeps` and :meth:`Plan.text` may answer."""
ORDERS = (1, 2)
"""What :meth:`Plan.order` may answer."""
_MOST_STEPS = 1000
"""Training timesteps, and so the most steps that there can be."""


class Action(Enum):
    """What a module does in one call."""

    COMPUTE = "compute"
    STORE = "store"
    """Compute, and keep the result for later steps."""
    REUSE = "reuse"
    """Return what was kept, without computing."""
    FORECAST = "forecast"
    """Carry on, over log-SNR, along the line through the last two that were kept, without computing.

    Of a plan whose :meth:`Plan.order` is 2, along the parabola through the last three. Where two alone were
    kept it is the line, and where one alone was, or log-SNR is not known, what was kept is returned."""

    @property
    def computes(self) -> bool:
        """Whether the module runs."""
        return self in (Action.COMPUTE, Action.STORE)


class AnySite(Protocol):
    """What a plan may know of a site; :class:`attnscope.Site` is one."""

    @property
    def kind(self) -> str:
        """One of :data:`attnscope.kinds.ACTING`, such as ``cross`` or ``feed-forward``."""


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
    """The kinds of modules that the plan acts on, of :data:`attnscope.kinds.ACTING`."""
    averages: ClassVar[bool] = True
    """Whether what both branches stored is averaged for the one that stays, as T-GATE does.

    If not, it goes on with what it stored itself."""
    modules: ClassVar[tuple[str, ...]] = ()
    """The modules that the plan names, all of which a denoiser must have; a rule by kinds has none."""

    @property
    def kinds_named(self) -> Mapping[str, str]:
        """The kinds of the modules that the plan names, by their names."""
        return {}

    @property
    def own_steps(self) -> int | None:
        """How many steps it was found at; a rule fits any number."""
        return None

    def __post_init__(self) -> None:
        for name, option in options_of(type(self)).items():
            option.check(name, getattr(self, name))

    def action(self, site: AnySite, step: int) -> Action:
        """What a site does at a step."""
        return Action.COMPUTE

    def order(self, site: AnySite) -> int:
        """By which differences a site forecasts over log-SNR: 1, along a line, or 2, along a parabola."""
        return 1

    def keeps(self, step: int) -> Kept:
        """Which guidance branches run at a step: both, or the one that is named.

        ``"model's"`` leaves the choice to the model: the unconditional branch, or for Stable Video
        Diffusion the conditional one.
        """
        return "both"

    def text(self, step: int) -> Text:
        """What the conditional branch reads at a step: the prompt, or the encoding of ""."""
        return "prompt"

    def weights(self, step: int) -> Mapping[str, float]:
        """By what attention to words of the prompt is scaled at a step; no words leave it as it is."""
        return {}

    def direction(self, step: int) -> float:
        """How much of the last guidance still counts at a step that keeps the conditional branch alone.

        Guidance goes on along the difference of both branches' predictions when they last ran, times
        this; 0 is none, and 1 leaves it as it was.
        """
        return 0.0

    def ever_drops(self) -> bool:
        """Whether a guidance branch is dropped at any step.

        Raises:
            InputError: the first answer is none.
        """
        return self._ever("keeps", KEPT, ("uncond", "cond", "model's"))

    def ever_reads_null(self) -> bool:
        """Whether the prompt is replaced at any step.

        Raises:
            InputError: the first answer is none.
        """
        return self._ever("text", TEXTS, ("null",))

    def ever_weighs(self) -> bool:
        """Whether attention to any word is scaled at any step."""
        for step in range(_MOST_STEPS):
            try:
                if self.weights(step):
                    return True
            except LookupError:  # a table that ends here
                return False
        return False

    def _ever(self, method: str, choices: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
        """Whether a method gives one of the answers wanted, in whatever number of steps.

        What is wrong at a later step is left to the trajectory: a run may not come so far.
        """
        for step in range(_MOST_STEPS):
            try:
                answer = getattr(self, method)(step)
            except LookupError:  # a table that ends here
                return False
            if step == 0:
                check_answer(self, method, answer, step, choices)
            if answer in wanted:
                return True
        return False

    def over(self, steps: int, *, kept: Branch = "uncond", levels: Levels = None) -> Trajectory:
        """The plan made for a number of steps.

        Args:
            steps: how many there are.
            kept: the branch that stays where the plan leaves the choice to the model.
            levels: log-SNR of x_t at every step in nats, rising; ``None`` where it is not known.

        Raises:
            InputError: the plan's gate lies beyond the last step, or before the first where it is
                said in nats.
        """
        from attnscope.plans.trajectory import Trajectory

        return Trajectory(self.placed(levels), steps, kept, levels)

    def placed(self, levels: Levels) -> Plan:
        """The plan with steps in the place of what it says in nats of log-SNR.

        Args:
            levels: at every step, as of :meth:`over`.

        Raises:
            InputError: they are not known, or it says that a gate lies before the first.
        """
        options = options_of(type(self))
        said = {n: v for n in options if isinstance(v := getattr(self, n), Nats)}
        return (
            replace(self, **{n: options[n].placed(n, v, levels) for n, v in said.items()})
            if said
            else self
        )

    def _repr_html_(self) -> str:
        """The plan in a notebook: what it does at every step, of its own number of steps or of 25."""
        from attnscope.plans.display import as_html

        return as_html(self)

    def __str__(self) -> str:
        own = self.name or type(self).__name__
        name = next((name for name, kind in PLANS.items() if kind is type(self)), own)
        options = options_of(type(self))
        letters = [options[f.name].letter if f.name in options else f.name for f in fields(self)]
        given = [
            options[f.name].write(getattr(self, f.name))
            if f.name in options
            else getattr(self, f.name)
            for f in fields(self)
        ]
        values = ",".join(f"{letter}={value}" for letter, value in zip(letters, given, strict=True))
        return f"{name}:{values}" if values else name


@registered
@dataclass(frozen=True)
class Baseline(Plan):
    """Computes everything: S."""

    name: ClassVar[str] = "baseline"
    kinds: ClassVar[tuple[str, ...]] = ()


def check_kinds(plan: Plan) -> None:
    """Refuse a plan that acts on something else than kinds of modules.

    Raises:
        InputError: with what they are and what they may be.
    """
    kinds: Any = plan.kinds
    listed = isinstance(kinds, (tuple, list, set, frozenset))
    if not listed or any(kind not in ACTING for kind in kinds):
        raise InputError(
            f"{whose(plan)}.kinds={kinds!r} are no kinds of modules: give a tuple of any of "
            f"{', '.join(map(repr, ACTING))}, such as ('cross',)"
        )


def check_answer(plan: Plan, method: str, answer: Any, step: int, choices: tuple[str, ...]) -> None:
    """Refuse what a method of a plan answers, if it is none of the choices.

    Raises:
        InputError: with the plan, the method, the step and the choices.
    """
    if not isinstance(answer, str) or answer not in choices:
        *most, last = map(repr, choices)
        raise InputError(
            f"{whose(plan)}.{method} answers {answer!r} at step {step}: choose "
            f"{', '.join(most)} or {last}"
        )


def whose(plan: Plan) -> str:
    """A plan in the name of its method: its class, or what a plan of plans is made of."""
    return str(plan) if hasattr(plan, "plans") or hasattr(plan, "plan") else type(plan).__name__
