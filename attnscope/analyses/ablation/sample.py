"""The images of an ablation, and what is measured on the way to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL.Image import Image

from attnscope.analyses.ablation.arms import PICTURED, AblationSettings, Arm, pictured_steps
from attnscope.errors import InputError
from attnscope.images import as_png
from attnscope.runs.columns import OWN
from attnscope.runs.crew import Made
from attnscope.runs.prompts import Prompt

if TYPE_CHECKING:
    from attnscope.models.chosen import ChosenModel
    from attnscope.observers.clean_images import CleanEstimates
    from attnscope.observers.noise import NoiseMean


def pictured_of(prompts: Sequence[Prompt]) -> frozenset[int]:
    """Of which of all prompts the images on the way are kept."""
    return frozenset(prompt.prompt_id for prompt in prompts[:PICTURED])


@dataclass(frozen=True)
class Ablating:
    """Makes the images of a batch of an arm; a :class:`attnscope.runs.crew.Work`.

    Args:
        model: that makes them.
        settings: of the run.
        arm: what to make.
        pictured: of which prompts the images on the way are kept.
    """

    model: ChosenModel
    settings: AblationSettings
    arm: Arm
    pictured: frozenset[int]

    def __call__(self, pipe: Any, items: Sequence[tuple[Prompt, Any]], number: int) -> Made:
        """Make them."""
        set_scheduler_of(pipe, self.arm)
        options = self.model.described.options
        return sampled(pipe, self.arm, self.settings, self.pictured, options, items)


def set_scheduler_of(pipe: Any, arm: Arm) -> None:
    """Set the scheduler of an arm, if it is not the model's own."""
    from attnscope.models.schedulers import set_scheduler

    if arm.cell.scheduler != OWN:
        set_scheduler(pipe, arm.cell.scheduler)


def sampled(
    pipe: Any,
    arm: Arm,
    settings: AblationSettings,
    pictured: Collection[int],
    options: Mapping[str, Any],
    batch: Sequence[tuple[Prompt, Any]],
) -> Made:
    """What a batch of an arm leaves.

    Args:
        pipe: the pipeline, with the arm's scheduler.
        arm: what to make.
        settings: of the run.
        pictured: of which prompts the images on the way are kept.
        options: further keywords of the pipeline.
        batch: prompts, and what the pipeline is given for each: a caption, or an image for a video.

    Raises:
        InputError: the plan does not fit the pipeline, or the scheduler takes no noise levels.
    """
    from attnscope.hooks.trace import Trace
    from attnscope.models.schedulers import scaled_timesteps

    cell = arm.cell
    if cell.noise_scale != 1:
        options = {**options, "timesteps": scaled_timesteps(pipe, arm.asked, cell.noise_scale)}
    ids = [prompt.prompt_id for prompt, _ in batch]
    places = [place for place, prompt_id in enumerate(ids) if prompt_id in pictured]
    noise, estimates = _observers(pipe, cell.steps, places)
    observers = [observer for observer in (noise, estimates) if observer is not None]
    with Trace(pipe, plan=arm.plan, observers=observers) as trace:
        given = [item for _, item in batch]
        made = settings.sampling(arm).call(pipe, given, ids, **options)
    predicted = trace.records(noise) if noise else pd.DataFrame()
    pictures = estimates.images(pipe) if estimates else {}
    return _left(arm, pipe, ids, made, predicted, pictures)


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


def _left(
    arm: Arm,
    pipe: Any,
    ids: Sequence[int],
    images: Sequence[Any],
    predicted: pd.DataFrame,
    pictures: Mapping[tuple[int, int], Image],
) -> Made:
    """Images first, the table that says that they are whole last.

    Args:
        arm: whose they are.
        pipe: the pipeline.
        ids: ``prompt_id`` of each.
        images: that it made of each.
        predicted: its predicted noise.
        pictures: images on the way, by place and step.
    """
    from attnscope.models.calling import frames
    from attnscope.models.predictions import log_snr

    files, parts = {}, {}
    rows = []
    for prompt_id, result in zip(ids, images, strict=True):
        for frame, image in enumerate(frames(result)):
            name = f"{prompt_id:05d}" + (f"-{frame:03d}" if frame else "")
            path = f"images/{arm.key}/{name}.png"
            files[path] = as_png(image)
            rows.append((prompt_id, frame, path))
    for (place, step), image in pictures.items():
        files[f"pictures/{arm.key}/{ids[place]:05d}-{step:03d}.png"] = as_png(image)
    if len(predicted):
        noise = predicted.drop(columns=["run", "sample"])
        noise.insert(0, "prompt_id", np.array(ids)[predicted["sample"]])
        # By step: schedules such as Karras' hold a timestep twice, at two noise levels.
        timesteps = noise.drop_duplicates("step").set_index("step")["timestep"].sort_index()
        levels = dict(zip(timesteps.index, log_snr(pipe.scheduler, timesteps), strict=True))
        noise.insert(3, "log_snr", noise["step"].map(levels))
        parts[f"{arm.key}/noise"] = noise
    parts[f"{arm.key}/images"] = pd.DataFrame(rows, columns=["prompt_id", "frame", "path"])
    return Made(files, parts)
