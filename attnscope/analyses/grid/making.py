"""The images of a batch by every plan, each as a file, and how far it is from the reference's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from attnscope.analyses.grid.settings import GridSettings, reference_of
from attnscope.analyses.pictures import distances, pictures_of
from attnscope.analyses.turns import Batch, in_turns
from attnscope.images import as_png
from attnscope.models.calling import frames
from attnscope.plans.base import Plan
from attnscope.plans.text_form import parse
from attnscope.runs.crew import Made
from attnscope.runs.folder import key_of, plain_settings
from attnscope.runs.prompts import Prompt

if TYPE_CHECKING:
    from PIL.Image import Image

    from attnscope.analyses.bench.instruments import PeakMemory, Stopwatch
    from attnscope.models.chosen import ChosenModel

_MOST_CALLS = 2
"""Of the scheduler for a step that was asked for, as Heun's."""
_NO_DISTANCE = {"psnr": np.nan, "ssim": np.nan}


@dataclass(frozen=True)
class PlanByPlan:
    """Makes the images of a batch by every plan; a :class:`attnscope.runs.crew.Work`.

    The plans take turns in going first, batch by batch.

    Args:
        model: that makes them.
        settings: of the run.
        pictured: ``prompt_id`` of those of which the image after every step is kept.
    """

    model: ChosenModel
    settings: GridSettings
    pictured: tuple[int, ...] = ()

    def __call__(self, pipe: Any, items: Sequence[tuple[Prompt, Any]], number: int) -> Made:
        """Make them.

        Returns:
            The files of the images, and parts of tables. ``times``: a row per plan with ``batch``, ``plan``,
            ``images``, ``seconds``, ``peak_mb``, ``steps`` and ``guided_steps``. ``stages``, where a prompt
            is pictured: a row per plan and step with ``plan``, ``prompt_id``, ``step`` (0-based) and ``path``.
            ``images``: a row per image (of a video, per frame) with ``plan``, ``key`` (its folder),
            ``prompt_id``, ``frame``, ``text``, ``path``, ``height`` and ``width`` in pixels, and ``psnr`` in
            dB and ``ssim`` to the reference's, of which they are NaN.
        """
        prompts = [prompt for prompt, _ in items]
        made = self._made(pipe, items, number)
        times = [
            {"batch": number, "plan": plan, "images": len(items), **of_plan.about}
            for plan, of_plan in made.items()
        ]
        stage_files, stages = _stages(prompts, made)
        files, images = self._images(prompts, made, type(pipe.scheduler).__name__)
        parts = {"times": pd.DataFrame(times)} | ({"stages": stages} if len(stages) else {})
        return Made(stage_files | files, parts | {"images": images})

    def _made(
        self, pipe: Any, items: Sequence[tuple[Prompt, Any]], number: int
    ) -> dict[str, _OfPlan]:
        """What every plan made, in the order of the plans, whoever went first."""
        from attnscope.analyses.bench.instruments import PeakMemory, Stopwatch

        plans = {text: parse(text) for text in self.settings.plans}
        batch = Batch(pipe, items, self.settings, self.model.described.options)
        batch.warm_up(plans.values())
        memory, stopwatch = PeakMemory(self.model.device), Stopwatch(self.model.device)
        done = {
            text: self._by(plans[text], batch, memory, stopwatch)
            for text in in_turns(list(plans), number)
        }
        return {text: done[text] for text in plans}

    def _by(self, plan: Plan, batch: Batch, memory: PeakMemory, stopwatch: Stopwatch) -> _OfPlan:
        from attnscope.hooks.trace import Trace
        from attnscope.observers.clean_images import CleanEstimates

        ids = [prompt.prompt_id for prompt, _ in batch.items]
        places = [place for place, number in enumerate(ids) if number in self.pictured]
        every = range(_MOST_CALLS * self.settings.steps)
        watched = CleanEstimates(every, places) if places else None
        memory.reset()
        with Trace(batch.pipe, plan=plan, observers=[watched] if watched else []) as trace:
            images, seconds = stopwatch.time(batch.make)
        run = trace.runs[-1]
        about = {"seconds": seconds, "peak_mb": memory.megabytes(),
                 "steps": run.steps_done, "guided_steps": run.guided_steps}  # fmt: skip
        return _OfPlan(images, about, watched.images(batch.pipe) if watched else {})

    def _images(
        self, prompts: Sequence[Prompt], made: Mapping[str, _OfPlan], scheduler: str
    ) -> tuple[dict[str, bytes], pd.DataFrame]:
        """Their files, and their rows."""
        reference = reference_of(self.settings.plans)
        told = {k: v for k, v in plain_settings(self.settings).items() if k != "plans"}
        files: dict[str, bytes] = {}
        rows: list[dict[str, Any]] = []
        for plan, of_plan in made.items():
            key = key_of(plan)
            for place, prompt in enumerate(prompts):
                own = pictures_of(prompt, of_plan.images[place])
                far = [_NO_DISTANCE] * len(own)
                if plan != reference:
                    theirs = frames(made[reference].images[place])
                    far = list(distances([one.image for one in own], theirs))
                for one, values in zip(own, far, strict=True):
                    path = f"images/{key}/{one.file}"
                    files[path] = one.as_png(told | {"plan": plan}, scheduler)
                    rows.append({"plan": plan, "key": key} | one.row(path) | values)
        return files, pd.DataFrame(rows)


@dataclass(frozen=True)
class _OfPlan:
    """What a plan made of a batch.

    Args:
        images: or videos, one per prompt.
        about: what a row of ``times`` says.
        stages: images by (place in the batch, step).
    """

    images: Sequence[Any]
    about: dict[str, Any]
    stages: Mapping[tuple[int, int], Image]


def _stages(
    prompts: Sequence[Prompt], made: Mapping[str, _OfPlan]
) -> tuple[dict[str, bytes], pd.DataFrame]:
    """Files of the images after every step, and their rows."""
    files: dict[str, bytes] = {}
    rows = []
    for plan, of_plan in made.items():
        for (place, step), image in sorted(of_plan.stages.items()):
            number = prompts[place].prompt_id
            path = f"stages/{key_of(plan)}/{number:05d}-{step:03d}.png"
            files[path] = as_png(image)
            rows.append((plan, number, step, path))
    return files, pd.DataFrame(rows, columns=["plan", "prompt_id", "step", "path"])
