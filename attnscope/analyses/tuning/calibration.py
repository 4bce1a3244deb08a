"""What it does to the latents when modules are stale, or guidance is missing, at some steps alone.

On a few prompts a full run is kept. Then

- ``module``: the modules of one kind and stage stale by one step; nothing else is. By this, families of
  modules are chosen (:func:`attnscope.analyses.tuning.search.families`).
- ``window``: all modules of a family are stale in 1 to L steps after one at which they computed, by
  repeating what they stored or by forecasting it; what that does to the latents at the end of the
  window.
- ``final``: one stale step after which everything is computed to the end; what is left in the final
  latents. Their quotient says how damage at a noise level grows or fades until the end.
- ``guidance``: one step without guidance, dropped or going on along its last direction; ``gate``: all
  steps from one on to the end, and what that does to the final latents.

Damage is |x' - x|² / |x|² of the latents, per image. Steps that are not part of a window are not
computed again (:mod:`attnscope.analyses.tuning.replay`), so that all of this costs about as much as
making the images forty times, and eighty with every kind of module measured by itself.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd
from torch import Tensor

from attnscope.analyses.tuning.modules import Group, timetable
from attnscope.analyses.tuning.replay import (
    Trajectory,
    answers_kept,
    answers_replayed,
    relative_error,
)
from attnscope.errors import InputError
from attnscope.hooks.branches import first_tensor
from attnscope.hooks.trace import Trace
from attnscope.models.schedulers import levels_of
from attnscope.plans.base import Plan
from attnscope.plans.timetable import COMPUTE, FORECAST, REUSE
from attnscope.runs.batches import Batches
from attnscope.runs.progress import SILENT, Progress
from attnscope.runs.prompts import Prompt
from attnscope.runs.sampling import Sampling

LONGEST = 8
"""Stale steps of a window, at most."""
COLUMNS = ("what", "group", "letter", "step", "log_snr", "length", "prompt_id", "damage")


@dataclass(frozen=True)
class Part:
    """One thing to measure: a run of which some steps are computed.

    Args:
        what: ``window``, ``final``, ``guidance``, ``gate`` or ``module``.
        group: whose modules are stale; empty is all.
        letter: how (:mod:`attnscope.plans.timetable`); of ``guidance``, ``c`` drops it and ``d`` goes on
            along its last direction.
        step: the first that is stale, or that has no guidance.
        plan: what is carried out.
        computed: the steps that compute.
        read: the step at which the latents are read, or the first and last of several.
    """

    what: str
    group: str
    letter: str
    step: int
    plan: Plan
    computed: range
    read: range

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What tells it from all others."""
        return self.what, self.group, self.letter, self.step


@dataclass
class _Batch:
    """Prompts that are denoised at once, and a full run of them."""

    prompts: Sequence[Prompt]
    given: Sequence[Any]
    answers: list[Any]
    before: list[Tensor]


@dataclass
class Calibration:
    """Measures on a few prompts.

    Args:
        pipe: the pipeline.
        settings: how images are sampled.
        prompts: one per image.
        given: what the pipeline is given for each.
        options: further keywords of the pipeline.
        batch_size: images made at once; halved where memory runs out, also later, for what is stored
            takes memory that a plain run does not.
        progress: told of a smaller batch.

    Raises:
        InputError: the scheduler does not tell the noise levels of its steps.
    """

    pipe: Any
    settings: Sampling
    prompts: Sequence[Prompt]
    given: Sequence[Any]
    options: dict[str, Any] = field(default_factory=dict)
    batch_size: int = 16
    progress: Progress = SILENT

    def __post_init__(self) -> None:
        pairs = list(zip(self.prompts, self.given, strict=True))
        self._batches = Batches(pairs, self.batch_size, self._whole, progress=self.progress)
        self.steps = len(self._batches.first[1].before) - 1
        levels = levels_of(self.pipe.scheduler)
        if levels is None or len(levels) != self.steps:
            raise InputError(
                f"{type(self.pipe.scheduler).__name__} does not tell the noise levels of its steps, "
                "over which plans are searched: choose `scheduler='dpm'`, euler, ddim or pndm"
            )
        self.levels = levels

    def _whole(self, pairs: Sequence[tuple[Prompt, Any]]) -> _Batch:
        """A full run of some prompts."""
        made = _Batch([p for p, _ in pairs], [g for _, g in pairs], [], [])
        with answers_kept(self.pipe, made.answers):
            made.before = self._run(made)
        return made

    @cached_property
    def guided(self) -> bool:
        """Whether a batch holds both guidance branches."""
        _, first = self._batches.first
        return len(first_tensor(first.answers[0])) == 2 * len(first.prompts)

    def one_image(self) -> None:
        """Make the first image once more, as the pipeline is by now."""
        prompt, given = self.prompts[0], self.given[0]
        options = {**self.options, "output_type": "latent"}
        self.settings.call(self.pipe, [given], [prompt.prompt_id], **options)

    def windows(self, family: str, groups: Sequence[Group]) -> Iterator[Part]:
        """Windows of stale steps.

        Args:
            family: a name for the modules, which is the ``group`` of these parts.
            groups: the modules that are stale.
        """
        for letter, stored in ((REUSE, 1), (FORECAST, 2)):
            for step in range(stored, self.steps):
                end = min(step + LONGEST, self.steps)
                letters = COMPUTE * step + letter * (end - step) + COMPUTE * (self.steps - end)
                plan = timetable(groups, self.levels, letters)
                computed, read = range(step - stored, end), range(step + 1, end + 1)
                yield Part("window", family, letter, step, plan, computed, read)

    def parts(
        self, groups: Sequence[Group], fine: Sequence[Group] = (), *, stride: int = 2
    ) -> Iterator[Part]:
        """All that there is to measure but windows.

        Args:
            groups: all modules that a plan acts on.
            fine: further groups whose one stale step is measured by itself, at every step.
            stride: of the steps at which all else is measured but guidance.
        """
        last = self.steps - 1
        known = {group.name for group in fine}
        singles = [(group, stride) for group in groups if group.name not in known]
        singles += [(group, 1) for group in fine]
        for group, every in singles:
            for step in sorted({*range(1, self.steps, every), last}):
                letters = COMPUTE * step + REUSE + COMPUTE * (last - step)
                plan = timetable([group], self.levels, letters)
                computed = range(step - 1, step + 1)
                yield Part(
                    "module", group.name, REUSE, step, plan, computed, range(step + 1, step + 2)
                )
        for step in sorted({*range(1, self.steps, stride), last}):
            letters = COMPUTE * step + REUSE + COMPUTE * (last - step)
            plan = timetable(groups, self.levels, letters)
            computed = range(step - 1, self.steps)
            yield Part("final", "", REUSE, step, plan, computed, range(self.steps, self.steps + 1))
        if self.guided:
            yield from self._guidance()
            yield from self._gates(stride)

    def _guidance(self) -> Iterator[Part]:
        for step in range(self.steps):
            letters = "b" * step + "c" + "b" * (self.steps - step - 1)
            for letter, weight in (("c", 0.0), ("d", 1.0)):
                if weight and not step:
                    continue
                directions = tuple(weight * (number == step) for number in range(self.steps))
                plan = timetable((), self.levels, (), guidance=letters, directions=directions)
                computed = range(step - 1 if weight else step, step + 1)
                yield Part("guidance", "", letter, step, plan, computed, range(step + 1, step + 2))

    def _gates(self, stride: int) -> Iterator[Part]:
        for step in sorted({*range(1, self.steps, stride), self.steps - 1}):
            letters = "b" * step + "c" * (self.steps - step)
            for letter, weight in (("c", 0.0), ("d", 1.0)):
                directions = (0.0,) * step + (weight,) * (self.steps - step)
                plan = timetable((), self.levels, (), guidance=letters, directions=directions)
                computed = range(step - 1 if weight else step, self.steps)
                at_the_end = range(self.steps, self.steps + 1)
                yield Part("gate", "", letter, step, plan, computed, at_the_end)

    def measure(self, part: Part) -> pd.DataFrame:
        """What a part does to the latents: a row a length and image, with :data:`COLUMNS`.

        ``log_snr`` is that of x_t at the first step that is stale or without guidance, in nats.
        ``length`` is the number of stale steps behind which the latents were read; of ``final`` there
        are several rows a step: of length 1, and of length 0 what is left in the end.
        """
        reads = [(step, step - part.step) for step in part.read]
        if part.what == "gate":
            reads = [(self.steps, 0)]
        if part.what == "final":
            reads = [(part.step + 1, 1), (self.steps, 0)]

        def rows(_: Sequence[Any], batch: _Batch) -> list[tuple[Any, ...]]:
            seen = self._run(batch, part.plan, part.computed)
            level = self.levels[part.step]
            return [
                (*part.key, level, length, prompt.prompt_id, error)
                for step, length in reads
                for prompt, error in zip(
                    batch.prompts,
                    relative_error(seen[step], batch.before[step]).tolist(),
                    strict=True,
                )
            ]

        found = [row for each in self._batches.each(rows) for row in each]
        return pd.DataFrame(found, columns=list(COLUMNS))

    def _run(
        self, batch: _Batch, plan: Plan | None = None, computed: Collection[int] = ()
    ) -> list[Tensor]:
        """The latents before every step, and the final ones."""
        ids = [prompt.prompt_id for prompt in batch.prompts]
        watching = Trajectory()
        replayed: Any = contextlib.nullcontext()
        if plan is not None:
            replayed = answers_replayed(self.pipe, batch.answers, self.steps, computed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of modules that no step of a part calls
            with replayed, Trace(self.pipe, plan=plan, observers=[watching]):
                made = self.settings.call(
                    self.pipe, list(batch.given), ids, **{**self.options, "output_type": "latent"}
                )
        return [*watching.seen, made]


def measured(
    calibration: Calibration,
    parts: Sequence[Part],
    *,
    done: Sequence[pd.DataFrame] = (),
    progress: Progress = SILENT,
) -> pd.DataFrame:
    """Measure what was not measured before.

    Args:
        calibration: on the prompts.
        parts: all that is wanted.
        done: what was measured before.
        progress: told how many parts are there, and given each one.
    """
    tables = list(done)
    keys = ["what", "group", "letter", "step"]
    known = {tuple(row) for table in tables for row in table[keys].drop_duplicates().to_numpy()}
    progress.advance(sum(part.key in known for part in parts))
    for part in parts:
        if part.key not in known:
            table = calibration.measure(part)
            progress.part(table)
            tables.append(table)
            progress.advance()
    return pd.concat(tables, ignore_index=True)
