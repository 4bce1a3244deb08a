"""A run of several plans, from its settings to the tables of its run directory.

With a picture after every step it is the paper's Figure A6.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from attnscope.analyses.grid.making import PlanByPlan
from attnscope.analyses.grid.settings import COMMAND, GridSettings
from attnscope.analyses.grid.table import by_plan, costs_of
from attnscope.analyses.opening import make_left, numbered, open_for, scheduler_of
from attnscope.analyses.turns import COMPARED_BATCHES
from attnscope.errors import InputError
from attnscope.plans.text_form import parse
from attnscope.runs.crew import ALONE, Crew
from attnscope.runs.folder import Run
from attnscope.runs.holding import one_at_a_time
from attnscope.runs.progress import SILENT, Progress
from attnscope.runs.prompts import Prompt, table_of
from attnscope.videos import gifs_of

if TYPE_CHECKING:
    from attnscope.models.chosen import ChosenModel

PICTURED = 2
"""Prompts of which a picture after every step is kept."""


@one_at_a_time
def carry_out(
    path: Path,
    chosen: ChosenModel,
    settings: GridSettings,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    *,
    batch_size: int | None = None,
    crew: Crew = ALONE,
    progress: Progress = SILENT,
) -> Run:
    """Make the images of a run that are not there yet. A run that was stopped goes on.

    Args:
        path: the run directory; it is made with the first batch.
        chosen: the model, which is loaded if something is to be made.
        settings: of the run.
        prompts: one per image.
        given: what the pipeline is given for each: a caption, or an image for a video.
        batch_size: images made at once; ``None`` fits it to the model and the device. It is made so
            small that there are four batches, in which the plans can take turns.
        crew: who makes the batches, and which of them.
        progress: told how far it is.

    Returns:
        The run, with the tables ``prompts``, ``costs``, ``images``, ``times`` (:class:`PlanByPlan`), ``plans``
        (:func:`attnscope.analyses.grid.table.by_plan`) and, on request, ``stages``. Of a share of the batches,
        the parts of those that grow with them.

    Raises:
        InputError: the directory holds another run, or a plan does not fit the model.
    """
    from attnscope.analyses.checks import check_plan

    if Run.check(path, COMMAND, settings, crew.share) and Run(path).has_table("plans"):
        return Run(path)
    pipe = chosen.pipe
    texts = [prompt.text for prompt in prompts]
    for text in settings.plans:
        check_plan(pipe, parse(text), settings.steps, texts, **chosen.described.options)
    if settings.stages:
        _check_stages(pipe)
    kept = open_for(
        COMMAND, path, settings, chosen, prompts, batch_size, progress, table="images",
        about=scheduler_of(chosen), least=COMPARED_BATCHES, crew=crew,
    )  # fmt: skip
    pairs = list(zip(prompts, given, strict=True))
    pictured = [prompt.prompt_id for prompt in prompts[:PICTURED]] if settings.stages else []
    work = PlanByPlan(chosen, settings, tuple(pictured))
    make_left(kept, crew, pairs, work, f"{chosen.name}: prompts by {len(settings.plans)} plans")
    run = kept.run
    run.write_table("costs", costs_of(chosen, settings))
    run.write_table("prompts", table_of(prompts))
    if crew.share.is_whole:
        finish(run)
    return run


def _check_stages(pipe: Any) -> None:
    from attnscope.models.predictions import check_prediction
    from attnscope.observers.clean_images import decodes

    check_prediction(pipe.scheduler)
    if not decodes(pipe):
        raise InputError(
            f"`stages` shows what an autoencoder of images makes of every step, and {type(pipe).__name__} "
            "has none: leave it out"
        )


def finish(run: Run) -> None:
    """Write the tables of a run whose batches are all there.

    Args:
        run: with the tables ``prompts`` and ``costs``, and parts of all others.

    Raises:
        InputError: something is missing of a batch.
    """
    run.check_complete("images")

    def stages(parts: list[pd.DataFrame]) -> pd.DataFrame:
        told = ["plan", "prompt_id", "step"]
        return pd.concat(parts, ignore_index=True).drop_duplicates(told, keep="last")

    run.finish_table("stages", stages)
    run.finish_table("times", numbered)
    run.finish_table("images", lambda parts: pd.concat(parts, ignore_index=True))
    images = run.read_table("images")
    gifs_of(run.path, images, "plan")
    plans = by_plan(run.read_table("times"), images, run.read_table("costs"))
    run.write_csv("plans", plans)
    run.write_table("plans", plans)
