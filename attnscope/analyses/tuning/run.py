"""A run of ``attnscope tune``: calibrate, search, and write the plans that were found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from attnscope.analyses.opening import open_for, scheduler_of
from attnscope.analyses.tuning.budget import Budget, parse
from attnscope.errors import InputError
from attnscope.runs.folder import Run
from attnscope.runs.progress import SILENT, Kept, Progress
from attnscope.runs.prompts import Prompt, table_of
from attnscope.runs.sampling import Sampling

if TYPE_CHECKING:
    from attnscope.analyses.tuning.calibration import Calibration
    from attnscope.analyses.tuning.candidates import Candidates
    from attnscope.analyses.tuning.modules import Group
    from attnscope.analyses.tuning.schedules import Price, Schedule
    from attnscope.cost.counts import Counts
    from attnscope.models.chosen import ChosenModel

FRONTIER = ("ssim>=0.995", "ssim>=0.99", "ssim>=0.98", "ssim>=0.97", "ssim>=0.95", "ssim>=0.9")
"""Budgets of a frontier."""
_LEAST_STEPS = 3
UNIFORM = "uniform.json"
"""The best schedule that is set by hand, as fast as the plan: what a search has to be better than."""


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
        most: plans that are measured for a budget, beyond those that bisection needs.
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


def plan_name(number: int, settings: TuneSettings) -> str:
    """The file of a plan in the run directory: ``plan.json``, of several with the budget in its name."""
    if len(settings.budgets) < 2:
        return "plan.json"
    return f"plan-{settings.budgets[number].replace('>=', '-').replace('<=', '-')}.json"


def carry_out(
    path: Path,
    chosen: ChosenModel,
    settings: TuneSettings,
    counts: Counts,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    *,
    batch_size: int | None = None,
    progress: Progress = SILENT,
) -> Run:
    """Find the plans of a run, if they are not there yet.

    Args:
        path: the run directory; it is made with the first thing that is measured.
        chosen: the model, which is loaded if something is to be measured.
        settings: of the run.
        counts: of one call of the denoiser on one row.
        prompts: first those to calibrate on, then those that plans are measured on.
        given: what the pipeline is given for each.
        batch_size: images made at once; ``None`` fits it to the model and the device.
        progress: told how far it is.

    Returns:
        The run, with the tables ``prompts``, ``calibration``, ``candidates`` and ``plans``, ``times`` if
        it is searched by time, and a file for each plan.

    Raises:
        InputError: the directory holds another run, the model does not fit the settings, or no plan
            keeps to a budget.
    """
    import torch

    if Run.check(path, "tune", settings) and Run(path).has_table("plans"):
        return Run(path)
    if settings.steps < _LEAST_STEPS:
        raise InputError(
            f"`steps={settings.steps}` leaves nothing to reuse: choose {_LEAST_STEPS} or more"
        )
    kept = open_for(
        "tune", path, settings, chosen, prompts, batch_size, progress,
        table="calibration", about=scheduler_of(chosen),
    )  # fmt: skip
    with torch.inference_mode():
        return _found(kept, chosen, settings, counts, prompts, given, progress)


def _found(
    kept: Kept,
    chosen: ChosenModel,
    settings: TuneSettings,
    counts: Counts,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    progress: Progress,
) -> Run:
    from attnscope.analyses.tuning.calibration import Calibration, measured
    from attnscope.analyses.tuning.candidates import Candidates
    from attnscope.analyses.tuning.modules import fine_groups, groups_of, outermost
    from attnscope.analyses.tuning.refinement import Search
    from attnscope.analyses.tuning.schedules import family_name
    from attnscope.analyses.tuning.search import Damages, families, promising
    from attnscope.analyses.tuning.worth import ByMacs, ByTime
    from attnscope.models.decoding import check_decodes
    from attnscope.sites.denoiser import Denoiser

    pipe, options = chosen.pipe, chosen.described.options
    denoiser = Denoiser.of(pipe)
    groups = groups_of(outermost(denoiser))
    first = settings.calibrated
    check_decodes(pipe)
    calibration = Calibration(
        pipe, settings, prompts[:first], given[:first], options, kept.batch_size, kept
    )
    fine = fine_groups(denoiser) if settings.modules else ()
    parts = list(calibration.parts(groups, fine))
    run = kept.run
    arithmetic, times = ByMacs(counts, groups, calibration.guided), None
    if settings.by == "time":
        times = ByTime(_times(kept, chosen, calibration, groups), groups, calibration.guided)
    worth = times or arithmetic
    whole = run.has_table("calibration")
    done = [run.read_table("calibration")] if whole else run.read_parts("calibration")
    with kept.stretch(f"{chosen.name}: calibration, single steps", len(parts)):
        table = measured(calibration, parts, done=done, progress=kept)
    fresh = families(Damages(table, calibration.levels), worth.shares)
    windows = [
        part
        for one in fresh
        for part in calibration.windows(
            family_name(one), [group for group in groups if group.name not in one]
        )
    ]
    with kept.stretch(f"{chosen.name}: calibration, windows", len(windows)):
        table = measured(calibration, windows, done=[table], progress=kept)
    run.finish_table("calibration", table)
    damages = Damages(table, calibration.levels)
    prices = {one: worth.price(one) for one in fresh}
    noted = Kept(progress, run.path, lambda size: run, kept.batch_size, "candidates")
    with kept.stretch(f"{chosen.name}: plans", _expected(settings)):
        candidates = Candidates(
            pipe, settings, prompts[first:], given[first:], groups, calibration.levels, arithmetic,
            calibration.guided, kept.batch_size, damages, run.read_parts("candidates"), noted, options, times,
        )  # fmt: skip
        search = Search(candidates, promising(damages, prices), damages, settings.most)
        about = partial(_about, chosen, settings)
        rows = _plans(run, settings, candidates, search, about, progress)
        _uniform(run, candidates, prices[()], rows)
    run.write_table("prompts", table_of(prompts))
    measured_plans = candidates.table
    run.write_csv("candidates", measured_plans)
    run.write_table("candidates", measured_plans)
    plans = pd.DataFrame(rows)
    run.write_csv("plans", plans)
    run.write_table("plans", plans)
    run.finish_table("candidates", measured_plans)  # last, since a run that goes on reads its parts
    return run


def _plans(
    run: Run,
    settings: TuneSettings,
    candidates: Candidates,
    search: Any,
    about: Any,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Find a plan for every budget, or for the speed, and write its file."""
    rows: list[dict[str, Any]] = []
    refused: list[str] = []
    wanted: list[tuple[str, Budget]] = [(text, parse(text)) for text in settings.budgets]
    if settings.speedup is not None:
        wanted = [(f"speedup>={settings.speedup:g}", Budget("ssim", 0.0))]
    for number, (text, budget) in enumerate(wanted):
        found: Schedule | None
        if settings.speedup is not None:
            found = search.at_speed(settings.speedup, budget)
        else:
            found = search.within(budget)
        if found is None:
            refused.append(_not_kept(text, settings, candidates, budget, search))
            continue
        measured = candidates.measure(found)
        name = plan_name(number, settings)
        plan = candidates.plan(found, **about(text, measured))
        plan.write(run.path / name)
        rows.append({"budget": text, "file": name, **measured})
    if not rows:
        raise InputError(refused[0])
    for line in refused:
        progress.say(line)
    return rows


def _not_kept(
    text: str, settings: TuneSettings, candidates: Candidates, budget: Budget, search: Any
) -> str:
    """That a budget cannot be kept, and the nearest that can."""
    if settings.speedup is not None:
        most = max((candidates.speedup(one) for one in search.listed), default=1.0)
        how = "by the times of its modules" if settings.by else "ideally"
        return (
            f"no plan is {settings.speedup:g} times as fast, {how}: the fastest is {most:.2f} times"
        )
    rows = candidates.table.to_dict("records")
    if not rows:
        return f"no plan saves anything at {settings.steps} steps: choose more"
    best = max(rows, key=lambda row: budget.better(row[budget.measure]))
    return (
        f"no plan that saves anything keeps to {text} on {settings.measured} captions: the nearest, "
        f"{best.get('by_time', best['ideal']):.2f} times as fast, has {budget.measure} {best[budget.measure]:.4g} "
        f"± {best[budget.measure + '_error']:.2g}; choose a budget that allows it, or more steps"
    )


def _uniform(
    run: Run, candidates: Candidates, price: Price, rows: Sequence[dict[str, Any]]
) -> None:
    """The best of the schedules that are set by hand and as fast as the fastest plan, if there is one."""
    from attnscope.analyses.tuning.schedules import uniform

    steps = len(candidates.levels)
    speed = max(row.get("by_time", row["ideal"]) for row in rows)
    gates = range(2, steps + 1) if candidates.guided else (steps,)
    tried = {
        uniform(steps, start, every, gate)
        for start in range(1, steps)
        for every in range(2, steps)
        for gate in gates
    }
    whole = price.of(uniform(steps, steps, 1, steps))
    fast = [one for one in tried if whole / price.of(one) >= speed]
    if not fast:
        return
    damage = candidates.damages.of
    likely = sorted(fast, key=lambda one: (damage(one), one.letters, one.guidance))[:3]
    best = max(likely, key=lambda one: candidates.measure(one)["ssim"])
    plan = candidates.plan(best, found="every few steps from one on, the best of those as fast")
    plan.write(run.path / UNIFORM)


def _about(
    chosen: ChosenModel, settings: TuneSettings, budget: str, measured: dict[str, Any]
) -> dict[str, Any]:
    """What the file of a plan says of itself."""
    from attnscope import __version__

    values = {name: measured[name] for name in ("ssim", "psnr", "damage")}
    return {
        "attnscope": __version__,
        "model": chosen.name,
        "weights": settings.weights,
        "dtype": settings.dtype,
        "scheduler": type(chosen.pipe.scheduler).__name__,
        "guidance_scale": settings.guidance,
        "size": [settings.height, settings.width],
        "budget": budget,
        "ideal_speedup": measured["ideal"],
        "predicted": {
            "damage": measured["predicted"],
            **({"speedup_by_time": measured["by_time"]} if "by_time" in measured else {}),
        },
        "measured": {"images": settings.measured, **values},
        "calibration": {
            "captions": settings.captions,
            "images": settings.calibrated,
            "seed": settings.seed,
        },
    }


def _times(
    kept: Kept, chosen: ChosenModel, calibration: Calibration, groups: Sequence[Group]
) -> pd.DataFrame:
    """How long modules take: measured once, so that a run that goes on searches by the same times."""
    from attnscope.analyses.bench.instruments import Stopwatch
    from attnscope.analyses.tuning.times import measure_times, rounds_of

    run = kept.run
    if not run.has_table("times"):
        images = 1 + rounds_of(calibration.steps, calibration.guided)
        with kept.stretch(f"{chosen.name}: times of modules, images", images):
            stopwatch = Stopwatch(chosen.device)
            table = measure_times(calibration, groups, stopwatch=stopwatch, progress=kept)
        run.write_csv("times", table)
        run.write_table("times", table)
    return run.read_table("times")


def _expected(settings: TuneSettings) -> int:
    """About how many plans are measured."""
    return max(1, len(settings.budgets)) * (settings.most + 10)
