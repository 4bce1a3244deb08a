"""Several plans in one run: the same noise and the same prompts, plan by plan, and what each costs.

The plans take turns batch by batch, each one going first in its turn, so that what slows the machine
down for a while slows all of them. The paper's grids of samples (Figures 1b, 6, A1, A2 and A5) have
their rows in the order of latency: so has the table here, by the latency that was measured. With a
picture after every step it is its Figure A6.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from attnscope.analyses.bench.speedups import ranged
from attnscope.analyses.generation import COMPARED_BATCHES, WARM_UP_STEPS, told_png
from attnscope.analyses.opening import open_for, scheduler_of
from attnscope.errors import InputError
from attnscope.files import write_whole
from attnscope.plans.base import Baseline, Plan
from attnscope.plans.guidance import GuidanceCutoff
from attnscope.plans.text_form import parse
from attnscope.runs.batches import in_batches
from attnscope.runs.folder import Run, plain_settings
from attnscope.runs.progress import SILENT, Kept, Progress
from attnscope.runs.prompts import Prompt, table_of
from attnscope.runs.sampling import Sampling
from attnscope.videos import gifs_of

if TYPE_CHECKING:
    from attnscope.models.chosen import ChosenModel

COMMAND = "generate-plans"
"""What such a run is called in its ``run.json``."""
PICTURED = 2
"""Prompts of which a picture after every step is kept."""
_MOST_CALLS = 2
"""Of the scheduler for a step that was asked for, as Heun's."""


@dataclass(frozen=True, kw_only=True)
class GridSettings(Sampling):
    """What decides the images, besides how they are sampled.

    Args:
        captions: where they come from.
        prompts_digest: of the captions.
        plans: in their text forms; images are compared with those of the baseline, or else of the first.
        stages: whether the image that a trajectory holds after every step is kept, too.
    """

    captions: str
    prompts_digest: str
    plans: tuple[str, ...]
    stages: bool | None = field(default=None, metadata={"later": True})

    @property
    def reference(self) -> str:
        """The plan that others are compared with."""
        return reference_of(self.plans)


def reference_of(plans: Sequence[str]) -> str:
    """The baseline, or else the first of several plans in their text forms."""
    return str(Baseline()) if str(Baseline()) in plans else plans[0]


def key_of(plan: str) -> str:
    """A plan's name for folders."""
    return re.sub(r"[^\w.+=-]+", "-", plan)


def carry_out(
    path: Path,
    chosen: ChosenModel,
    settings: GridSettings,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    *,
    batch_size: int | None = None,
    progress: Progress = SILENT,
) -> Run:
    """Make the images of a run that are not there yet. A run that was stopped goes on.

    Args:
        path: the run directory; it is made with the first image.
        chosen: the model, which is loaded if something is to be made.
        settings: of the run.
        prompts: one per image.
        given: what the pipeline is given for each: a caption, or an image for a video.
        batch_size: images made at once; ``None`` fits it to the model and the device. It is made so
            small that there are four batches, in which the plans can take turns.
        progress: told how far it is.

    Returns:
        The run, with the tables ``prompts``, ``images``, ``times``, ``plans`` (see :func:`by_plan`) and,
        on request, ``stages``.

    Raises:
        InputError: the directory holds another run, or a plan does not fit the model.
    """
    from attnscope.analyses.checks import check_plan

    if Run.check(path, COMMAND, settings) and Run(path).has_table("plans"):
        return Run(path)
    pipe = chosen.pipe
    plans = [parse(text) for text in settings.plans]
    texts = [prompt.text for prompt in prompts]
    for plan in plans:
        check_plan(pipe, plan, settings.steps, texts, **chosen.described.options)
    if settings.stages:
        _check_stages(pipe)
    kept = open_for(
        COMMAND, path, settings, chosen, prompts, batch_size, progress, table="images",
        about=scheduler_of(chosen), least=COMPARED_BATCHES,
    )  # fmt: skip
    run = kept.run
    run.write_table("prompts", table_of(prompts))
    _make(run, pipe, chosen, settings, prompts, given, kept)
    images, times = (pd.concat(run.read_parts(name)) for name in ("images", "times"))
    images = images.reset_index(drop=True)
    times = times.drop_duplicates(["batch", "plan"], keep="last")  # of a batch that was cut off
    table = by_plan(times, images, _costs(chosen, settings), settings)
    gifs_of(run.path, images, "plan")
    seconds = table.set_index("plan")["seconds"]
    tables = {
        "images": images.assign(seconds=images["plan"].map(seconds)),
        "times": times.reset_index(drop=True),
    }
    if settings.stages:
        stages = [part for part in run.read_parts("stages") if len(part)]
        told = ["plan", "prompt_id", "step"]
        tables["stages"] = pd.concat(stages, ignore_index=True).drop_duplicates(told)
    for name, made in tables.items():
        run.write_table(name, made)
    run.write_csv("plans", table)
    run.write_table("plans", table)
    for name, made in tables.items():  # whose parts are not needed any more
        run.finish_table(name, made)
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


def _make(
    run: Run,
    pipe: Any,
    chosen: ChosenModel,
    settings: GridSettings,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    kept: Kept,
) -> None:
    """Batch after batch, every plan in its turn; what a batch leaves is kept before the next begins."""
    pairs = list(zip(prompts, given, strict=True))
    before = run.read_parts("images")
    done = {number for part in before for number in part["prompt_id"]}
    left = [pair for pair in pairs if pair[0].prompt_id not in done]
    first = {prompt.prompt_id for prompt in prompts[:PICTURED]} if settings.stages else set()
    worker = _Worker(pipe, settings, chosen.device, chosen.described.options, first, len(before))
    scheduler = type(pipe.scheduler).__name__
    with kept.stretch(f"{chosen.name}: images", len(pairs) * len(settings.plans)):
        kept.advance((len(pairs) - len(left)) * len(settings.plans))
        for batch, made in in_batches(left, kept.batch_size, worker, progress=kept):
            number = len(run.read_parts("images"))
            ids = [prompt.prompt_id for prompt, _ in batch]
            times = [
                {"batch": number, "plan": plan, "images": len(batch), **of_plan.about}
                for plan, of_plan in made.items()
            ]
            run.write_part("times", pd.DataFrame(times))
            if settings.stages:
                run.write_part("stages", _write_stages(run, ids, made))
            run.write_part(
                "images", _write_images(run, settings, [p for p, _ in batch], made, scheduler)
            )
            kept.advance(len(batch) * len(made))


@dataclass(frozen=True)
class _Made:
    """What a plan made of a batch."""

    images: Sequence[Any]
    about: dict[str, Any]
    stages: dict[tuple[int, int], Any]


class _Worker:
    """Makes the images of a batch by every plan, in an order that turns with the batches."""

    def __init__(
        self,
        pipe: Any,
        settings: GridSettings,
        device: str,
        options: dict[str, Any],
        first: set[int],
        turn: int,
    ) -> None:
        from attnscope.analyses.bench.instruments import PeakMemory, Stopwatch

        self._pipe, self._settings, self._options = pipe, settings, options
        self._first, self._turn, self._warm = first, turn, False
        self._memory, self._stopwatch = PeakMemory(device), Stopwatch(device)

    def __call__(self, batch: Sequence[tuple[Prompt, Any]]) -> dict[str, _Made]:
        plans = [parse(text) for text in self._settings.plans]
        if not self._warm:  # the first call of a process, or with one branch, is slower
            self._warm_up(batch, plans)
            self._warm = True
        turn = self._turn % len(plans)
        done = {str(plan): self._call(batch, plan) for plan in (*plans[turn:], *plans[:turn])}
        self._turn += 1
        return {str(plan): done[str(plan)] for plan in plans}

    def _warm_up(self, batch: Sequence[tuple[Prompt, Any]], plans: Sequence[Plan]) -> None:
        from attnscope.hooks.trace import Trace

        drops = any(plan.ever_drops() for plan in plans)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Trace(self._pipe, plan=GuidanceCutoff(1) if drops else Baseline()):
                self._sampled(batch, replace(self._settings, steps=WARM_UP_STEPS))

    def _call(self, batch: Sequence[tuple[Prompt, Any]], plan: Plan) -> _Made:
        from attnscope.hooks.trace import Trace
        from attnscope.observers.clean_images import CleanEstimates

        places = [n for n, (prompt, _) in enumerate(batch) if prompt.prompt_id in self._first]
        every = range(_MOST_CALLS * self._settings.steps)
        watched = CleanEstimates(every, places) if places else None
        self._memory.reset()
        with Trace(self._pipe, plan=plan, observers=[watched] if watched else []) as trace:
            images, seconds = self._stopwatch.time(lambda: self._sampled(batch, self._settings))
        run = trace.runs[-1]
        about = {"seconds": seconds, "peak_mb": self._memory.megabytes(),
                 "steps": run.steps_done, "guided_steps": run.guided_steps}  # fmt: skip
        return _Made(images, about, watched.images(self._pipe) if watched else {})

    def _sampled(self, batch: Sequence[tuple[Prompt, Any]], use: Sampling) -> Any:
        ids = [prompt.prompt_id for prompt, _ in batch]
        return use.call(self._pipe, [item for _, item in batch], ids, **self._options)


def _write_images(
    run: Run,
    settings: GridSettings,
    prompts: Sequence[Prompt],
    made: dict[str, _Made],
    scheduler: str,
) -> pd.DataFrame:
    """A row per image (of a video, per frame): its plan, and how far it is from the reference's."""
    from attnscope.metrics import psnr, ssim
    from attnscope.models.calling import frames

    rows: list[dict[str, Any]] = []
    for plan, of_plan in made.items():
        folder = run.path / "images" / key_of(plan)
        folder.mkdir(parents=True, exist_ok=True)
        for place, prompt in enumerate(prompts):
            pictures = frames(of_plan.images[place])
            references = frames(made[settings.reference].images[place])
            same = plan == settings.reference
            far = [[np.nan] * len(pictures)] * 2 if same else _far(psnr, ssim, pictures, references)
            for frame, (image, decibels, similarity) in enumerate(zip(pictures, *far, strict=True)):
                name = f"{prompt.prompt_id:05d}" + (f"-{frame:03d}" if frame else "") + ".png"
                told = {k: v for k, v in plain_settings(settings).items() if k != "plans"}
                png = told_png(image, told | {"plan": plan}, prompt, frame, scheduler)
                write_whole(folder / name, partial(_write_bytes, png))
                rows.append(
                    {
                        "plan": plan,
                        "key": key_of(plan),
                        "prompt_id": prompt.prompt_id,
                        "frame": frame,
                        "text": prompt.text,
                        "path": (folder / name).relative_to(run.path).as_posix(),
                        "height": image.height,
                        "width": image.width,
                        "psnr": decibels,
                        "ssim": similarity,
                    }
                )
    return pd.DataFrame(rows)


def _write_bytes(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _far(
    psnr: Callable[..., Any], ssim: Callable[..., Any], ours: Sequence[Any], theirs: Sequence[Any]
) -> list[Any]:
    return [psnr(ours, theirs), ssim(ours, theirs)]


def _write_stages(run: Run, ids: Sequence[int], made: dict[str, _Made]) -> pd.DataFrame:
    rows = []
    for plan, of_plan in made.items():
        folder = run.path / "stages" / key_of(plan)
        for (place, step), image in sorted(of_plan.stages.items()):
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{ids[place]:05d}-{step:03d}.png"
            write_whole(path, image.save)
            rows.append((plan, ids[place], step, path.relative_to(run.path).as_posix()))
    return pd.DataFrame(rows, columns=["plan", "prompt_id", "step", "path"])


def _costs(chosen: ChosenModel, settings: GridSettings) -> dict[str, Any]:
    """The cost of every plan; nothing where the architecture cannot be counted from its files."""
    from attnscope.cost.counting import count_architecture
    from attnscope.cost.plans import cost_of
    from attnscope.models import architectures

    try:
        found = architectures.find(settings.model, offline=True)
        found = found.resized(settings.height, settings.width)
        counts = count_architecture(found)
    except InputError:
        return {}
    guided = settings.guidance > 1 and not found.embeds_guidance
    steps, levels = chosen.steps_made(settings.steps), chosen.levels(settings.steps)
    told = levels if levels is not None and len(levels) == steps else None
    return {
        plan: cost_of(counts, plan, steps, guided=guided, levels=told) for plan in settings.plans
    }


def by_plan(
    times: pd.DataFrame, images: pd.DataFrame, costs: dict[str, Any], settings: GridSettings
) -> pd.DataFrame:
    """Every plan in one row: what it computes, how long it takes, what it keeps, how far its images are.

    Args:
        times: a row per batch and plan: ``batch``, ``plan``, ``images``, ``seconds``, ``peak_mb``,
            ``steps``, ``guided_steps``.
        images: a row per image: ``plan``, ``prompt_id``, ``frame``, ``psnr`` and ``ssim`` to the reference's.
        costs: by plan; empty where nothing is known of the architecture.
        settings: of the run.

    Returns:
        The slowest plan first: ``plan``, ``key``, ``steps``, ``guided_steps``, ``macs`` and ``paper_macs``
        (multiply-accumulates of an image, all of them and by the paper's convention; NaN where not
        known), ``seconds`` an image (median over batches, range ``seconds_low`` to ``seconds_high``), ``speedup`` over the
        reference within a batch (median and range), ``peak_mb`` and ``extra_mb`` (over the reference's of the
        same batch; medians), ``kept_mb`` (kept for reuse, of one image, from shapes), ``images``, ``psnr`` (dB, of
        the mean squared error), ``ssim`` with its 95 % interval ``ssim_low`` to ``ssim_high``.
    """
    import torch

    from attnscope.metrics.intervals import bootstrap

    each = times.assign(seconds=times["seconds"] / times["images"])
    seconds = each.pivot(index="batch", columns="plan", values="seconds")
    peaks = times.pivot(index="batch", columns="plan", values="peak_mb")
    item, rows = getattr(torch, settings.dtype).itemsize, []
    for plan, of_plan in times.groupby("plan", sort=False):
        own, cost = images[images["plan"] == plan], costs.get(str(plan))
        similar = bootstrap(own.groupby("prompt_id")["ssim"].mean().dropna())
        error = (10 ** (-own["psnr"] / 10)).mean()
        with np.errstate(divide="ignore"):
            decibels = -10 * np.log10(error)
        row = {
            "plan": plan,
            "key": key_of(str(plan)),
            "steps": int(of_plan["steps"].iloc[0]),
            "guided_steps": int(of_plan["guided_steps"].iloc[0]),
            "macs": np.nan if cost is None else float(cost.macs()),
            "paper_macs": np.nan if cost is None else float(cost.macs("paper")),
            **ranged("seconds", seconds[plan]),
            **ranged("speedup", seconds[settings.reference] / seconds[plan]),
            "peak_mb": float(peaks[plan].median()),
            "extra_mb": float((peaks[plan] - peaks[settings.reference]).median()),
            "kept_mb": np.nan if cost is None else max(cost.kept) * item / 2**20,
            "images": int(own["prompt_id"].nunique()),
            "psnr": float(decibels),
            "ssim": similar.value,
            "ssim_low": similar.low,
            "ssim_high": similar.high,
        }
        rows.append(row)
    return pd.DataFrame(rows).sort_values("seconds", ascending=False, ignore_index=True)
