"""Images by a plan, and what the plan did; beside them, on request, the same without it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from attnscope.analyses import judged
from attnscope.analyses.judged import BASELINE, PLANNED
from attnscope.analyses.opening import make_left, numbered, open_for, scheduler_of
from attnscope.analyses.pictures import distances, pictures_of
from attnscope.analyses.turns import COMPARED_BATCHES, Batch, in_turns
from attnscope.models.calling import frames
from attnscope.plans.base import Baseline, Plan
from attnscope.plans.text_form import parse
from attnscope.runs.crew import ALONE, Crew, Made
from attnscope.runs.folder import Run, plain_settings
from attnscope.runs.holding import one_at_a_time
from attnscope.runs.progress import SILENT, Progress
from attnscope.runs.prompts import Prompt, table_of
from attnscope.runs.sampling import Sampling
from attnscope.videos import gifs_of

if TYPE_CHECKING:
    from attnscope.hooks.trace import Trace
    from attnscope.metrics.choosing import Quality
    from attnscope.models.chosen import ChosenModel


@dataclass(frozen=True, kw_only=True)
class GenerationSettings(Sampling):
    """What decides the images, besides how they are sampled.

    Args:
        captions: where they come from.
        prompts_digest: of the captions.
        plan: in its text form.
        compare: whether the same images are made without the plan too.
    """

    captions: str
    prompts_digest: str
    plan: str
    compare: bool


@dataclass(frozen=True)
class Drawing:
    """Makes the images of a batch; a :class:`attnscope.runs.crew.Work`.

    The arms take turns in going first, batch by batch.

    Args:
        model: that makes them.
        settings: of the run.
    """

    model: ChosenModel
    settings: GenerationSettings

    def __call__(self, pipe: Any, items: Sequence[tuple[Prompt, Any]], number: int) -> Made:
        """Make them.

        Returns:
            The files of the images, and parts of three tables. ``calls``: a row per kind of attention
            with ``kind``, ``computed``, ``stored`` and ``reused``, for the plan. ``times``: a row per arm
            with ``batch``, ``arm``, ``images``, ``seconds``, ``steps`` and ``guided_steps``. ``images``: a
            row per image (of a video, per frame) with ``arm`` (plan, baseline), ``prompt_id``, ``frame``,
            ``text``, ``path``, ``height`` and ``width`` in pixels, and of the plan's, where both were
            made, ``psnr`` in dB and ``ssim`` to the baseline's.
        """
        done = self._arms(pipe, items, number)
        files: dict[str, bytes] = {}
        rows: list[dict[str, Any]] = []
        times = []
        scheduler = type(pipe.scheduler).__name__
        for arm, (made, trace, seconds) in done.items():
            run = trace.runs[-1]
            about = {"seconds": seconds, "steps": run.steps_done, "guided_steps": run.guided_steps}
            times.append({"batch": number, "arm": arm, "images": len(items), **about})
            told = plain_settings(self.settings) | ({} if arm == PLANNED else {"plan": BASELINE})
            for index, (prompt, _) in enumerate(items):
                own = pictures_of(prompt, made[index])
                paths = [f"{'images' if arm == PLANNED else arm}/{one.file}" for one in own]
                files |= {
                    path: one.as_png(told, scheduler) for path, one in zip(paths, own, strict=True)
                }
                new = [{"arm": arm} | one.row(path) for path, one in zip(paths, own, strict=True)]
                if arm == PLANNED and self.settings.compare:
                    references = frames(done[BASELINE][0][index])
                    far = distances([one.image for one in own], references)
                    new = [row | values for row, values in zip(new, far, strict=True)]
                rows += new
        parts = {"calls": done[PLANNED][1].calls(), "times": pd.DataFrame(times)}
        return Made(files, parts | {"images": pd.DataFrame(rows)})

    def _arms(
        self, pipe: Any, items: Sequence[tuple[Prompt, Any]], number: int
    ) -> dict[str, tuple[Any, Trace, float]]:
        """What the pipeline made by every arm, its trace, and how long it took in seconds."""
        from attnscope.hooks.trace import Trace

        plans: dict[str, Plan] = {PLANNED: parse(self.settings.plan)}
        batch = Batch(pipe, items, self.settings, self.model.described.options)
        if self.settings.compare:
            plans[BASELINE] = Baseline()
            batch.warm_up(plans.values())
        done = {}
        for arm in in_turns(list(plans), number):
            start = time.perf_counter()
            with Trace(pipe, plan=plans[arm]) as trace:
                made = batch.make()
            done[arm] = made, trace, time.perf_counter() - start
        return done


def speed_up(times: pd.DataFrame) -> pd.Series[float]:
    """Time without the plan over time with it, of every batch that was made both ways."""
    seconds = times.pivot(index="batch", columns="arm", values="seconds")
    if BASELINE not in seconds:
        return pd.Series(dtype=float)
    ratio: pd.Series[float] = (seconds[BASELINE] / seconds[PLANNED]).dropna()
    return ratio


@one_at_a_time
def carry_out(
    path: Path,
    chosen: ChosenModel,
    settings: GenerationSettings,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    *,
    quality: Quality | None = None,
    batch_size: int | None = None,
    crew: Crew = ALONE,
    progress: Progress = SILENT,
) -> Run:
    """Make the images of a run that are not there yet, and judge them, if they were not.

    Args:
        path: the run directory; it is made with the first batch.
        chosen: the model, which is loaded if something is to be made.
        settings: of the run.
        prompts: one per image.
        given: what the pipeline is given for each: a caption, or an image for a video.
        quality: what the images are judged by; ``None`` leaves it out.
        batch_size: images made at once; ``None`` fits it to the model and the device.
        crew: who makes the batches, and which of them.
        progress: told how far it is.

    Returns:
        The run, with the tables ``prompts``, ``calls``, ``times`` and ``images`` (:class:`Drawing`); of what
        is judged, also ``measured`` and ``quality``. Of a share of the batches, their parts, which are judged
        when all are there.

    Raises:
        InputError: the directory holds another run, or the model does not fit the settings.
    """
    known = Run.check(path, "generate", settings, crew.share)
    finished, whole = known and Run(path).has_table("images"), crew.share.is_whole
    asked = None if whole or quality is None else quality.asked
    wanted = quality if whole and quality is not None and not quality.is_of(path) else None
    judges = None if wanted is None else wanted.judges()
    if not finished:
        _make(path, chosen, settings, prompts, given, batch_size, crew, progress)
    run = Run(path)
    if whole:
        finish(run)
    if asked is not None:
        run.note("quality", asked)
    if wanted is not None and judges is not None:
        with wanted.judging(path):
            judged.write(run, judges, progress)
    return run


def _make(
    path: Path,
    chosen: ChosenModel,
    settings: GenerationSettings,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    batch_size: int | None,
    crew: Crew,
    progress: Progress,
) -> None:
    """Make what images are missing."""
    from attnscope.analyses.checks import check_plan

    pipe = chosen.pipe
    texts = [prompt.text for prompt in prompts]
    options = chosen.described.options
    check_plan(pipe, parse(settings.plan), settings.steps, texts, **options)
    kept = open_for(
        "generate", path, settings, chosen, prompts, batch_size, progress, table="images",
        about=scheduler_of(chosen), least=COMPARED_BATCHES if settings.compare else 1, crew=crew,
    )  # fmt: skip
    pairs = list(zip(prompts, given, strict=True))
    make_left(kept, crew, pairs, Drawing(chosen, settings), f"{chosen.name}: images")
    kept.run.write_table("prompts", table_of(prompts))


def finish(run: Run) -> None:
    """Write the tables of a run whose batches are all there.

    Args:
        run: with the table ``prompts``, and parts of all others.

    Raises:
        InputError: something is missing of a batch.
    """
    run.check_complete("images")

    def summed(calls: list[pd.DataFrame]) -> pd.DataFrame:
        return pd.concat(calls).groupby("kind", sort=False).sum().reset_index()

    def images(parts: list[pd.DataFrame]) -> pd.DataFrame:
        table = pd.concat(parts, ignore_index=True)
        gifs_of(run.path, table, "arm")
        return table

    run.finish_table("calls", summed)
    run.finish_table("times", numbered)
    run.finish_table("images", images)
