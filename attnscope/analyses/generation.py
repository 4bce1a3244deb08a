"""Images by a plan, and what the plan did; beside them, on request, the same without it."""

from __future__ import annotations

import time
import warnings
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from PIL.Image import Image

from attnscope.analyses import judged
from attnscope.analyses.judged import BASELINE, PLANNED
from attnscope.analyses.opening import make, open_for, scheduler_of
from attnscope.models.calling import frames
from attnscope.plans.base import Baseline, Plan
from attnscope.plans.guidance import GuidanceCutoff
from attnscope.plans.text_form import parse
from attnscope.runs.crew import ALONE, Crew, Made, Task
from attnscope.runs.cut import batches_left, count_of
from attnscope.runs.folder import Run, plain_settings
from attnscope.runs.progress import SILENT, Progress
from attnscope.runs.prompts import Prompt, image_seed, table_of
from attnscope.runs.sampling import Sampling
from attnscope.videos import gifs_of

if TYPE_CHECKING:
    from attnscope.hooks.trace import Trace
    from attnscope.metrics.choosing import Quality
    from attnscope.models.chosen import ChosenModel

WARM_UP_STEPS = 2
COMPARED_BATCHES = 4
"""As many, if there are prompts for them, so that what is compared can take turns."""
"""So that the arms can take turns in going first."""
_WARM: weakref.WeakKeyDictionary[Any, set[GenerationSettings]] = weakref.WeakKeyDictionary()
"""By pipeline, the runs that it was warmed up for."""


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
            for index, (prompt, _) in enumerate(items):
                drawn = frames(made[index])
                own = [_Picture(self.settings, arm, prompt, *one) for one in enumerate(drawn)]
                files |= {one.path: one.as_png(scheduler) for one in own}
                references = frames(done[BASELINE][0][index]) if self.settings.compare else None
                rows += _image_rows(own, references)
        parts = {"calls": done[PLANNED][1].calls(), "times": pd.DataFrame(times)}
        return Made(files, parts | {"images": pd.DataFrame(rows)})

    def _arms(
        self, pipe: Any, items: Sequence[tuple[Prompt, Any]], number: int
    ) -> dict[str, tuple[Any, Trace, float]]:
        """What the pipeline made by every arm, its trace, and how long it took in seconds."""
        arms: dict[str, Plan] = {PLANNED: parse(self.settings.plan)}
        if self.settings.compare:
            self._warm_up(pipe, items, arms[PLANNED])
            arms[BASELINE] = Baseline()
        done = {}
        for arm in list(arms) if number % 2 == 0 else list(reversed(arms)):
            start = time.perf_counter()
            made, trace = self._call(pipe, items, arms[arm], self.settings)
            done[arm] = made, trace, time.perf_counter() - start
        return done

    def _warm_up(self, pipe: Any, items: Sequence[tuple[Prompt, Any]], plan: Plan) -> None:
        """A few steps, unless it was done: the first call of a process, or with one branch, is slower."""
        warm = _WARM.setdefault(pipe, set())
        if self.settings in warm:
            return
        short = replace(self.settings, steps=WARM_UP_STEPS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            drops = plan.ever_drops()
            self._call(pipe, items, GuidanceCutoff(1) if drops else Baseline(), short)
        warm.add(self.settings)

    def _call(
        self, pipe: Any, items: Sequence[tuple[Prompt, Any]], plan: Plan, use: Sampling
    ) -> tuple[Any, Trace]:
        from attnscope.hooks.trace import Trace

        ids = [prompt.prompt_id for prompt, _ in items]
        with Trace(pipe, plan=plan) as trace:
            given = [item for _, item in items]
            made = use.call(pipe, given, ids, **self.model.described.options)
        return made, trace


@dataclass(frozen=True)
class _Picture:
    """An image, which becomes a PNG with its settings inside."""

    settings: GenerationSettings
    arm: str
    prompt: Prompt
    frame: int
    image: Image

    @property
    def path(self) -> str:
        """In the run directory."""
        number = f"{self.prompt.prompt_id:05d}" + (f"-{self.frame:03d}" if self.frame else "")
        return f"{'images' if self.arm == PLANNED else self.arm}/{number}.png"

    def as_png(self, scheduler: str) -> bytes:
        """The file; ``scheduler`` is the class of the pipeline's."""
        plan = self.settings.plan if self.arm == PLANNED else "baseline"
        settings = plain_settings(self.settings) | {"plan": plan}
        return told_png(self.image, settings, self.prompt, self.frame, scheduler)


def told_png(
    image: Image, settings: Mapping[str, Any], prompt: Prompt, frame: int, scheduler: str
) -> bytes:
    """An image as the bytes of a PNG that says how it was made.

    Args:
        image: to be written.
        settings: of the run, with the ``plan`` that made it.
        prompt: that it is of.
        frame: of a video.
        scheduler: class of the pipeline's.
    """
    from PIL.PngImagePlugin import PngInfo

    from attnscope import __version__, documents
    from attnscope.images import as_png

    about = {
        "prompt": prompt.text,
        "prompt_id": prompt.prompt_id,
        "image_seed": image_seed(settings["seed"], prompt.prompt_id),
        "frame": frame,
        **settings,
        "height": image.height,
        "width": image.width,
        "scheduler_class": scheduler,
    }
    info = PngInfo()
    info.add_itxt("Description", prompt.text)
    info.add_text("Software", f"attnscope {__version__}")
    info.add_itxt("attnscope", documents.text(about, indent=None))
    return as_png(image, info)


def speed_up(times: pd.DataFrame) -> pd.Series[float]:
    """Time without the plan over time with it, of every batch that was made both ways."""
    seconds = times.pivot(index="batch", columns="arm", values="seconds")
    if BASELINE not in seconds:
        return pd.Series(dtype=float)
    ratio: pd.Series[float] = (seconds[BASELINE] / seconds[PLANNED]).dropna()
    return ratio


def _image_rows(
    pictures: Sequence[_Picture], references: Sequence[Image] | None
) -> list[dict[str, Any]]:
    from attnscope.metrics import psnr, ssim

    rows: list[dict[str, Any]] = [
        {
            "arm": one.arm,
            "prompt_id": one.prompt.prompt_id,
            "frame": one.frame,
            "text": one.prompt.text,
            "path": one.path,
            "height": one.image.height,
            "width": one.image.width,
        }
        for one in pictures
    ]
    if pictures[0].arm == PLANNED and references is not None:
        frames = [one.image for one in pictures]
        values = zip(rows, psnr(frames, references), ssim(frames, references), strict=True)
        for row, decibels, similarity in values:
            row |= {"psnr": decibels, "ssim": similarity}
    return rows


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
    known = Run(path).known("images") if (path / "run.json").exists() else set()
    left = batches_left(pairs, kept.cut, known, crew.share)
    work = Drawing(chosen, settings)
    with kept.stretch(f"{chosen.name}: images", count_of(pairs, kept.cut, crew.share)):
        kept.advance(len(known))
        make(kept, crew, (Task(number, batch, work) for number, batch in left))
    kept.run.write_table("prompts", table_of(prompts))
    if crew.share.is_whole:
        finish(kept.run)


def finish(run: Run) -> None:
    """Write the tables of a run whose batches are all there.

    Args:
        run: with the table ``prompts``, and parts of all others.
    """
    if calls := run.read_parts("calls"):
        summed = pd.concat(calls).groupby("kind", sort=False).sum().reset_index()
        run.finish_table("calls", summed)
    if times := run.read_parts("times"):  # of a batch that did not fit, there are several
        numbered = [part.assign(batch=number) for number, part in enumerate(times)]
        run.finish_table("times", pd.concat(numbered, ignore_index=True))
    if parts := run.read_parts("images"):
        images = pd.concat(parts, ignore_index=True)
        gifs_of(run.path, images, "arm")
        run.finish_table("images", images)
