"""A mask over steps: a list of 1 where everything is computed, and 0 where it is reused."""

from __future__ import annotations

from attnscope.errors import InputError
from attnscope.plans.formats.base import (
    Modules,
    check_guided,
    check_no_forecast,
    mask,
    one_row,
    registered,
)
from attnscope.plans.timetable import Timetable


@registered("steps-mask", about="1 or 0 a step, for all modules at once")
def steps_mask(plan: Timetable, modules: Modules) -> list[int]:
    """The mask.

    Raises:
        InputError: modules differ, some of the denoiser have no row, or the plan forecasts or drops
            a guidance branch.
    """
    return checked_mask(plan, modules, "steps-mask")


def checked_mask(plan: Timetable, modules: Modules, name: str) -> list[int]:
    """The one mask of a plan, for a format of a name; see :func:`steps_mask`."""
    letters = one_row(plan, name)
    check_guided(plan, name)
    check_no_forecast(plan, name)
    kinds = set(plan.kinds)
    without = sorted(n for n, kind in modules.items() if kind in kinds and n not in plan.modules)
    if without:
        raise InputError(
            f"{name} has one row for all modules: {plan} has none for {len(without)} of them, such as "
            f"{without[0]}, which it computes at every step"
        )
    return mask(letters)
