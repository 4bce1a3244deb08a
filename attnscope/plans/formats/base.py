"""What a format of plans is, and how it comes to be known by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attnscope.errors import InputError
from attnscope.plans.timetable import COMPUTE, FORECAST, Timetable, ancestors

if TYPE_CHECKING:
    from attnscope.plans.base import Plan

Modules = Mapping[str, str]
"""The kinds of a denoiser's modules by their names; empty where the model was not named."""


@dataclass(frozen=True)
class Format:
    """How others write down what every step does.

    Args:
        name: what it goes by on the command line.
        about: what it is, in words.
        document: of a plan and the denoiser's modules, as it stands in JSON.
        python: the same as lines of Python, if that has a form of its own.
    """

    name: str
    about: str
    document: Callable[[Timetable, Modules], Any]
    python: Callable[[Any], str] | None = None

    @property
    def endings(self) -> tuple[str, ...]:
        """Of the files that it may be written to."""
        return (".json",) if self.python is None else (".json", ".py")

    def text(self, plan: Plan, modules: Modules, ending: str = ".json") -> str:
        """A plan in this format.

        Args:
            plan: over the steps that are to be written.
            modules: of the denoiser that it is for.
            ending: one of :attr:`endings`.

        Raises:
            InputError: the format cannot say what the plan does, or the plan is no timetable.
        """
        from attnscope import documents  # which needs pandas, and no help does

        if not isinstance(plan, Timetable):
            raise InputError(
                f"{self.name} is written of the file of a plan alone, which names its modules: {plan} "
                "is none"
            )
        document = self.document(plan, modules)
        if ending == ".py" and self.python is not None:
            return self.python(document)
        return documents.text(document, indent=None if isinstance(document, list) else 2) + "\n"


FORMATS: dict[str, Format] = {}
"""By the names that they go by on the command line."""
Document = Callable[[Timetable, Modules], Any]


def registered(
    name: str, *, about: str, python: Callable[[Any], str] | None = None
) -> Callable[[Document], Document]:
    """Make a function that writes plans down known to ``attnscope plan --to``.

    Args:
        name: as of :class:`Format`, like the two that follow.
        about: see there.
        python: see there.

    Returns:
        A decorator that returns what it is given.

    Raises:
        ValueError: there is one of this name.
    """
    if name in FORMATS:
        raise ValueError(f"there are two formats {name!r}")

    def register(document: Document) -> Document:
        FORMATS[name] = Format(name, about, document, python)
        return document

    return register


def check_guided(plan: Timetable, name: str) -> None:
    """Refuse a plan that drops a guidance branch, for formats that say nothing of guidance.

    Raises:
        InputError: it does.
    """
    dropped = sum(letter != "b" for letter in plan.guidance)
    if dropped:
        raise InputError(
            f"{name} says nothing of guidance, and {plan} drops a branch in {dropped} of "
            f"{plan.own_steps} steps"
        )


def check_no_forecast(plan: Timetable, name: str) -> None:
    """Refuse a plan that forecasts, for formats that can reuse alone.

    Raises:
        InputError: it does.
    """
    row = next((row for row in plan.rows if FORECAST in row[2]), None)
    if row is not None:
        raise InputError(
            f"{name} computes or reuses, and {plan} forecasts {row[1]} at step "
            f"{row[2].index(FORECAST)}"
        )


def one_mask(plan: Timetable, modules: Modules, name: str) -> list[int]:
    """1 where all modules compute and 0 where all reuse, for formats with one mask for all of them.

    Args:
        plan: over the steps of the mask.
        modules: of the denoiser; all that stand in no other must have a row.
        name: of the format.

    Raises:
        InputError: modules differ, or the plan forecasts or drops a guidance branch.
    """
    rows = {letters: module for _, module, letters in plan.rows}
    if len(rows) != 1:
        why = f"{' and '.join(list(rows.values())[:2])} differ" if rows else "it has no row"
        raise InputError(f"{name} has one row for all modules of {plan}: {why}")
    check_guided(plan, name)
    check_no_forecast(plan, name)
    outermost = {module for module in modules if not ancestors(module) & {*modules}}
    without = sorted(outermost - {*plan.modules})
    if without:
        raise InputError(
            f"{name} has one row for all modules, and {plan} has none for {len(without)} of them, such "
            f"as {without[0]}, which it computes at every step"
        )
    return [int(letter == COMPUTE) for letter in next(iter(rows))]
