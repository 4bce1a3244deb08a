"""The images of an ablation, and what is measured on the way to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL.Image import Image

from attnscope.analyses.ablation.arms import PICTURED, AblationSettings, Arm, pictured_steps
from attnscope.errors import InputError
from attnscope.files import write_whole
from attnscope.runs.folder import Run, read_whole
from attnscope.runs.progress import SILENT, Progress
from attnscope.runs.prompts import Prompt

if TYPE_CHECKING:
    from attnscope.observers.clean_images import CleanEstimates
    from attnscope.observers.noise import NoiseMean


def sample_arm(
    pipe: Any,
    arm: Arm,
    settings: AblationSettings,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    run: Run,
    *,
    batch_size: int,
    progress: Progress = SILENT,
    **options: Any,
) -> None:
    """Make the images of an arm that are not there yet.

    A batch counts as done when its table of images is there, which is written last; what a killed
    run left half done is made again.

    Args:
        pipe: the pipeline, with the arm's scheduler.
        arm: what to make.
        settings: of the run.
        prompts: all of the run's.
        given: what the pipeline is given for each: a caption, or an image for a video.
        run: where images and tables go.
        batch_size: images made at once; halved where memory runs out.
        progress: told how many images are there, first those of before.
        options: further keywords of the pipeline.

    Raises:
        InputError: the plan does not fit the pipeline, or the scheduler takes no noise levels.
    """
    from attnscope.hooks.trace import Trace
    from attnscope.models.schedulers import scaled_timesteps
    from attnscope.runs.batches import in_batches

    parts = parts_of(run, arm)
    done = {number for table in read_tables(parts, "images") for number in table["prompt_id"]}
    pairs = list(zip(prompts, given, strict=True))
    left = [pair for pair in pairs if pair[0].prompt_id not in done]
    progress.advance(len(pairs) - len(left))
    pictured = {prompt.prompt_id for prompt in prompts[:PICTURED]}
    cell, sampling = arm.cell, settings.sampling(arm)
    if cell.noise_scale != 1:
        options |= {"timesteps": scaled_timesteps(pipe, arm.asked, cell.noise_scale)}

    def work(batch: Sequence[tuple[Prompt, Any]]) -> Batch:
        noise, estimates = _observers(
            pipe,
            cell.steps,
            [place for place, (prompt, _) in enumerate(batch) if prompt.prompt_id in pictured],
        )
        observers = [observer for observer in (noise, estimates) if observer is not None]
        with Trace(pipe, plan=arm.plan, observers=observers) as trace:
            made = sampling.call(
                pipe,
                [item for _, item in batch],
                [prompt.prompt_id for prompt, _ in batch],
                **options,
            )
        return Batch(
            made,
            trace.records(noise) if noise else pd.DataFrame(),
            estimates.images(pipe) if estimates else {},
        )

    for batch, made in in_batches(left, batch_size, work, progress=progress):
        _write_batch(run, arm, pipe, [prompt for prompt, _ in batch], made)
        progress.advance(len(batch))


@dataclass(frozen=True)
class Batch:
    """A batch: its images, its predicted noise, and images on the way by (place, step)."""

    images: Sequence[Any]
    noise: pd.DataFrame
    estimates: dict[tuple[int, int], Image]


def _observers(
    pipe: Any, steps: int, places: Sequence[int]
) -> tuple[NoiseMean | None, CleanEstimates | None]:
    """What watches a batch: nothing where there is no known way from predictions to noise."""
    from attnscope.models.predictions import check_noise_levels, check_prediction
    from attnscope.observers.clean_images import CleanEstimates, decodes
    from attnscope.observers.noise import NoiseMean

    try:
        check_prediction(pipe.scheduler)
        check_noise_levels(pipe.scheduler)
    except InputError:
        return None, None
    pictures = places and decodes(pipe)
    return NoiseMean(), CleanEstimates(pictured_steps(steps), places) if pictures else None


def _write_batch(run: Run, arm: Arm, pipe: Any, prompts: Sequence[Prompt], made: Batch) -> None:
    """Images first, the table that says that they are whole last."""
    from attnscope.models.calling import frames
    from attnscope.models.predictions import log_snr

    ids = [prompt.prompt_id for prompt in prompts]
    folder = run.path / "images" / arm.key
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for prompt_id, result in zip(ids, made.images, strict=True):
        for frame, image in enumerate(frames(result)):
            name = f"{prompt_id:05d}" + (f"-{frame:03d}" if frame else "")
            write_whole(folder / f"{name}.png", image.save)
            path = (folder / f"{name}.png").relative_to(run.path).as_posix()
            rows.append((prompt_id, frame, path))
    pictures = run.path / "pictures" / arm.key
    pictures.mkdir(parents=True, exist_ok=True)
    for (place, step), image in made.estimates.items():
        write_whole(pictures / f"{ids[place]:05d}-{step:03d}.png", image.save)
    parts = parts_of(run, arm)
    if len(made.noise):
        noise = made.noise.drop(columns=["run", "sample"])
        noise.insert(0, "prompt_id", np.array(ids)[made.noise["sample"]])
        # By step: schedules such as Karras' hold a timestep twice, at two noise levels.
        timesteps = noise.drop_duplicates("step").set_index("step")["timestep"].sort_index()
        levels = dict(zip(timesteps.index, log_snr(pipe.scheduler, timesteps), strict=True))
        noise.insert(3, "log_snr", noise["step"].map(levels))
        write_whole(parts / f"noise-{ids[0]:05d}.parquet", noise.to_parquet)
    table = pd.DataFrame(rows, columns=["prompt_id", "frame", "path"])
    write_whole(parts / f"images-{ids[0]:05d}.parquet", table.to_parquet)


def is_finished(run: Run, arm: Arm, count: int) -> bool:
    """Whether an arm has all its images."""
    found = read_tables(parts_of(run, arm), "images")
    return len({number for table in found for number in table["prompt_id"]}) == count


def parts_of(run: Run, arm: Arm) -> Path:
    """The folder of what the batches of an arm leave."""
    folder = run.path / "parts" / arm.key
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def read_tables(parts: Path, name: str) -> list[pd.DataFrame]:
    """The tables of a name that batches have left, in their order.

    Raises:
        InputError: one of them is damaged.
    """
    return [read_whole(path, "ablate") for path in sorted(parts.glob(f"{name}-*.parquet"))]
