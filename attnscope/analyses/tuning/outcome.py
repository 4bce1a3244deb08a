"""What comes of a search: a plan for every budget or for the speed, its file, and what stands in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attnscope.analyses.tuning.budget import Budget, parse
from attnscope.analyses.tuning.candidates import VALUES
from attnscope.analyses.tuning.schedules import Price, Schedule, uniform
from attnscope.errors import InputError
from attnscope.plans.timetable import UNIFORM
from attnscope.runs.folder import Run
from attnscope.runs.progress import Progress

if TYPE_CHECKING:
    from attnscope.analyses.tuning.candidates import Candidates
    from attnscope.analyses.tuning.refinement import Search
    from attnscope.analyses.tuning.run import TuneSettings
    from attnscope.models.chosen import ChosenModel


def plan_name(number: int, settings: TuneSettings) -> str:
    """The file of a plan in the run directory: ``plan.json``, of several with the budget in its name."""
    if len(settings.budgets) < 2:
        return "plan.json"
    return f"plan-{settings.budgets[number].replace('>=', '-').replace('<=', '-')}.json"


def found_plans(
    run: Run,
    chosen: ChosenModel,
    settings: TuneSettings,
    search: Search,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Find a plan for every budget, or for the speed, and write its file.

    Args:
        run: of the search.
        chosen: the model.
        settings: of the run.
        search: which looks for them.
        progress: told of budgets that cannot be kept, where others can.

    Returns:
        A row a plan: ``budget``, ``file``, what :meth:`Candidates.measure` says of it, and, where plans are
        confirmed, its values on these captions with ``confirmed_`` before their names.

    Raises:
        InputError: no plan keeps to any of the budgets; the nearest is named.
    """
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
            refused.append(_not_kept(text, settings, budget, search))
            continue
        measured = search.candidates.measure(found)
        if search.confirming is not None:
            again = search.confirming.measure(found)
            ends = ("", "_error")
            measured = measured | {
                f"confirmed_{value}{end}": again[value + end] for value in VALUES for end in ends
            }
        name = plan_name(number, settings)
        plan = search.candidates.plan(found, **_about(chosen, settings, text, measured))
        plan.write(run.path / name)
        rows.append({"budget": text, "file": name, **measured})
    if not rows:
        raise InputError(refused[0])
    for line in refused:
        progress.say(line)
    return rows


def _not_kept(text: str, settings: TuneSettings, budget: Budget, search: Search) -> str:
    """That a budget cannot be kept, and the nearest that can."""
    if settings.speedup is not None:
        most = max((search.candidates.speedup(one) for one in search.listed), default=1.0)
        how = "by the times of its modules" if settings.by else "ideally"
        return (
            f"no plan is {settings.speedup:g} times as fast, {how}: the fastest is {most:.2f} times"
        )
    measured, images = search.candidates, settings.measured
    if not len(measured.table):
        return f"no plan saves anything at {settings.steps} steps: choose more"
    if search.confirming is not None and measured.within(budget):  # which others refuted
        measured, images = search.confirming, settings.confirmed or 0
    rows = measured.table.to_dict("records")
    best = max(rows, key=lambda row: budget.better(row[budget.measure]))
    return (
        f"no plan that saves anything keeps to {text} on {images} captions: the nearest, "
        f"{best.get('by_time', best['ideal']):.2f} times as fast, has {budget.measure} {best[budget.measure]:.4g} "
        f"± {best[budget.measure + '_error']:.2g}; choose a budget that allows it, or more steps"
    )


def by_hand(
    run: Run,
    candidates: Candidates,
    price: Price,
    rows: Sequence[dict[str, Any]],
    progress: Progress,
) -> None:
    """Write the best of the schedules that are set by hand and as fast as the fastest plan, if there is one.

    Args:
        run: of the search; the file is :data:`UNIFORM`.
        candidates: which measure.
        price: of steps.
        rows: of :func:`found_plans`.
        progress: told if it is better than a plan.
    """
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
    measured = candidates.measure(best)
    for row in rows:
        if measured["ideal"] >= row["ideal"] and measured["ssim"] > row["ssim"]:
            progress.say(
                f"{UNIFORM}, every few steps from one on, is as fast as {row['file']} and nearer: SSIM "
                f"{measured['ssim']:.4f} and {row['ssim']:.4f}; so few steps leave little to search"
            )


def _about(
    chosen: ChosenModel, settings: TuneSettings, budget: str, measured: dict[str, Any]
) -> dict[str, Any]:
    """What the file of a plan says of itself."""
    from attnscope import __version__

    values = {name: measured[name] for name in VALUES}
    confirmed = {name: measured[f"confirmed_{name}"] for name in VALUES if settings.confirmed}
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
        **({"confirmed": {"images": settings.confirmed, **confirmed}} if confirmed else {}),
        "calibration": {
            "captions": settings.captions,
            "images": settings.calibrated,
            "seed": settings.seed,
        },
    }
