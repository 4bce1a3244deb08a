"""Images by a plan, and what the plan did; beside them, on request, the same without it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from PIL.Image import Image

from attnscope.analyses import judged
from attnscope.analyses.judged import BASELINE, PLANNED
from attnscope.analyses.opening import open_for, scheduler_of
from attnscope.models.calling import frames
from attnscope.plans.base import Baseline, Plan
from attnscope.plans.guidance import GuidanceCutoff
from attnscope.plans.text_form import parse
from attnscope.runs.batches import in_batches
from attnscope.runs.folder import Run
from attnscope.runs.progress import SILENT, Kept, Progress
from attnscope.runs.prompts import Prompt, image_seed, table_of
from attnscope.runs.sampling import Sampling
from attnscope.videos import gifs_of

if TYPE_CHECKING:
    from attnscope.hooks.trace import Trace
    from attnscope.metrics.choosing import Quality
    from attnscope.models.chosen import ChosenModel

_WARM_UP_STEPS = 2
_COMPARED_BATCHES = 4


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
class Generated:
    """What came out.

    Args:
        images: a row per image (of a video, per frame) with the columns ``arm`` (plan, baseline),
            ``prompt_id``, ``frame``, ``text``, ``path``, ``height`` and ``width`` in pixels, and of the plan's, where both were made,
            ``psnr`` in dB and ``ssim`` to the baseline's.
        calls: a row per kind of attention: ``kind``, ``computed``, ``stored``, ``reused``.
        times: a row per batch and arm: ``batch``, ``arm``, ``images``, ``seconds``, ``steps``,
            ``guided_steps``. The arms take turns in going first.
    """

    images: pd.DataFrame
    calls: pd.DataFrame
    times: pd.DataFrame


def generate(
    pipe: Any,
    settings: GenerationSettings,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    *,
    batch_size: int,
    save: Callable[[str, Prompt, int, Image], str],
    progress: Progress = SILENT,
    **options: Any,
) -> Generated:
    """Make an image of every prompt by a plan.

    Args:
        pipe: the pipeline.
        settings: of the run.
        prompts: one per image.
        given: what the pipeline is given for each: a caption, or an image for a video.
        batch_size: images made at once; halved where memory runs out.
        save: called with arm, prompt, frame number and image as soon as a batch is done; returns
            the path that stands in the table.
        progress: told how many images of the plan were just made.
        options: further keywords of the pipeline.

    Raises:
        InputError: the plan does not fit the pipeline or the steps.
    """
    from attnscope.hooks.trace import Trace

    plan = parse(settings.plan)
    pairs = list(zip(prompts, given, strict=True))
    rows: list[dict[str, Any]] = []
    times: list[dict[str, Any]] = []
    counts: list[pd.DataFrame] = []

    def make(batch: Sequence[tuple[Prompt, Any]], plan: Plan, use: Sampling) -> tuple[Any, Trace]:
        ids = [prompt.prompt_id for prompt, _ in batch]
        with Trace(pipe, plan=plan) as trace:
            made = use.call(pipe, [item for _, item in batch], ids, **options)
        return made, trace

    def warm_up(batch: Sequence[tuple[Prompt, Any]]) -> None:
        short = replace(settings, steps=_WARM_UP_STEPS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            make(batch, GuidanceCutoff(1) if plan.ever_drops() else Baseline(), short)

    def work(batch: Sequence[tuple[Prompt, Any]]) -> dict[str, tuple[Any, Trace, float]]:
        arms: dict[str, Plan] = {PLANNED: plan}
        if settings.compare:
            if not times:  # the first call of a process, or with one branch, is slower
                warm_up(batch)
            arms[BASELINE] = Baseline()
        done = {}
        order = list(arms) if len(times) // len(arms) % 2 == 0 else list(reversed(arms))
        for arm in order:
            start = time.perf_counter()
            made, trace = make(batch, arms[arm], settings)
            done[arm] = made, trace, time.perf_counter() - start
        return done

    for number, (batch, done) in enumerate(in_batches(pairs, batch_size, work, progress=progress)):
        for arm, (made, trace, seconds) in done.items():
            run = trace.runs[-1]
            times.append(
                {
                    "batch": number,
                    "arm": arm,
                    "images": len(batch),
                    "seconds": seconds,
                    "steps": run.steps_done,
                    "guided_steps": run.guided_steps,
                }
            )
            for index, (prompt, _) in enumerate(batch):
                references = frames(done[BASELINE][0][index]) if settings.compare else None
                rows += _image_rows(arm, prompt, frames(made[index]), references, save)
        counts.append(done[PLANNED][1].calls())
        progress.advance(len(batch))
    calls = pd.concat(counts).groupby("kind", sort=False).sum().reset_index()
    return Generated(pd.DataFrame(rows), calls, pd.DataFrame(times))


def speed_up(times: pd.DataFrame) -> pd.Series[float]:
    """Time without the plan over time with it, of every batch that was made both ways."""
    seconds = times.pivot(index="batch", columns="arm", values="seconds")
    if BASELINE not in seconds:
        return pd.Series(dtype=float)
    ratio: pd.Series[float] = (seconds[BASELINE] / seconds[PLANNED]).dropna()
    return ratio


def _image_rows(
    arm: str,
    prompt: Prompt,
    frames: Sequence[Image],
    references: Sequence[Image] | None,
    save: Callable[[str, Prompt, int, Image], str],
) -> list[dict[str, Any]]:
    from attnscope.metrics import psnr, ssim

    rows: list[dict[str, Any]] = [
        {
            "arm": arm,
            "prompt_id": prompt.prompt_id,
            "frame": number,
            "text": prompt.text,
            "path": save(arm, prompt, number, image),
            "height": image.height,
            "width": image.width,
        }
        for number, image in enumerate(frames)
    ]
    if arm == PLANNED and references is not None:
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
    progress: Progress = SILENT,
) -> Run:
    """Make the images of a run, if they are not there yet, and judge them, if they were not.

    Args:
        path: the run directory; it is made with the first image.
        chosen: the model, which is loaded if something is to be made.
        settings: of the run.
        prompts: one per image.
        given: what the pipeline is given for each: a caption, or an image for a video.
        quality: what the images are judged by; ``None`` leaves it out.
        batch_size: images made at once; ``None`` fits it to the model and the device.
        progress: told how far it is.

    Returns:
        The run, with the tables ``prompts``, ``calls``, ``times`` and ``images``; of what is judged, also
        ``measured`` and ``quality``.

    Raises:
        InputError: the directory holds another run, or the model does not fit the settings.
    """
    finished = Run.check(path, "generate", settings) and Run(path).has_table("images")
    judges = None if quality is None or quality.is_of(path) else quality.judges()
    if not finished:
        _make(path, chosen, settings, prompts, given, batch_size, progress)
    run = Run(path)
    if quality is not None and judges is not None:
        with quality.judging(path):
            judged.write(run, judges, progress)
    return run


def _make(
    path: Path,
    chosen: ChosenModel,
    settings: GenerationSettings,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    batch_size: int | None,
    progress: Progress,
) -> None:
    from attnscope.analyses.checks import check_plan

    pipe = chosen.pipe
    texts = [prompt.text for prompt in prompts]
    options = chosen.described.options
    check_plan(pipe, parse(settings.plan), settings.steps, texts, **options)
    kept = open_for(
        "generate", path, settings, chosen, prompts, batch_size, progress,
        about=scheduler_of(chosen),
    )  # fmt: skip
    if settings.compare:  # several batches, so that the arms can take turns in going first
        kept.batch_size = min(kept.batch_size, -(-len(prompts) // _COMPARED_BATCHES))
    with kept.stretch(f"{chosen.name}: images", len(prompts)):
        made = generate(
            pipe, settings, prompts, given, batch_size=kept.batch_size, save=_Saver(kept), progress=kept,
            **options,
        )  # fmt: skip
    run = kept.run
    run.write_table("prompts", table_of(prompts))
    run.write_table("calls", made.calls)
    run.write_table("times", made.times)
    gifs_of(run.path, made.images, "arm")
    run.write_table("images", made.images)


class _Saver:
    """Writes images as PNG with their settings inside."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    @cached_property
    def _run(self) -> Run:
        return self._kept.run

    def __call__(self, arm: str, prompt: Prompt, frame: int, image: Image) -> str:
        from PIL.PngImagePlugin import PngInfo

        from attnscope import __version__, documents
        from attnscope.files import write_whole

        settings = dict(self._run.settings)
        if arm != PLANNED:
            settings["plan"] = "baseline"
        about = {
            "prompt": prompt.text,
            "prompt_id": prompt.prompt_id,
            "image_seed": image_seed(settings["seed"], prompt.prompt_id),
            "frame": frame,
            **settings,
            "height": image.height,
            "width": image.width,
            "scheduler_class": self._run.about["machine"].get("scheduler"),
        }
        info = PngInfo()
        info.add_itxt("Description", prompt.text)
        info.add_text("Software", f"attnscope {__version__}")
        info.add_itxt("attnscope", documents.text(about, indent=None))
        folder = self._run.path / ("images" if arm == PLANNED else arm)
        folder.mkdir(exist_ok=True)
        number = f"{prompt.prompt_id:05d}" + (f"-{frame:03d}" if frame else "")
        path = folder / f"{number}.png"
        write_whole(path, lambda partial: image.save(partial, pnginfo=info))
        return path.relative_to(self._run.path).as_posix()
