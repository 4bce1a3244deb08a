"""``--plans``: several plans in one run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnscope.errors import InputError

if TYPE_CHECKING:
    from attnscope.cli.options import PlanOptions
    from attnscope.plans.base import Plan

_FEWEST = 2


def plan_list(text: str) -> tuple[Plan, ...]:
    """The plans of ``--plans``, in their order.

    Raises:
        InputError: there is no such plan, one stands twice, or there are fewer than two.
    """
    from attnscope.cli.parsing import chosen_plan

    found = [chosen_plan(None, part.strip()) for part in text.split(";") if part.strip()]
    plans = tuple(plan for plan in found if plan is not None)
    if len(plans) < _FEWEST:
        raise InputError(
            f'--plans {text!r} has {len(plans)}: give two or more, as in --plans "baseline;m=10;m=10,k=5"'
        )
    names = [str(plan) for plan in plans]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"--plans {text!r} has {twice} twice: each is made once")
    return plans


def check_alone(planned: PlanOptions, **others: object) -> None:
    """Refuse ``--plans`` beside what chooses plans in another way.

    Args:
        planned: ``--tgate``, ``--plan`` and ``--gate``.
        others: of the command, by name; what is ``None`` or ``False`` was not given.

    Raises:
        InputError: something was given.
    """
    from attnscope.cli.flags import flag

    given = [flag(name) for name in planned.given()]
    given += [flag(name) for name, value in others.items() if value not in (None, False)]
    if given:
        raise InputError(f"--plans says which plans there are: leave {' and '.join(given)} out")
