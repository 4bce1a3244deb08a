"""Plans that were found, measured on captions and seeds that they were not searched on.

It is a benchmark like any other, in the run directory of the search: the plans take turns with the
pipeline as it is, the paper's plan, the best schedule that is set by hand, fewer steps and other
packages; images of all of them are judged, and each plan is compared with every other way in pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import pandas as pd

from attnscope.analyses.bench.arms import BASELINE, BenchSettings
from attnscope.analyses.bench.run import Pictured, carry_out, machine_of
from attnscope.metrics.adjusting import with_adjusted
from attnscope.metrics.clusters import clusters_of
from attnscope.metrics.comparing import compared
from attnscope.metrics.measures import MEASURES
from attnscope.plans.reuse import paper_plan
from attnscope.plans.timetable import UNIFORM, read
from attnscope.runs.crew import ALONE, Crew
from attnscope.runs.folder import Run
from attnscope.runs.progress import SILENT, Progress

if TYPE_CHECKING:
    from attnscope.metrics.choosing import Quality
    from attnscope.models.architectures import Architecture
    from attnscope.models.chosen import ChosenModel

FOLDER = "proof"
"""Of a search's run directory."""
_COLUMNS = ["plan", "against", "measure", "difference", "low", "high", "n", "prompts", "p", "detectable",
            "needed", "worst"]  # fmt: skip


def others(run: Run) -> tuple[str, ...]:
    """What the first plan of a search is measured against: further arms of a benchmark.

    Args:
        run: of the search.

    Returns:
        Its other plans, the paper's for as many steps, the best one set by hand, and fewer steps: those
        that take as long as each plan would ideally, and half as long again, since no plan reaches its
        ideal on a small model.
    """
    plans = run.read_table("plans")
    files = [str(run.path / name) for name in plans["file"]]
    if (run.path / UNIFORM).exists():
        files.append(str(run.path / UNIFORM))
    steps = len(plans["letters"].iloc[0])
    asked = run.settings["steps"]  # of which a scheduler such as Heun makes more
    ideally = [ceil(asked / ideal) for ideal in plans["ideal"]]
    fewer = {*ideally, *(ceil(1.5 * number) for number in ideally)}
    return (
        *(str(read(file)) for file in files[1:]),
        str(paper_plan(steps)),
        *(f"steps={number}" for number in sorted(fewer, reverse=True) if number < asked),
    )


def settings_of(
    run: Run,
    sampling: dict[str, Any],
    chosen: ChosenModel,
    *,
    rivals: tuple[tuple[str, str | None], ...],
    repeats: int,
) -> BenchSettings:
    """The settings of the benchmark.

    Args:
        run: of the search.
        sampling: what decides its images, as of :func:`attnscope.runs.sampling.settled`; the proof has
            the seed after its own.
        chosen: the model.
        rivals: by name, with their versions.
        repeats: rounds.
    """
    first = run.read_table("plans")["file"].iloc[0]
    return BenchSettings(
        **sampling | {"seed": sampling["seed"] + 1},
        plan=str(read(run.path / first)),
        batch=1,
        repeats=repeats,
        rivals=rivals,
        watched=False,
        decoded=True,
        against=others(run),
        **machine_of(chosen.device),
    )


def prove(
    run: Run,
    chosen: ChosenModel,
    found: Architecture,
    settings: BenchSettings,
    pictured: Pictured,
    quality: Quality,
    *,
    batch_size: int | None = None,
    crew: Crew = ALONE,
    progress: Progress = SILENT,
) -> Run:
    """Measure the plans of a search, where that was not done yet.

    Args:
        run: of the search.
        chosen: the model.
        found: its architecture, at the size of the settings.
        settings: of :func:`settings_of`.
        pictured: captions that the plans were not searched on.
        quality: what images are judged by.
        batch_size: images made at once; ``None`` fits it to the model and the device.
        crew: who makes the images; times are taken in this process, once all others were let go.
        progress: told how far it is.

    Returns:
        The run of the benchmark; beside its tables, ``proof.csv`` in the run of the search says how each
        plan differs from every other way (:func:`differences`).
    """
    crew.close()  # what they hold of the machine would be in the times; they start again for the images
    made = carry_out(
        run.path / FOLDER, chosen, found, settings, pictured.given[:1], pictured=pictured,
        quality=quality, batch_size=batch_size, crew=crew, progress=progress,
    )  # fmt: skip
    plans = [str(read(run.path / name)) for name in run.read_table("plans")["file"]]
    table = differences(made.read_table("images"), plans)
    run.write_csv("proof", table)
    run.write_table("proof", table)
    return made


def differences(images: pd.DataFrame, plans: Sequence[str]) -> pd.DataFrame:
    """How the images of each plan differ from those of every other way, prompt by prompt.

    Args:
        images: of a benchmark: ``arm``, ``prompt_id``, ``text`` and a column a measure.
        plans: the arms that are compared with all others.

    Returns:
        ``plan``, ``against``, ``measure``, ``difference`` (the plan's less the other's, mean over
        prompts) with the 95 % paired bootstrap interval ``low`` to ``high``, ``n`` images of ``prompts``
        prompts, its p-value ``p`` and, adjusted over all rows, ``p_holm`` and ``p_bh``,
        ``detectable`` (the difference that would be told 4 times in 5) and ``needed`` (about how many
        prompts would tell the one that was seen); and ``worst``, the ``prompt_id`` at which the plan
        does worst by this measure.
    """
    rows = [row for plan in plans for row in _differences(images, plan)]
    return with_adjusted(pd.DataFrame(rows, columns=_COLUMNS))


def _differences(images: pd.DataFrame, plan: str) -> Iterator[tuple[Any, ...]]:
    prompts = clusters_of(images)
    known = [name for name, measure in MEASURES.items() if measure.of != "sets" and name in images]
    for name in known:
        means = images.pivot_table(index="prompt_id", columns="arm", values=name, aggfunc="mean")
        means = means.astype(float).where(means.abs() < float("inf"))
        if plan not in means:
            continue
        own = means[plan].dropna()  # PSNR of images that are the baseline's is infinite
        if own.empty:
            continue
        worst: Any = own.idxmin() if MEASURES[name].higher else own.idxmax()
        for other in [arm for arm in means if arm not in (plan, BASELINE)]:
            both = means[[plan, other]].dropna()
            if len(both) > 1:
                found = compared(both[plan], both[other], clusters=prompts.loc[both.index])
                yield (
                    plan, other, name, found.value, found.low, found.high, len(both), found.prompts,
                    found.p, found.detectable, found.needed, int(worst),
                )  # fmt: skip
