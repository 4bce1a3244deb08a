"""How long every group of modules takes in a call of the denoiser, on this machine.

One image is made again and again. Its calls take turns: with all branches and with one, everything
computed and everything stale, so that what slows the machine down for a while slows all of them. A
module that is stale still costs its call, and a residual block its shortcut: both are measured, and so
is a dropped branch. The stopwatch stands around the hook that carries plans out.
"""

from __future__ import annotations

import warnings
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from attnscope.analyses.bench.instruments import ModuleTimes, Stopwatch
from attnscope.analyses.tuning.modules import Group, timetable
from attnscope.analyses.tuning.schedules import DROPPED, GUIDED
from attnscope.analyses.tuning.worth import COMPUTED, STALE, WHOLE
from attnscope.hooks.trace import Trace
from attnscope.plans.timetable import COMPUTE, REUSE
from attnscope.runs.progress import SILENT, Progress
from attnscope.sites.denoiser import Denoiser

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attnscope.analyses.tuning.calibration import Calibration
    from attnscope.analyses.tuning.parts import Steps

COLUMNS = ("group", "branches", "state", "median", "low", "high", "calls")
_CALLS = 20
"""Of every way, at least, after the warm-up."""


def rounds_of(steps: int, guided: bool) -> int:
    """How often an image is made, besides once to warm up: an even number of times.

    Args:
        steps: that it takes.
        guided: whether calls with one branch take turns with those on two.
    """
    each = max(1, steps // (4 if guided else 2))
    return 2 * ceil(_CALLS / each / 2)


def measure_times(
    calibration: Calibration,
    steps: Steps,
    groups: Sequence[Group],
    *,
    stopwatch: Stopwatch,
    progress: Progress = SILENT,
) -> pd.DataFrame:
    """Measure calls of the denoiser, and the modules in them.

    Args:
        calibration: whose pipeline makes its first image, in this process.
        steps: of its runs.
        groups: all modules that plans act on.
        stopwatch: of the pipeline's device.
        progress: told of every image.

    Returns:
        A row per group (and :data:`~attnscope.analyses.tuning.worth.WHOLE`, the call), number of
        ``branches`` and ``state`` (computed, stale): ``median``, ``low`` and ``high`` in milliseconds
        over so many ``calls``.
    """
    pipe, levels, guided = calibration.model.pipe, steps.levels, steps.guided
    denoiser = Denoiser.of(pipe)
    modules = {group.name: [denoiser.module.get_submodule(n) for n in group.names] for group in groups}  # fmt: skip
    found: dict[tuple[int, str], list[dict[str, float]]] = {}
    for number in range(-1, rounds_of(len(steps), guided)):
        letters, guidance = _turns(number, len(steps), guided)
        plan = timetable(groups, levels, letters, guidance=guidance)
        times = ModuleTimes({**modules, WHOLE: [denoiser.outer]}, stopwatch)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of modules that no step calls
            with Trace(pipe, plan=plan), times.on():
                calibration.one_image()
        calls = times.by_call(WHOLE)
        for place, call in enumerate(calls if number >= 0 else ()):
            step = place * len(steps) // len(calls)
            branches = 2 if guided and guidance[step] == GUIDED else 1
            state = COMPUTED if letters[step] == COMPUTE else STALE
            found.setdefault((branches, state), []).append(call)
        progress.advance()
    rows = [
        (name, branches, state, *_spread([1000 * call[name] for call in calls]), len(calls))
        for (branches, state), calls in sorted(found.items())
        for name in (WHOLE, *modules)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _turns(number: int, steps: int, guided: bool) -> tuple[str, str]:
    """What all modules, and guidance, do at every step of a round; both numbers of branches begin."""
    letters = (COMPUTE + REUSE) * steps
    turns = (GUIDED * 2 + DROPPED * 2) * steps if guided else GUIDED * 2 * steps
    first = 2 * (number % 2) if guided else 0
    return letters[:steps], turns[first : first + steps]


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return float(np.median(values)), float(np.min(values)), float(np.max(values))
