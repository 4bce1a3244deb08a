"""An ablation, from its settings to the tables of its run directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnscope.analyses.ablation import sample, tables
from attnscope.analyses.ablation.arms import AblationSettings, Arm, arms_of
from attnscope.analyses.opening import open_for
from attnscope.metrics import summaries
from attnscope.metrics.judging import judge
from attnscope.runs.columns import OWN
from attnscope.runs.folder import Run
from attnscope.runs.progress import SILENT, Progress
from attnscope.runs.prompts import Prompt, table_of

if TYPE_CHECKING:
    from attnscope.metrics.choosing import Quality
    from attnscope.metrics.judging import Judges
    from attnscope.models.chosen import ChosenModel


def carry_out(
    path: Path,
    models: Sequence[ChosenModel],
    settings: AblationSettings,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    quality: Quality,
    *,
    batch_size: int | None = None,
    progress: Progress = SILENT,
) -> Run:
    """Make what images of an ablation are missing, and judge them if they were not yet.

    Args:
        path: the run directory; it is made with the first batch.
        models: in the order of the settings' subjects, each loaded if something is to be made.
        settings: of the run.
        prompts: one per image.
        given: what the pipelines are given for each: a caption, or an image for a video.
        quality: what images are judged by.
        batch_size: images made at once; ``None`` fits it to the model and the device.
        progress: told how far it is.

    Returns:
        The run, with the tables ``prompts``, ``noise``, ``pictures``, ``images`` and ``arms``.

    Raises:
        InputError: the directory holds another run, or a model does not fit the settings.
    """
    Run.check(path, "ablate", settings)
    if quality.is_of(path):
        return Run(path)
    judges = quality.judges()
    arms = arms_of(settings)
    for model in models:
        own = [arm for arm in arms if arm.cell.model == model.name]
        _make(path, model, own, settings, prompts, given, batch_size, progress)
    run = Run(path)
    with quality.judging(path):
        _judge(run, settings, prompts, judges, progress)
    return run


def _make(
    path: Path,
    model: ChosenModel,
    arms: Sequence[Arm],
    settings: AblationSettings,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    batch_size: int | None,
    progress: Progress,
) -> None:
    """Make what images of a model are missing; everything is checked before the first."""
    if (path / "run.json").exists():
        run = Run(path)
        arms = [arm for arm in arms if not sample.is_finished(run, arm, len(prompts))]
    if not arms:
        return
    pipe = model.pipe
    _check(pipe, arms, *settings.size(model.name))
    kept = open_for("ablate", path, settings, model, prompts, batch_size, progress)
    run = kept.run
    run.write_table("prompts", table_of(prompts))
    for number, arm in enumerate(arms, 1):
        _set(pipe, arm)
        with kept.stretch(f"{arm.key} ({number} of {len(arms)})", len(prompts)):
            sample.sample_arm(
                pipe, arm, settings, prompts, given, run, batch_size=kept.batch_size, progress=kept,
                **model.described.options,
            )  # fmt: skip
    model.forget()


def _check(pipe: Any, arms: Sequence[Arm], height: int | None, width: int | None) -> None:
    """Refuse what does not fit the pipeline."""
    from attnscope.analyses.checks import check_plan, check_steps_made
    from attnscope.models.image_sizes import size_asked
    from attnscope.models.schedulers import scaled_timesteps
    from attnscope.plans.text_form import parse

    if height is not None:
        size_asked(pipe, height, width)
    for arm in arms:
        _set(pipe, arm)
        check_plan(pipe, parse(arm.plan), arm.asked)
        check_steps_made(pipe, arm.asked, arm.cell.steps)
        if arm.cell.noise_scale != 1:
            scaled_timesteps(pipe, arm.asked, arm.cell.noise_scale)


def _set(pipe: Any, arm: Arm) -> None:
    from attnscope.models.schedulers import set_scheduler

    if arm.cell.scheduler != OWN:
        set_scheduler(pipe, arm.cell.scheduler)


def _judge(
    run: Run,
    settings: AblationSettings,
    prompts: Sequence[Prompt],
    judges: Judges,
    progress: Progress,
) -> None:
    """Measure the images."""
    made = tables.images_of(run, settings)
    noise = tables.noise_of(run, settings)
    texts = {prompt.prompt_id: prompt.text for prompt in prompts}
    with progress.stretch("measures: arms", made["key"].nunique()):
        images, features = judge(run, made, texts, judges, progress=progress)
    arms = summaries.at_gate(summaries.summarise(images, features, judges.reference), noise)
    run.write_table("noise", noise)
    run.write_table("pictures", tables.pictures_of(run, settings))
    run.write_table("images", images)
    run.write_table("arms", arms)
    run.write_csv("arms", arms)
