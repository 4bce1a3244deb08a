"""A run of ``attnscope tune``: calibrate, search, and write the plans that were found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from attnscope.analyses.bench.instruments import Stopwatch
from attnscope.analyses.opening import open_for, scheduler_of
from attnscope.analyses.tuning.calibration import PARTS, TABLE, Calibration
from attnscope.analyses.tuning.candidates import Candidates
from attnscope.analyses.tuning.modules import Group, fine_groups, groups_of, outermost
from attnscope.analyses.tuning.outcome import by_hand, found_plans
from attnscope.analyses.tuning.parts import Part, Steps
from attnscope.analyses.tuning.refinement import Search
from attnscope.analyses.tuning.schedules import family_name
from attnscope.analyses.tuning.search import Damages, families, promising
from attnscope.analyses.tuning.times import measure_times, rounds_of
from attnscope.analyses.tuning.worth import ByMacs, ByTime, Worth
from attnscope.errors import InputError
from attnscope.models.decoding import check_decodes
from attnscope.runs.crew import ALONE, Crew
from attnscope.runs.folder import Run
from attnscope.runs.holding import one_at_a_time
from attnscope.runs.progress import SILENT, Kept, Progress
from attnscope.runs.prompts import Prompt, table_of
from attnscope.runs.sampling import Sampling
from attnscope.sites.denoiser import Denoiser

if TYPE_CHECKING:
    from attnscope.cost.counts import Counts
    from attnscope.models.chosen import ChosenModel

FRONTIER = ("ssim>=0.995", "ssim>=0.99", "ssim>=0.98", "ssim>=0.97", "ssim>=0.95", "ssim>=0.9")
"""Budgets of a frontier."""
_LEAST_STEPS = 3
_BATCHES, _IMAGES = 6, 4
"""Batches of all captions, if nobody says how large they are, so that several can be made at the same time;
but none of fewer images (on a CPU, the embedded U-Net takes 1.05 times as long on 4 as on 16)."""


@dataclass(frozen=True, kw_only=True)
class TuneSettings(Sampling):
    """What decides the plans, besides how images are sampled.

    Args:
        captions: where they come from.
        prompts_digest: of the captions.
        budgets: what the plans have to keep to, as of :mod:`attnscope.analyses.tuning.budget`.
        speedup: what one plan has to reach, ideally; ``None`` if there are budgets.
        calibrated: captions that staleness is measured on.
        measured: captions that plans are measured on.
        confirmed: further captions that a plan has to keep to its budget on, too; ``None`` is none.
        most: plans that are measured for a budget, those that bisection needs among them.
        modules: whether every kind of module is calibrated by itself, stage by stage.
        by: ``time`` if plans are searched by the time that modules take on this machine; ``None`` is by
            multiply-accumulates.
    """

    captions: str
    prompts_digest: str
    budgets: tuple[str, ...]
    speedup: float | None
    calibrated: int
    measured: int
    most: int
    modules: bool
    by: str | None = field(default=None, metadata={"later": True})
    confirmed: int | None = field(default=None, metadata={"later": True})


@one_at_a_time
def carry_out(
    path: Path,
    chosen: ChosenModel,
    settings: TuneSettings,
    counts: Counts,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    *,
    batch_size: int | None = None,
    crew: Crew = ALONE,
    progress: Progress = SILENT,
) -> Run:
    """Find the plans of a run, if they are not there yet.

    Args:
        path: the run directory; it is made with the first thing that is measured.
        chosen: the model, which is loaded if something is to be measured.
        settings: of the run.
        counts: of one call of the denoiser on one row.
        prompts: first those to calibrate on, then those that plans are measured on, then those that they are
            confirmed on.
        given: what the pipeline is given for each.
        batch_size: images made at once; ``None`` fits it to the model and the device.
        crew: who measures what staleness does, and plans; times are taken in this process alone. A share is
            one of the calibration, as far as it does not depend on what was measured.
        progress: told how far it is.

    Returns:
        The run, with the tables ``prompts``, ``calibration``, ``candidates`` and ``plans``, ``confirmed`` if
        plans are, ``times`` if it is searched by time, and a file for each plan. Of a share, ``prompts`` that it calibrates on, and
        parts of ``calibration``: joined with the others, the run goes on from there.

    Raises:
        InputError: the directory holds another run, the model does not fit the settings, or no plan
            keeps to a budget.
    """
    if Run.check(path, "tune", settings, crew.share) and Run(path).has_table("plans"):
        return Run(path)
    if settings.steps < _LEAST_STEPS:
        raise InputError(
            f"`steps={settings.steps}` leaves nothing to reuse: choose {_LEAST_STEPS} or more"
        )
    least = 1 if batch_size else max(1, min(_BATCHES, len(prompts) // _IMAGES))
    kept = open_for(
        "tune", path, settings, chosen, prompts, batch_size, progress, table=TABLE,
        about=scheduler_of(chosen), least=least, crew=crew,
    )  # fmt: skip
    check_decodes(chosen.pipe)
    return _Tuning(chosen, settings, counts, prompts, given, kept, crew).carried_out(progress)


@dataclass(frozen=True)
class _Tuning:
    """A run of which something is missing; arguments as of :func:`carry_out`."""

    chosen: ChosenModel
    settings: TuneSettings
    counts: Counts
    prompts: Sequence[Prompt]
    given: Sequence[Any]
    kept: Kept
    crew: Crew

    def carried_out(self, progress: Progress) -> Run:
        """Calibrate and, if all of that is there, search."""
        denoiser = Denoiser.of(self.chosen.pipe)
        groups = groups_of(outermost(denoiser))
        fine = fine_groups(denoiser) if self.settings.modules else ()
        steps = self._looked()
        run = self.kept.run
        first = [*steps.parts(groups, fine), *steps.windows(family_name(()), groups)]
        if not self.crew.share.is_whole:
            run.note(PARTS, len(first))
            self._calibrated(first)
            run.write_table("prompts", table_of(self._calibration.prompts))
            return run
        arithmetic, times = ByMacs(self.counts, groups, steps.guided), None
        if self.settings.by == "time":  # before anybody else is at work
            times = ByTime(self._times(steps, groups), groups, steps.guided)
        worth: Worth = times or arithmetic
        table = self._calibrated(first)
        fresh = families(Damages(table, steps.levels), worth.shares)
        further = [part for one in fresh[1:] for part in _windows(steps, one, groups)]
        table = self._calibrated(further, [table], len(first))
        run.write_table(TABLE, table)
        run.drop_parts(TABLE)
        damages = Damages(table, steps.levels)
        searched = self.settings.calibrated, self.settings.calibrated + self.settings.measured
        noted = self.kept.of("candidates")

        def measuring(name: str, begin: int, end: int | None = None) -> Candidates:
            kept = self.kept.of(name)
            return Candidates(
                self.chosen, self.settings, self.prompts[begin:end], self.given[begin:end], groups,
                steps.levels, arithmetic, steps.guided, kept.cut, damages, run.read_parts(name), kept, times,
                self.crew,
            )  # fmt: skip

        expected = max(1, len(self.settings.budgets)) * (self.settings.most + 10)
        with noted.stretch(f"{self.chosen.name}: plans", expected):
            tables = {"candidates": measuring("candidates", *searched)}
            if self.settings.confirmed:
                tables["confirmed"] = measuring("confirmed", searched[1])
            prices = {one: worth.price(one) for one in fresh}
            search = Search(
                tables["candidates"], promising(damages, prices), damages, self.settings.most,
                tables.get("confirmed"),
            )  # fmt: skip
            plans = found_plans(run, self.chosen, self.settings, search, progress)
            by_hand(run, search.candidates, prices[()], plans, progress)
        self._write(run, {name: one.table for name, one in tables.items()}, pd.DataFrame(plans))
        return run

    @property
    def _calibration(self) -> Calibration:
        count = self.settings.calibrated
        return Calibration(
            self.chosen, self.settings, self.prompts[:count], self.given[:count], self.kept.cut,
            self.crew, self.kept,
        )  # fmt: skip

    def _looked(self) -> Steps:
        """The steps of a run; where modules are timed here, this process finds out, and no other starts."""
        crew = ALONE if self.settings.by == "time" else self.crew
        images = min(self.kept.cut, self.settings.calibrated)
        with self.kept.stretch(f"{self.chosen.name}: whole runs to begin with", images):
            return self._calibration.look(crew)

    def _calibrated(
        self, parts: Sequence[Part], done: Sequence[pd.DataFrame] = (), first: int = 0
    ) -> pd.DataFrame:
        """What was measured, with some parts that were not."""
        run, calibration = self.kept.run, self._calibration
        if not done:
            done = [run.read_table(TABLE)] if run.has_table(TABLE) else run.read_parts(TABLE)
        images = calibration.count(parts, first)
        with self.kept.stretch(f"{self.chosen.name}: calibration", images):
            return calibration.measured(parts, done=done, first=first)

    def _times(self, steps: Steps, groups: Sequence[Group]) -> pd.DataFrame:
        """How long modules take: measured once, so that a run that goes on searches by the same times."""
        run = self.kept.run
        if not run.has_table("times"):
            self.crew.close()  # some may be there from another run of the command
            images = 1 + rounds_of(len(steps), steps.guided)
            with (
                torch.inference_mode(),
                self.kept.stretch(f"{self.chosen.name}: times of modules, images", images),
            ):
                table = measure_times(
                    self._calibration, steps, groups, stopwatch=Stopwatch(self.chosen.device),
                    progress=self.kept,
                )  # fmt: skip
            run.write_csv("times", table)
            run.write_table("times", table)
        return run.read_table("times")

    def _write(self, run: Run, measured: Mapping[str, pd.DataFrame], plans: pd.DataFrame) -> None:
        """Write the tables of a search that came to its end."""
        run.write_table("prompts", table_of(self.prompts))
        for name, table in {**measured, "plans": plans}.items():
            run.write_csv(name, table)
            run.write_table(name, table)
        for name in measured:  # last, since a run that goes on reads their parts
            run.drop_parts(name)


def _windows(steps: Steps, fresh: Sequence[str], groups: Sequence[Group]) -> Iterator[Part]:
    """Windows of all groups but those that compute always."""
    stale = [group for group in groups if group.name not in fresh]
    return steps.windows(family_name(fresh), stale)
