"""What plans make of images: every promising one is measured against S on prompts of its own.

One plan is measured after the other, since each is chosen by what the ones before did; the batches of
prompts that it is measured on are tasks of a :class:`attnscope.runs.crew.Crew`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attnscope.analyses.tuning.budget import Budget
from attnscope.analyses.tuning.held import HELD
from attnscope.analyses.tuning.modules import Group, timetable
from attnscope.analyses.tuning.replay import relative_error
from attnscope.analyses.tuning.schedules import Schedule, as_row
from attnscope.analyses.tuning.search import Damages
from attnscope.analyses.tuning.worth import ByMacs, ByTime
from attnscope.hooks.trace import Trace
from attnscope.models.decoding import decoded
from attnscope.plans.base import Plan
from attnscope.plans.timetable import COMPUTE, Timetable
from attnscope.runs.crew import ALONE, Crew, Made, Task
from attnscope.runs.cut import cut
from attnscope.runs.progress import SILENT, Progress
from attnscope.runs.prompts import Prompt
from attnscope.runs.sampling import Sampling

if TYPE_CHECKING:
    from attnscope.models.chosen import ChosenModel

VALUES = ("ssim", "psnr", "damage")
_Pairs = Sequence[tuple[Prompt, Any]]
_Images = tuple[Tensor, list[Any]]
_KEY = ("letters", "guidance", "fresh", "apart")


@dataclass(frozen=True)
class Comparing:
    """Compares a plan's images of a batch with those of S; a :class:`attnscope.runs.crew.Work`.

    Args:
        model: that makes them.
        settings: how they are sampled.
        plan: what is carried out.
    """

    model: ChosenModel
    settings: Sampling
    plan: Plan

    def __call__(self, pipe: Any, items: _Pairs, number: int) -> Made:
        """Compare them: a row per image with ``prompt_id``, ``damage``, ``ssim`` and ``psnr`` in dB."""
        from attnscope.metrics import psnr, ssim

        prompts = [prompt for prompt, _ in items]
        with torch.inference_mode():
            latents, images = HELD.of(
                pipe, ("images of S", self.settings), prompts, lambda: self._made(pipe, items, None)
            )
            made, pictures = self._made(pipe, items, self.plan)
            damage = relative_error(made, latents).tolist()
        rows = {
            "prompt_id": [prompt.prompt_id for prompt in prompts],
            "damage": damage,
            "ssim": list(map(float, ssim(pictures, images))),
            "psnr": [min(value, 99.0) for value in map(float, psnr(pictures, images))],
        }
        return Made(parts={"compared": pd.DataFrame(rows)})

    def _made(self, pipe: Any, items: _Pairs, plan: Plan | None) -> _Images:
        """Final latents, and the images of them."""
        ids = [prompt.prompt_id for prompt, _ in items]
        options = {**self.model.described.options, "output_type": "latent"}
        with Trace(pipe, plan=plan):
            latents = self.settings.call(pipe, [given for _, given in items], ids, **options)
        return latents, decoded(pipe, latents, self.settings.height, self.settings.width)


@dataclass
class Candidates:
    """Measures plans on prompts, and remembers what it measured.

    Args:
        model: that makes the images.
        settings: how images are sampled.
        prompts: one per image.
        given: what the pipeline is given for each.
        groups: all modules that plans act on.
        levels: log-SNR of x_t at every step.
        arithmetic: for the ideal speed-up.
        guided: whether there is guidance.
        cut: images of a batch; halved where memory runs out.
        damages: for what is predicted.
        known: what was measured before: of :attr:`table`.
        progress: given every plan that is measured.
        times: for the speed-up that plans are chosen by; ``None`` chooses them by the ideal one.
        crew: who makes the images.
    """

    model: ChosenModel
    settings: Sampling
    prompts: Sequence[Prompt]
    given: Sequence[Any]
    groups: Sequence[Group]
    levels: tuple[float, ...]
    arithmetic: ByMacs
    guided: bool
    cut: int
    damages: Damages
    known: Sequence[pd.DataFrame] = ()
    progress: Progress = SILENT
    times: ByTime | None = None
    crew: Crew = ALONE

    def __post_init__(self) -> None:
        rows = pd.concat(self.known).to_dict("records") if self.known else []
        self._rows: dict[tuple[str, ...], dict[str, Any]] = {
            tuple(row[name] for name in _KEY): {str(k): v for k, v in row.items()} for row in rows
        }
        self._order = list(self._rows)
        self._schedules: dict[tuple[str, ...], Schedule] = {}  # those that were asked for

    def plan(self, schedule: Schedule, **about: object) -> Timetable:
        """A schedule as a plan."""
        always = COMPUTE * len(self.levels)
        apart = dict.fromkeys(schedule.fresh, always) | dict(schedule.apart)
        letters = [apart.get(group.name, schedule.letters) for group in self.groups]
        return timetable(
            self.groups, self.levels, letters,
            guidance=schedule.branches, directions=schedule.directions, **about,
        )  # fmt: skip

    def speedup(self, schedule: Schedule) -> float:
        """Of a schedule, if time were what its worth is counted by."""
        return (self.times or self.arithmetic).speedup(self.plan(schedule))

    def measure(self, schedule: Schedule) -> dict[str, Any]:
        """What a schedule makes of the images, from before where it was measured.

        Returns:
            ``letters``, ``guidance``, ``fresh``, ``apart``, ``ideal``, where there are times ``by_time``
            (the speed-up by them), ``predicted`` (damage), and of each of
            :data:`VALUES` the mean and, with ``_error``, its standard error over images.
        """
        row = as_row(schedule)
        key = tuple(row[name] for name in _KEY)
        self._schedules[key] = schedule
        if key not in self._rows:
            plan = self.plan(schedule)
            row |= {"ideal": self.arithmetic.speedup(plan), "predicted": self.damages.of(schedule)}
            row |= {} if self.times is None else {"by_time": self.times.speedup(plan)}
            row |= self.compared(plan)
            self._rows[key] = row
            self._order.append(key)
            self.progress.part(pd.DataFrame([row]))
            self.progress.advance()
        return self._rows[key]

    def compared(self, plan: Plan) -> dict[str, float]:
        """Means and standard errors of a plan's images compared with those of S."""
        pairs = list(zip(self.prompts, self.given, strict=True))
        work = Comparing(self.model, self.settings, plan)
        tasks = [Task(number, batch, work) for number, batch in enumerate(cut(pairs, self.cut))]
        size = self.progress.batch_size
        done = self.crew.each(tasks, size=size, progress=self.progress)
        rows = pd.concat([one.made.parts["compared"] for one in done]).set_index("prompt_id")
        rows = rows.loc[[prompt.prompt_id for prompt in self.prompts]]  # whoever was first
        found = {}
        for name in VALUES:
            each = rows[name].tolist()
            found[name] = float(np.mean(each))
            found[f"{name}_error"] = float(np.std(each, ddof=1) / np.sqrt(len(each)))
        return found

    def margin(self, schedule: Schedule, budget: Budget) -> float:
        """By how much a schedule keeps to a budget; measures it."""
        row = self.measure(schedule)
        return budget.margin(row[budget.measure], row[f"{budget.measure}_error"])

    def within(self, budget: Budget) -> list[Schedule]:
        """All schedules that were measured in this search and keep to a budget."""
        rows = (
            (self._schedules[key], self._rows[key]) for key in self._order if key in self._schedules
        )
        name = budget.measure
        return [one for one, row in rows if budget.margin(row[name], row[f"{name}_error"]) >= 0]

    @property
    def table(self) -> pd.DataFrame:
        """All that was measured, in that order."""
        return pd.DataFrame([self._rows[key] for key in self._order])

    @property
    def count(self) -> int:
        """How many plans were asked for, from before or not: a run that goes on has no more than others."""
        return len(self._schedules)
