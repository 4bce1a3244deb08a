"""A benchmark, from its settings to the tables of its run directory."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from attnscope.analyses.bench import breakdown, frontier, rounds, speedups
from attnscope.analyses.bench.arms import BenchSettings, Contender, arms_of
from attnscope.analyses.bench.instruments import PeakMemory, Stopwatch
from attnscope.analyses.bench.rounds import Workload
from attnscope.errors import InputError
from attnscope.files import write_whole
from attnscope.metrics import judging, summaries
from attnscope.models.chosen import RandomModel
from attnscope.models.schedulers import steps_of
from attnscope.runs.crew import ALONE, Crew
from attnscope.runs.cut import WHOLE, Share
from attnscope.runs.folder import Run
from attnscope.runs.holding import one_at_a_time
from attnscope.runs.progress import SILENT, Progress
from attnscope.runs.prompts import Prompt, digest_of, table_of

if TYPE_CHECKING:
    from attnscope.cost.plans import Cost
    from attnscope.metrics.choosing import Quality
    from attnscope.metrics.judging import Judges
    from attnscope.models.architectures import Architecture
    from attnscope.models.chosen import ChosenModel

_PASSES = 3


@dataclass(frozen=True)
class Pictured:
    """What images are made of for the frontier, and what the pipeline is given for each."""

    prompts: Sequence[Prompt]
    given: Sequence[Any]

    @property
    def digest(self) -> str:
        """Of all that is given."""
        return digest_of(self.prompts, self.given)


def is_timed(path: Path, settings: BenchSettings, share: Share = WHOLE) -> bool:
    """Whether a directory holds the times of this very benchmark.

    Raises:
        InputError: it holds a run of other settings, or is a file or not empty.
    """
    return Run.check(path, "bench", settings, share) and Run(path).has_table("arms")


def machine_of(device: str) -> dict[str, Any]:
    """What times depend on besides the model, as :class:`BenchSettings` has it: device, threads, versions.

    Args:
        device: a torch device.
    """
    import platform
    from importlib import metadata

    name = f"{device}, {platform.machine()}"
    if device.startswith("cuda"):
        name = torch.cuda.get_device_name(device)
    versions = tuple((package, metadata.version(package)) for package in ("torch", "diffusers"))
    return {"device": name, "threads": torch.get_num_threads(), "versions": versions}


@one_at_a_time
def carry_out(
    path: Path,
    chosen: ChosenModel | RandomModel,
    found: Architecture,
    settings: BenchSettings,
    given: Sequence[Any],
    *,
    pictured: Pictured | None = None,
    quality: Quality | None = None,
    batch_size: int | None = None,
    crew: Crew = ALONE,
    progress: Progress = SILENT,
) -> Run:
    """Time what was not timed, and judge images of every arm, if some are wanted and were not yet.

    Args:
        path: the run directory.
        chosen: the model, which is loaded if something is to be done.
        found: its architecture, at the size of the settings.
        settings: of the run.
        given: what the pipeline is given while it is timed.
        pictured: what images are made of, if they are wanted.
        quality: what they are judged by.
        batch_size: of these images, made at once; ``None`` fits it to the model and the device.
        crew: who makes the batches of images, and which of them; times are taken in this process, and
            of several shares in the first.
        progress: told how far it is.

    Returns:
        The run, with the tables ``repetitions``, ``arms``, ``parts``, ``attribution`` and, of images,
        ``images`` and ``frontier``; of a share of the batches, images that are judged when all are there.

    Raises:
        InputError: the directory holds another run, or the model does not fit the settings.
    """
    if not crew.share.is_whole and pictured is None:
        raise InputError("only the images of the frontier are cut into shards: ask for them, too")
    timed = is_timed(path, settings, crew.share)
    judged = quality is None or pictured is None or quality.is_of(path)
    if timed and judged:
        return Run(path)
    whole = crew.share.is_whole
    asked = None if whole or quality is None else quality.asked
    judges = None if judged or quality is None or not whole else quality.judges()
    cost = _checked_cost(chosen, found, settings, given, pictured, progress)
    arms = arms_of(
        cost, rivals=[name for name, _ in settings.rivals], watched=settings.watched,
        against=settings.against or (),
        steps_made=lambda asked: steps_of(deepcopy(chosen.pipe.scheduler), asked),
    )  # fmt: skip
    run = Run.open(
        path, "bench", settings, share=crew.share, device=chosen.device, **crew.about(chosen.device),
        scheduler=type(chosen.pipe.scheduler).__name__, steps=cost.trajectory.steps,
    )  # fmt: skip
    if not timed and crew.share.number == 1:
        _time(run, chosen, settings, cost, arms, given, progress)
    if judged or quality is None or pictured is None:
        return run
    made = _picture(run, chosen, settings, arms, pictured, batch_size, crew, progress)
    if judges is None:
        run.note("quality", asked)
        run.note("pictured", pictured.digest)
    else:
        finish(run, made, quality, judges, pictured.prompts, progress)
    return run


def finish(
    run: Run,
    images: pd.DataFrame,
    quality: Quality,
    judges: Judges,
    prompts: Sequence[Prompt],
    progress: Progress = SILENT,
) -> None:
    """Judge the images of a run whose batches are all there, and write its frontier.

    Args:
        run: with the table ``arms``.
        images: of :func:`attnscope.analyses.bench.frontier.sample_arms`.
        quality: what they are judged by.
        judges: of it, loaded.
        prompts: one per image.
        progress: told how far it is.
    """
    with quality.judging(run.path):
        _judge(run, images, judges, prompts, progress)


def _checked_cost(
    chosen: ChosenModel | RandomModel,
    found: Architecture,
    settings: BenchSettings,
    given: Sequence[Any],
    pictured: Pictured | None,
    progress: Progress,
) -> Cost:
    """What the plan costs, once all that can be refused is."""
    from attnscope.analyses.checks import check_plan, check_steps
    from attnscope.cost.counting import count_architecture
    from attnscope.cost.plans import cost_of
    from attnscope.models.image_sizes import size_asked
    from attnscope.models.schedulers import levels_ahead
    from attnscope.plans.text_form import parse
    from attnscope.runs.words import warnings_of

    plan = parse(settings.plan)
    if isinstance(chosen, RandomModel):
        check_plan(chosen.pipe, plan, settings.steps)
    else:
        texts = [] if pictured is None else [prompt.text for prompt in pictured.prompts]
        texts += [text for text in islice(given, settings.batch) if isinstance(text, str)]
        texts = list(dict.fromkeys(texts))
        check_plan(chosen.pipe, plan, settings.steps, texts, **chosen.described.options)
        size_asked(chosen.pipe, settings.height, settings.width)
    if pictured is not None:
        for line in warnings_of(chosen.pipe, pictured.prompts):
            progress.say(line)
    return cost_of(
        count_architecture(found), plan, check_steps(chosen.pipe, settings.steps),
        guided=settings.guidance > 1 and not found.embeds_guidance, batch=settings.batch,
        levels=levels_ahead(chosen.pipe.scheduler, settings.steps),
    )  # fmt: skip


def _time(
    run: Run,
    chosen: ChosenModel | RandomModel,
    settings: BenchSettings,
    cost: Cost,
    arms: Sequence[Contender],
    given: Sequence[Any],
    progress: Progress,
) -> None:
    """Time all arms. Every round is kept when it is over; the table of arms is written last."""
    workload, stopwatch = _workload(chosen, settings, given), Stopwatch(chosen.device)
    repetitions = _rounds(run, chosen, settings, arms, workload, stopwatch, progress)
    bytes_each = getattr(torch, settings.dtype).itemsize
    table = speedups.by_arm(repetitions, arms, cost, bytes_each=bytes_each)
    running, passes = _running(table, arms), min(_PASSES, settings.repeats)
    broken_down = [
        arm for arm in running if arm.rival is None and arm.steps is None and not arm.only_watches
    ]
    with progress.stretch("where the time goes: calls", len(broken_down) * passes):
        parts = breakdown.measure_breakdown(
            chosen.pipe, broken_down, workload, passes=passes, stopwatch=stopwatch,
            progress=progress,
        )  # fmt: skip
    # a stopwatch at every site costs time: it tells shares, of the time that was taken without
    parts["seconds"] = parts["share"] * parts["arm"].map(table.set_index("arm")["seconds"])
    latex = speedups.as_latex(table)
    write_whole(run.path / "arms.tex", lambda partial: partial.write_text(latex, "utf-8"))
    attribution = speedups.attribution(repetitions, arms, cost)
    for name, made in {"repetitions": repetitions, "parts": parts, "attribution": attribution,
                       "arms": table}.items():  # fmt: skip
        run.write_csv(name, made)
        run.write_table(name, made)


def _rounds(
    run: Run,
    chosen: ChosenModel | RandomModel,
    settings: BenchSettings,
    arms: Sequence[Contender],
    workload: Workload,
    stopwatch: Stopwatch,
    progress: Progress,
) -> pd.DataFrame:
    """All rounds, of which those that are in the run directory are not run again."""
    done = [run.read_table("repetitions")] if run.has_table("repetitions") else []
    if any(set(table["arm"]) != {arm.name for arm in arms} for table in done):
        raise InputError(f"{str(run.path)!r} holds rounds of other arms: choose another `out`")
    known = {number for table in done for number in table["repetition"]}
    numbers = [number for number in range(settings.repeats) if number not in known]
    if numbers:
        with progress.stretch("calls", len(arms) * (len(numbers) + 1)):
            for table in rounds.measure_rounds(
                chosen.pipe, arms, workload, numbers, stopwatch=stopwatch,
                memory=PeakMemory(chosen.device), values_matter=settings.weights != "random",
                progress=progress,
            ):  # fmt: skip
                done = [pd.concat([*done, table], ignore_index=True)]
                run.write_table("repetitions", done[0])
    (repetitions,) = done
    return repetitions


def _running(table: pd.DataFrame, arms: Sequence[Contender]) -> list[Contender]:
    """Those that have times."""
    timed = set(table.dropna(subset=["seconds"])["arm"])
    return [arm for arm in arms if arm.name in timed]


def _workload(
    chosen: ChosenModel | RandomModel, settings: BenchSettings, given: Sequence[Any]
) -> Workload:
    """What every call is given: prompts over and over, or random embeddings."""
    from attnscope.models.random_weights import call_keywords

    if isinstance(chosen, RandomModel):
        keywords = call_keywords(
            chosen.pipe, chosen.found, steps=settings.steps, guidance=settings.guidance,
            batch=settings.batch, seed=settings.seed,
        )  # fmt: skip
        return Workload(lambda: ([], keywords), settings.batch)
    texts = list(islice(cycle(given), settings.batch))

    def arguments() -> tuple[Sequence[Any], dict[str, Any]]:
        kind = "pil" if settings.decoded else "latent"
        return [texts], settings.keywords(
            chosen.pipe, range(settings.batch), output_type=kind, **chosen.described.options
        )

    return Workload(arguments, settings.batch)


def _picture(
    run: Run,
    chosen: ChosenModel | RandomModel,
    settings: BenchSettings,
    arms: Sequence[Contender],
    pictured: Pictured,
    batch_size: int | None,
    crew: Crew,
    progress: Progress,
) -> pd.DataFrame:
    """Images of every arm that runs."""
    from attnscope.models.calling import default_batch_size

    running = None
    if run.has_table("arms"):
        running = {arm.name for arm in _running(run.read_table("arms"), arms)}
    makers = [arm for arm in arms if not arm.only_watches]
    count = len(makers if running is None else [arm for arm in makers if arm.name in running])
    if not crew.share.is_whole:
        run.write_table("prompts", table_of(pictured.prompts))
    with progress.stretch("images", count * len(pictured.prompts)):
        return frontier.sample_arms(
            chosen, makers, settings, pictured.prompts, pictured.given, run, digest=pictured.digest,
            batch_size=batch_size or default_batch_size(chosen.pipe, chosen.device), crew=crew,
            running=running, progress=progress,
        )  # fmt: skip


def _judge(
    run: Run,
    made: pd.DataFrame,
    judges: Judges,
    prompts: Sequence[Prompt],
    progress: Progress,
) -> None:
    """How good images are, beside how fast they were."""
    speeds = run.read_table("arms")
    texts = {prompt.prompt_id: prompt.text for prompt in prompts}
    with progress.stretch("measures: arms", made["key"].nunique()):
        images, features = judging.judge(
            run, made, texts, judges, compared=frontier.COMPARED, progress=progress
        )
    quality = summaries.summarise(images, features, judges.reference, compared=frontier.COMPARED)
    table = frontier.speed_and_quality(speeds, quality)
    run.write_table("images", images)
    run.write_csv("frontier", table)
    run.write_table("frontier", table)
