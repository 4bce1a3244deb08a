"""What it does to the latents when modules are stale, or guidance is missing, at some steps alone.

On a few prompts a full run is kept; then all :mod:`attnscope.analyses.tuning.parts` are measured against
it. Damage is |x' - x|² / |x|² of the latents, per image. Steps that are not part of a window are not
computed again (:mod:`attnscope.analyses.tuning.replay`), so that all of this costs about as much as
making the images forty-five times, and eighty-five with every kind of module measured by itself.

A part of a batch of prompts is a task of a :class:`attnscope.runs.crew.Crew`. Tasks do not depend on one
another: whoever makes one makes the full run of its batch first, and holds it for the next.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attnscope.analyses.tuning.held import HELD
from attnscope.analyses.tuning.parts import Part, Steps
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
from attnscope.runs.crew import ALONE, Crew, Done, Made, Task
from attnscope.runs.cut import cut
from attnscope.runs.folder import Run
from attnscope.runs.progress import SILENT, Progress
from attnscope.runs.prompts import Prompt
from attnscope.runs.sampling import Sampling

if TYPE_CHECKING:
    from attnscope.models.chosen import ChosenModel

TABLE, PARTS = "calibration", "calibration_parts"
"""The table, and where a share's ``run.json`` says how many parts all shares measure."""
_KEY = ["what", "group", "letter", "step"]
COLUMNS = (*_KEY, "log_snr", "length", "prompt_id", "damage")
_Pair = tuple[Prompt, Any]


@dataclass(frozen=True)
class _WholeRun:
    """Of a batch: what the denoiser answered, call by call, and the latents before every step."""

    answers: list[Any]
    before: list[Tensor]


@dataclass(frozen=True)
class _OnRuns:
    """What has to do with whole runs of a batch.

    Args:
        model: that makes them.
        settings: how images are sampled.
    """

    model: ChosenModel
    settings: Sampling

    def whole(self, pipe: Any, items: Sequence[_Pair]) -> _WholeRun:
        """The run of a batch, which this process makes once."""

        def make() -> _WholeRun:
            answers: list[Any] = []
            with answers_kept(pipe, answers):
                before = self.latents(pipe, items)
            return _WholeRun(answers, before)

        kind = "whole runs", self.settings
        return HELD.of(pipe, kind, [prompt for prompt, _ in items], make)

    def latents(self, pipe: Any, items: Sequence[_Pair], plan: Plan | None = None) -> list[Tensor]:
        """The latents before every step, and the final ones."""
        watching = Trajectory()
        ids = [prompt.prompt_id for prompt, _ in items]
        options = {**self.model.described.options, "output_type": "latent"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of modules that no step of a part calls
            with Trace(pipe, plan=plan, observers=[watching]):
                made = self.settings.call(pipe, [given for _, given in items], ids, **options)
        return [*watching.seen, made]


@dataclass(frozen=True)
class Looking(_OnRuns):
    """Finds out which steps a run has; a :class:`attnscope.runs.crew.Work`."""

    def __call__(self, pipe: Any, items: Sequence[_Pair], number: int) -> Made:
        """Make it, and say of every step its ``log_snr`` in nats, and whether runs are ``guided``.

        Raises:
            InputError: the scheduler does not tell the noise levels of its steps.
        """
        with torch.inference_mode():
            run = self.whole(pipe, items)
        levels = levels_of(pipe.scheduler)
        if levels is None or len(levels) != len(run.before) - 1:
            raise InputError(
                f"{type(pipe.scheduler).__name__} does not tell the noise levels of its steps, "
                "over which plans are searched: choose `scheduler='dpm'`, euler, ddim or pndm"
            )
        guided = len(first_tensor(run.answers[0])) == 2 * len(items)
        return Made(parts={"steps": pd.DataFrame({"log_snr": levels, "guided": guided})})


@dataclass(frozen=True)
class Damaging(_OnRuns):
    """Measures what a part does to the latents of a batch; a :class:`attnscope.runs.crew.Work`.

    Args:
        part: what is measured.
    """

    part: Part

    def __call__(self, pipe: Any, items: Sequence[_Pair], number: int) -> Made:
        """Measure it: a row a length and image, with :data:`COLUMNS`.

        ``log_snr`` is that of x_t at the first step that is stale or without guidance, in nats.
        ``length`` is the number of stale steps behind which the latents were read; of ``final`` there
        are several rows a step: of length 1, and of length 0 what is left in the end.
        """
        part = self.part
        level = part.plan.log_snr[part.step]
        with torch.inference_mode():
            whole = self.whole(pipe, items)
            with answers_replayed(pipe, whole.answers, part.steps, part.computed):
                seen = self.latents(pipe, items, part.plan)
            errors = [
                (length, relative_error(seen[step], whole.before[step]).tolist())
                for step, length in part.reads
            ]
        rows = [
            (*part.key, level, length, prompt.prompt_id, error)
            for length, each in errors
            for (prompt, _), error in zip(items, each, strict=True)
        ]
        return Made(parts={TABLE: pd.DataFrame(rows, columns=list(COLUMNS))})


@dataclass(frozen=True)
class Calibration:
    """Measures on a few prompts.

    Args:
        model: that is measured.
        settings: how images are sampled.
        prompts: one per image.
        given: what the pipeline is given for each.
        cut: images of a batch; halved where memory runs out, also later, for what is stored takes
            memory that a plain run does not.
        crew: who measures, and which of it.
        progress: told how far it is, and keeps what is measured.
    """

    model: ChosenModel
    settings: Sampling
    prompts: Sequence[Prompt]
    given: Sequence[Any]
    cut: int = 16
    crew: Crew = ALONE
    progress: Progress = SILENT

    @property
    def _pairs(self) -> list[_Pair]:
        return list(zip(self.prompts, self.given, strict=True))

    def look(self, crew: Crew | None = None) -> Steps:
        """The steps of a run, from a run of the first batch.

        Args:
            crew: who makes it, if not who measures.

        Raises:
            InputError: the scheduler does not tell the noise levels of its steps.
        """
        task = Task(0, self._pairs[: self.cut], Looking(self.model, self.settings))
        told = []
        for done in self._each([task], crew or self.crew):
            told.append(done.made.parts["steps"])
            self.progress.advance(len(done.items))
        return Steps(tuple(map(float, told[0]["log_snr"])), bool(told[0]["guided"].all()))

    def one_image(self) -> None:
        """Make the first image once more, as the pipeline is by now."""
        prompt, given = self.prompts[0], self.given[0]
        options = {**self.model.described.options, "output_type": "latent"}
        self.settings.call(self.model.pipe, [given], [prompt.prompt_id], **options)

    def measured(
        self, parts: Sequence[Part], *, done: Sequence[pd.DataFrame] = (), first: int = 0
    ) -> pd.DataFrame:
        """Measure what was not measured before.

        Args:
            parts: all that is wanted.
            done: what was measured before.
            first: number of the first part among all of the run.

        Returns:
            All that was measured before or now: first what these parts are not, then they and their
            prompts in this order, whoever measured them and when; :data:`COLUMNS`.
        """
        tables = list(done)
        known = {tuple(row) for one in tables for row in one[[*_KEY, "prompt_id"]].to_numpy()}
        tasks = list(self._tasks(parts, first, known))
        self.progress.advance(self.count(parts, first) - sum(len(task.items) for task in tasks))
        places = {prompt.prompt_id: place for place, prompt in enumerate(self.prompts)}
        for one in self._each(tasks, self.crew):
            place = places[one.items[0][0].prompt_id]
            part = one.task.number // self._batches
            self.progress.keep(one.made, part * len(places) + place)
            self.progress.advance(len(one.items))
            tables.append(one.made.parts[TABLE])
        if not tables:  # of a share that has none
            return pd.DataFrame(columns=list(COLUMNS))
        return _in_order(pd.concat(tables, ignore_index=True), parts, places)

    def count(self, parts: Sequence[Part], first: int = 0) -> int:
        """How many images there are to measure of some parts: of all, or of the crew's share."""
        return sum(len(task.items) for task in self._tasks(parts, first))

    @property
    def _batches(self) -> int:
        return -(-len(self.prompts) // self.cut)

    def _tasks(
        self, parts: Sequence[Part], first: int, known: Collection[tuple[Any, ...]] = ()
    ) -> Iterator[Task]:
        """One batch after the other, so that few whole runs are held; numbers go by parts first."""
        for place, batch in enumerate(cut(self._pairs, self.cut)):
            for index, part in enumerate(parts, first):
                number = index * self._batches + place
                left = [item for item in batch if (*part.key, item[0].prompt_id) not in known]
                if left and self.crew.share.has(number):
                    yield Task(number, left, Damaging(self.model, self.settings, part))

    def _each(self, tasks: Iterable[Task], crew: Crew) -> Iterator[Done]:
        return crew.each(tasks, size=self.progress.batch_size, progress=self.progress)


def measured_of(run: Run) -> list[tuple[str, set[int]]]:
    """What a share measured: every part of the run, by a name, and the ``prompt_id`` that are there of it.

    Args:
        run: of a share, or joined of several.
    """
    count = run.settings["calibrated"]
    found: dict[int, set[int]] = {}
    for number, table in run.numbered_parts(TABLE).items():
        found.setdefault(number // count, set()).update(map(int, table["prompt_id"]))
    return [(f"part {part}", found.get(part, set())) for part in range(run.about[PARTS])]


def _in_order(
    table: pd.DataFrame, parts: Sequence[Part], places: Mapping[int, int]
) -> pd.DataFrame:
    """Rows by parts and prompts; those of no part stay in front, as they were."""
    ranks = {part.key: rank for rank, part in enumerate(parts)}
    keys = zip(*(table[name] for name in _KEY), strict=True)
    rank = np.array([ranks.get(key, -1) for key in keys])
    place = np.array([places.get(number, -1) for number in table["prompt_id"]])
    order = np.lexsort((np.where(rank < 0, 0, place), rank))
    return table.iloc[order].reset_index(drop=True)
