"""A mask over steps: a list of 1 where everything is computed, and 0 where it is reused."""

from __future__ import annotations

from attnscope.plans.formats.base import Modules, one_mask, registered
from attnscope.plans.timetable import Timetable


@registered("steps-mask", about="1 or 0 a step, for all modules at once")
def steps_mask(plan: Timetable, modules: Modules) -> list[int]:
    """The mask.

    Raises:
        InputError: modules differ, some of the denoiser have no row, or the plan forecasts or drops
            a guidance branch.
    """
    return one_mask(plan, modules, "steps-mask")
