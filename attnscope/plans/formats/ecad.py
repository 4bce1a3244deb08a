"""ECAD's schedules: at every step, whether each component of each block is computed.

"Evolutionary Caching to Accelerate Your Off-the-Shelf Diffusion Model" (arXiv 2506.15682): a binary
tensor of steps, blocks and components, kept as JSON. It has two families: PixArt's blocks, and Flux's,
of which what we do not act on is computed.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

from attnscope.errors import InputError
from attnscope.plans.formats.base import Modules, check_guided, check_no_forecast, registered
from attnscope.plans.timetable import COMPUTE, Timetable

_PIXART = {"attn1": "attn1", "attn2": "attn2", "ff": "ff"}
_FULL = {"attn": "full_attn", "ff": "full_ff", "ff_context": "full_ff_context"}
_SINGLE = {
    "attn": "single_attn",
    "proj_mlp": "single_proj_mlp",
    "proj_out": "single_proj_out",
}
_NAME = re.compile(
    r"(?P<single>single_)?transformer_blocks\.(?P<block>\d+)\.(?P<part>attn[12]?|ff)"
)


@registered("ecad", about="a schedule of ECAD for PixArt or Flux")
def ecad(plan: Timetable, modules: Modules) -> dict[str, Any]:
    """The schedule.

    Blocks that the plan does not name are computed. How many there are, the model tells; without one,
    the last that is named is the last.

    Raises:
        InputError: the plan names something else than components of such blocks, drops a guidance
            branch, or forecasts.
    """
    check_guided(plan, "ecad")
    check_no_forecast(plan, "ecad")
    rows = {}
    for _, name, letters in plan.rows:
        rows[_place(plan, name)] = letters
    known = {**dict.fromkeys(plan.modules), **dict.fromkeys(filter(_NAME.fullmatch, modules))}
    blocks, singles = (_blocks(known, single=single) for single in (False, True))
    flux = singles > 0 or any(name.endswith(".attn") for name in known)
    schedule = {
        f"{step:03}": {
            **{
                str(block): _components(rows, False, block, _FULL if flux else _PIXART, step)
                for block in range(blocks)
            },
            **{
                f"single_{block}": _components(rows, True, block, _SINGLE, step)
                for block in range(singles)
            },
        }
        for step in range(plan.own_steps)
    }
    about = {"num_single_blocks": singles} if flux else {}
    path = plan.source.rpartition("@")[0] or plan.source
    return {
        "cache_schedule": {
            "num_blocks": blocks,
            "num_inference_steps": plan.own_steps,
            "name": PurePath(path).stem or plan.name,
            "attributes": {},
            "schedule": schedule,
            **about,
        },
        "config": {},
        "metrics": {},
    }


def _place(plan: Timetable, name: str) -> tuple[bool, int, str]:
    """Whether a module is of a single block, the number of the block, and which part of it it is."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise InputError(
            f"ecad has schedules of the attention and feed-forwards of PixArt's and Flux's blocks, and "
            f"{plan} names {name}"
        )
    return match["single"] is not None, int(match["block"]), match["part"]


def _blocks(names: Any, *, single: bool) -> int:
    """How many blocks there are."""
    found = [_NAME.fullmatch(name) for name in names]
    numbers = [int(m["block"]) for m in found if m and (m["single"] is not None) is single]
    return max(numbers, default=-1) + 1


def _components(
    rows: dict[tuple[bool, int, str], str],
    single: bool,
    block: int,
    parts: dict[str, str],
    step: int,
) -> dict[str, bool]:
    """Whether each component of a block is computed at a step."""
    return {
        name: rows.get((single, block, part), COMPUTE * (step + 1))[step] == COMPUTE
        for part, name in parts.items()
    }
