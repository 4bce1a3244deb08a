"""Plans as text: ``m=10,k=5``, ``guidance-cutoff:m=10``, and several at once with ``+``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from importlib import import_module
from typing import Any, ClassVar

from attnscope.errors import InputError
from attnscope.kinds import in_words
from attnscope.plans import (  # they register what they hold
    anchored,
    guidance,
    null_text,
    reuse,
    reweight,
    spatial,
    timetable,
)
from attnscope.plans.base import (
    PLANS,
    Action,
    AnySite,
    Kept,
    Plan,
    Text,
    check_kinds,
)
from attnscope.plans.options import Levels, options_of

__all__ = [
    "PLANS",
    "Combined",
    "anchored",
    "guidance",
    "null_text",
    "parse",
    "reuse",
    "reweight",
    "spatial",
]


@dataclass(frozen=True)
class Combined(Plan):
    """Several plans at once, ``a+b`` in the text form, such as ``cross-reuse:m=10+guidance-cutoff:m=10``.

    Args:
        plans: two or more, as plans or in their text forms.

    Raises:
        InputError: there are fewer, or two of them act on the same kind of attention, drop a branch
            or replace the text.
    """

    name: ClassVar[str] = "combined"
    plans: tuple[Plan, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "plans", tuple(parse(plan) for plan in self.plans))
        for plan in self.plans:
            check_kinds(plan)
        if len(self.plans) < 2:
            raise InputError("a combined plan needs two plans or more, as in 'cross-reuse:m=5+…'")
        matters = {in_words(kind): [kind in p.kinds for p in self.plans] for kind in self.kinds}
        matters["guidance"] = [p.ever_drops() for p in self.plans]
        matters["attention to words"] = [p.ever_weighs() for p in self.plans]
        matters["the text"] = [p.ever_reads_null() for p in self.plans]
        drops = any(plan.ever_drops() for plan in self.plans)
        if drops and len({plan.averages for plan in self.plans if plan.kinds}) > 1:
            raise InputError(
                f"{self} cannot be combined: some average what both branches stored, and some do not"
            )
        for matter, acting in matters.items():
            if sum(acting) > 1:
                both = " and ".join(
                    str(p) for p, acts in zip(self.plans, acting, strict=True) if acts
                )
                raise InputError(f"{both} cannot be combined: each acts on {matter}")

    @property
    def kinds(self) -> tuple[str, ...]:  # type: ignore[override]
        """The kinds of attention that any of the plans acts on."""
        return tuple(dict.fromkeys(kind for plan in self.plans for kind in plan.kinds))

    @property
    def gate(self) -> int:
        """The last gate of all."""
        return max(getattr(plan, "gate", 0) for plan in self.plans)

    def action(self, site: AnySite, step: int) -> Action:
        """What a site does at a step: what the plan says that acts on its kind."""
        return next(p for p in self.plans if site.kind in p.kinds).action(site, step)

    def order(self, site: AnySite) -> int:
        """By which differences a site forecasts: what the plan says that acts on its kind."""
        return next(p for p in self.plans if site.kind in p.kinds).order(site)

    @property
    def averages(self) -> bool:  # type: ignore[override]
        """Whether any of the plans that act on modules says so."""
        return any(plan.averages for plan in self.plans if plan.kinds)

    @property
    def modules(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those that any of the plans names."""
        return tuple(name for plan in self.plans for name in plan.modules)

    @property
    def kinds_named(self) -> Mapping[str, str]:
        """Those of any of the plans."""
        return {name: kind for p in self.plans for name, kind in p.kinds_named.items()}

    @property
    def own_steps(self) -> int | None:
        """Those of the plan that has any."""
        return next((p.own_steps for p in self.plans if p.own_steps is not None), None)

    def placed(self, levels: Levels) -> Plan:
        """The plans, placed."""
        return Combined(tuple(plan.placed(levels) for plan in self.plans))

    def direction(self, step: int) -> float:
        """How much of the last guidance counts: as any of the plans says."""
        return max(plan.direction(step) for plan in self.plans)

    def weights(self, step: int) -> Mapping[str, float]:
        """Of words: as any of the plans says."""
        return {word: w for plan in self.plans for word, w in plan.weights(step).items()}

    def keeps(self, step: int) -> Kept:
        """Which guidance branches run at a step: fewer where any of the plans drops one."""
        kept = [plan.keeps(step) for plan in self.plans]
        return next((branch for branch in kept if branch != "both"), "both")

    def text(self, step: int) -> Text:
        """What the conditional branch reads at a step: nothing where any of the plans says so."""
        texts = [plan.text(step) for plan in self.plans]
        return next((text for text in texts if text != "prompt"), "prompt")

    def __str__(self) -> str:
        return "+".join(map(str, self.plans))


def parse(text: str | Plan) -> Plan:
    """A plan from its text form; a plan is returned as it is.

    Args:
        text: ``name:key=value,…``, or the values alone for T-GATE; several with ``+``; or the file of a
            plan, ``plan.json``. Keys are the
            letters of the paper (m, k, w, f) or the full names (gate, interval, warmup,
            late_interval, keep).

    Raises:
        InputError: the name, a key or a value is not known, or one is missing.
    """
    if isinstance(text, Plan):
        return text
    if not isinstance(text, str):
        raise InputError(f"{text!r} is no plan: give a text such as 'm=10,k=5' or a Plan")
    parts = _parts(text)
    if len(parts) > 1:
        return Combined(tuple(parse(part) for part in parts))
    if timetable.is_file(text):
        return timetable.read(text)
    name, colon, values = text.strip().partition(":")
    if not colon:
        name, values = ("tgate", text) if "=" in text else (name, "")
    inner, _, inner_values = values.partition(":")
    if f"{name}:{inner}" in PLANS:  # of a module, by find
        name, values = f"{name}:{inner}", inner_values
    if name not in PLANS:
        raise InputError(f"no such plan: {name!r} (choose {', '.join(PLANS)})")
    return _made(name, values, text)


def find(text: str) -> Plan:
    """A plan from its text form, or a plan of one's own from the module that it stands in.

    Args:
        text: as of :func:`parse`, or with ``module:Class`` or ``module:Class:key=value,…``, for which
            the module is imported. Its class then has a text form for as long as the process lives.

    Raises:
        InputError: there is no such plan, module or class, or the class is no plan.
    """
    parts = _parts(text)
    if len(parts) > 1:
        return Combined(tuple(find(part) for part in parts))
    name, _, rest = text.strip().partition(":")
    wanted = rest.partition(":")[0]
    if name in PLANS or not re.fullmatch(r"[A-Za-z_][\w.]*", name) or not wanted.isidentifier():
        return parse(text)
    try:
        kind = getattr(import_module(name), wanted)
    except ImportError as error:
        raise InputError(
            f"no such plan: {text!r} (choose {', '.join(PLANS)}), and no module {name!r} that can be "
            f"imported: {error}"
        ) from error
    except AttributeError as error:
        raise InputError(f"module {name!r} has no {wanted!r}: name a class of it") from error
    if not isinstance(kind, type) or not issubclass(kind, Plan) or not is_dataclass(kind):
        raise InputError(f"{name}:{wanted} is no dataclass derived from attnscope.Plan")
    other = [field.name for field in fields(kind) if field.name not in options_of(kind)]
    if other:
        raise InputError(
            f"{name}:{wanted} has the field {other[0]!r}, which no text can say: annotate it as "
            f"Annotated[int, Option({other[0][0]!r})], with attnscope.plans.options.Option"
        )
    if kind not in PLANS.values():
        PLANS[f"{name}:{wanted}"] = kind
    return parse(text)


def _parts(text: str) -> list[str]:
    """The plans of a combined one; a file that is there may have a ``+`` in its name."""
    return [text] if timetable.is_there(text) else re.split(r"\+(?=[A-Za-z_./~])", text)


def _made(plan: str, values: str, text: str) -> Plan:
    kind = PLANS[plan]
    options = options_of(kind)
    names = {option.letter: name for name, option in options.items()} | {n: n for n in options}
    allowed = ", ".join(option.named(name) for name, option in options.items())
    given: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in values.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or key not in names:
            hint = f"choose from {allowed}" if options else "it takes none"
            raise InputError(f"{part!r} in {text!r} is no option of {plan}: {hint}")
        name = names[key]
        if name in given:
            raise InputError(f"{key!r} is given twice in {text!r}")
        try:
            given[name] = options[name].read(value)
        except InputError as error:
            more = ": values are parted by commas, as in m=10,k=5" if "=" in value else ""
            raise InputError(f"{part!r} in {text!r}: {error}{more}") from error
    required = [field.name for field in fields(kind) if field.default is MISSING]
    missing = [options[name].named(name) for name in required if name not in given]
    if missing:
        raise InputError(f"{text!r} lacks {' and '.join(missing)}; {plan} takes {allowed}")
    return kind(**given)
