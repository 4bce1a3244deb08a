"""An ablation, from its settings to the tables of its run directory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnscope.analyses.ablation import sample, tables
from attnscope.analyses.ablation.arms import AblationSettings, Arm, arms_of
from attnscope.analyses.opening import make, open_for
from attnscope.metrics import summaries
from attnscope.metrics.judging import judge
from attnscope.runs.crew import ALONE, Crew, Task
from attnscope.runs.cut import batches_left, count_of
from attnscope.runs.folder import Run
from attnscope.runs.holding import hold, one_at_a_time
from attnscope.runs.progress import SILENT, Progress
from attnscope.runs.prompts import Prompt, table_of

if TYPE_CHECKING:
    from attnscope.metrics.choosing import Quality
    from attnscope.metrics.judging import Judges
    from attnscope.models.chosen import ChosenModel


@one_at_a_time
def carry_out(
    path: Path,
    models: Sequence[ChosenModel],
    settings: AblationSettings,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    quality: Quality,
    *,
    batch_size: int | None = None,
    crew: Crew = ALONE,
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
        crew: who makes the batches, and which of them.
        progress: told how far it is.

    Returns:
        The run, with the tables ``prompts``, ``noise``, ``pictures``, ``images`` and ``arms``; of a share
        of the batches, with their images, which are judged when all are there.

    Raises:
        InputError: the directory holds another run, or a model does not fit the settings.
    """
    Run.check(path, "ablate", settings, crew.share)
    if quality.is_of(path):
        return Run(path)
    asked = None if crew.share.is_whole else quality.asked
    judges = quality.judges() if crew.share.is_whole else None
    arms = arms_of(settings)
    before = 0
    for model in models:
        own = [arm for arm in arms if arm.cell.model == model.name]
        before += _make(
            path, model, own, settings, prompts, given, batch_size, crew, before, progress
        )
    run = Run(path)
    if judges is None:
        run.note("quality", asked)
    else:
        finish(run, settings, quality, judges, progress)
    return run


def finish(
    run: Run,
    settings: AblationSettings,
    quality: Quality,
    judges: Judges,
    progress: Progress = SILENT,
) -> None:
    """Judge the images of a run whose batches are all there, and write its tables.

    Args:
        run: with the table ``prompts``, the images, and parts of the tables ``images`` and ``noise``.
        settings: of the run.
        quality: what images are judged by.
        judges: of it, loaded.
        progress: told how far it is.

    Raises:
        InputError: images are missing.
    """
    with quality.judging(run.path):
        _judge(run, settings, judges, progress)


def _make(
    path: Path,
    model: ChosenModel,
    arms: Sequence[Arm],
    settings: AblationSettings,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    batch_size: int | None,
    crew: Crew,
    before: int,
    progress: Progress,
) -> int:
    """Make what images of a model are missing; everything is checked before the first.

    Returns:
        How many batches the model has, ``before`` being those of the models before.
    """
    known: dict[str, set[int]] = {arm.key: set() for arm in arms}
    cut = None
    if (path / "run.json").exists():
        hold(path)
        run = Run(path)
        known = {arm.key: run.known(f"{arm.key}/images") for arm in arms}
        cut = run.cut
    pairs = list(zip(prompts, given, strict=True))
    if cut and not any(_tasks(model, arms, settings, pairs, known, cut, crew, before)):
        return len(arms) * -(-len(pairs) // cut)
    pipe = model.pipe
    left = [arm for arm in arms if len(known[arm.key]) < len(prompts)]
    _check(pipe, left, *settings.size(model.name))
    kept = open_for("ablate", path, settings, model, prompts, batch_size, progress, crew=crew)
    for arm in arms:
        kept.of(f"{arm.key}/images").forget_broken()
    kept.run.write_table("prompts", table_of(prompts))
    per_arm = -(-len(pairs) // kept.cut)
    total = sum(
        count_of(pairs, kept.cut, crew.share, first=before + number * per_arm)
        for number in range(len(arms))
    )
    label = f"{model.name}: images of {len(arms)} arms"
    with kept.stretch(label, total):
        kept.advance(sum(map(len, known.values())))
        make(kept, crew, _tasks(model, arms, settings, pairs, known, kept.cut, crew, before))
    model.forget()
    return len(arms) * per_arm


def _tasks(
    model: ChosenModel,
    arms: Sequence[Arm],
    settings: AblationSettings,
    pairs: Sequence[tuple[Prompt, Any]],
    known: Mapping[str, set[int]],
    cut: int,
    crew: Crew,
    before: int,
) -> Iterator[Task]:
    """The batches that are missing, arm by arm, counted through all arms."""
    pictured = sample.pictured_of([prompt for prompt, _ in pairs])
    per_arm = -(-len(pairs) // cut)
    for place, arm in enumerate(arms):
        work = sample.Ablating(model, settings, arm, pictured)
        first = before + place * per_arm
        for number, items in batches_left(pairs, cut, known[arm.key], crew.share, first=first):
            yield Task(number, items, work)


def _check(pipe: Any, arms: Sequence[Arm], height: int | None, width: int | None) -> None:
    """Refuse what does not fit the pipeline."""
    from attnscope.analyses.checks import check_plan, check_steps_made
    from attnscope.models.image_sizes import size_asked
    from attnscope.models.schedulers import scaled_timesteps
    from attnscope.plans.text_form import parse

    if height is not None:
        size_asked(pipe, height, width)
    for arm in arms:
        sample.set_scheduler_of(pipe, arm)
        check_plan(pipe, parse(arm.plan), arm.asked)
        check_steps_made(pipe, arm.asked, arm.cell.steps)
        if arm.cell.noise_scale != 1:
            scaled_timesteps(pipe, arm.asked, arm.cell.noise_scale)


def _judge(run: Run, settings: AblationSettings, judges: Judges, progress: Progress) -> None:
    """Measure the images."""
    made = tables.images_of(run, settings)
    noise = tables.noise_of(run, settings)
    prompts = run.read_table("prompts")
    texts = dict(zip(prompts["prompt_id"], prompts["text"], strict=True))
    with progress.stretch("measures: arms", made["key"].nunique()):
        images, features = judge(run, made, texts, judges, progress=progress)
    arms = summaries.at_gate(summaries.summarise(images, features, judges.reference), noise)
    run.write_table("noise", noise)
    run.write_table("pictures", tables.pictures_of(run, settings))
    run.write_table("images", images)
    run.write_table("arms", arms)
    run.write_csv("arms", arms)
