"""Does an embedded model draw what its captions ask for? The reader judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attnscope.models.calling import call
from attnscope.runs.batches import in_batches
from attnscope.runs.progress import SILENT, Progress
from attnscope.runs.prompts import image_seed
from attnscope.shapes.reader import agreement, alignment, load_reader
from attnscope.shapes.scenes import Scene, caption, generate


@dataclass(frozen=True)
class AlignmentSettings:
    """What decides the scores.

    Args:
        limit: how many captions of the test split.
        steps: denoising steps.
        guidance: guidance scale.
        seed: of the captions and of the noise.
    """

    limit: int
    steps: int
    guidance: float
    seed: int = 0


@dataclass(frozen=True)
class Result:
    """What was made, and what the reader saw of it.

    Args:
        images: uint8 ``[n, height, width, 3]``.
        captions: of each.
        scores: means over images, by the names of :data:`attnscope.runs.columns.READ`.
        n_relation: how many captions have two things: ``relation`` is a mean over these alone, and NaN
            if there are none.
    """

    images: np.ndarray[Any, np.dtype[np.uint8]]
    captions: list[str]
    scores: dict[str, float]
    n_relation: int


def measure(
    pipe: Any,
    folder: Path,
    settings: AlignmentSettings,
    *,
    batch_size: int = 50,
    progress: Progress = SILENT,
    **options: Any,
) -> Result:
    """Sample captions of the test split and read the images.

    Args:
        pipe: a pipeline for the shapes world.
        folder: where its reader is.
        settings: of the run.
        batch_size: images made at once.
        progress: told how many images were just made.
        options: further keywords of the pipeline.
    """
    reader = load_reader(folder)
    scenes = list(islice(generate("test", settings.seed), settings.limit))

    def sample(batch: Sequence[tuple[int, Scene]]) -> np.ndarray[Any, Any]:
        made = call(
            pipe,
            [caption(scene) for _, scene in batch],
            seeds=[image_seed(settings.seed, index) for index, _ in batch],
            steps=settings.steps,
            guidance=settings.guidance,
            output_type="np",
            **options,
        )
        return np.round(np.asarray(made) * 255).astype(np.uint8)

    images, agreed = [], []
    for batch, made in in_batches(list(enumerate(scenes)), batch_size, sample, progress=progress):
        pixels = torch.from_numpy(made).permute(0, 3, 1, 2).float() / 127.5 - 1
        agreed.append(agreement(reader.read(pixels), [scene for _, scene in batch]))
        images.append(made)
        progress.advance(len(batch))
    return Result(
        np.concatenate(images),
        [caption(scene) for scene in scenes],
        alignment(torch.cat(agreed)),
        sum(scene.relation is not None for scene in scenes),
    )
