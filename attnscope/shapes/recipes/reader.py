"""The reader alone: the ruler that every model of the world of shapes is measured by.

It has to read combinations that no model was trained on as well as those that were, so it learns
from all splits; its scenes are others than those that anything is measured on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from attnscope.models.names import SHAPES_FOLDER
from attnscope.shapes.exporting import Start, write_reader
from attnscope.shapes.fitting import Schedule, Worker, fit
from attnscope.shapes.latents import encode_scenes, render_scenes, scenes_of
from attnscope.shapes.objectives import ReadingObjective, to_float
from attnscope.shapes.reader import agreement, alignment
from attnscope.shapes.scenes import Split, render
from attnscope.shapes.train import Recipe

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_SCENES, _HELD_OUT = 1000, 2000
"""Added to the seed: of the scenes to learn from, and of those that an evaluation reads."""


@dataclass(frozen=True)
class ReaderRecipe(Recipe):
    """One stage: ``denoiser``, as the stage is called that a command's ``--steps`` are of.

    Args:
        samples: decoded scenes that an evaluation reads.
    """

    scenes: int = 30_000
    samples: int = 300
    denoiser: Schedule = field(
        default_factory=lambda: Schedule(
            steps=1500,
            batch=64,
            learning_rate=1e-3,
            cooldown=0.5,
            average_decay=0.995,
            evaluate_every=300,
        )
    )

    def run(self, worker: Worker, folder: Path, start: Path | None) -> None:
        """See :meth:`Recipe.run`; without ``start`` the reader begins anew."""
        given = Start.read(start or SHAPES_FOLDER, "unet")
        seed = self.seed + _SCENES
        images = render_scenes(worker, folder, self.scenes, seed, SPLITS)
        latents = encode_scenes(worker, folder, given.autoencoder, images)
        scenes = scenes_of(SPLITS, self.scenes, seed)
        begun = None if start is None else given.reader.requires_grad_(True)
        reading = ReadingObjective(images, scenes, latents, given.autoencoder, begun)
        trained = fit(
            "denoiser", reading, self.denoiser, worker, folder, self.seed,
            evaluate=lambda average: self.score(average, given.autoencoder),
        )  # fmt: skip
        if worker.leads:
            write_reader(folder / "model", trained.model)
        worker.barrier()

    @torch.inference_mode()
    def score(self, reading: ReadingObjective, autoencoder: AutoencoderKL) -> dict[str, float]:
        """What it reads rightly of decoded scenes, by the names of :data:`attnscope.runs.columns.READ`."""
        seed = self.seed + _HELD_OUT
        scenes = scenes_of(SPLITS, self.samples, seed)
        agreed = []
        for first in range(0, len(scenes), 50):
            batch = scenes[first : first + 50]
            rngs = [np.random.default_rng([seed, first + index]) for index in range(len(batch))]
            drawn = np.stack([render(s, rng) for s, rng in zip(batch, rngs, strict=True)])
            latents = autoencoder.encode(to_float(drawn).to(reading.device)).latent_dist.mean
            decoded = autoencoder.decode(latents).sample.clamp(-1, 1)
            agreed.append(agreement(reading.model.read(decoded).cpu(), batch))
        return alignment(torch.cat(agreed))
