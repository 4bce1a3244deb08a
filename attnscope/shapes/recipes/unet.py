"""Stable Diffusion's U-Net from nothing: scenes, autoencoder, text encoder, latents, reader, U-Net.

The text encoder, a CLIP, first learns to say what a caption asks for (heads on its last tokens,
thrown away afterwards), as large models start from a CLIP that was trained before; then it is
trained jointly with the U-Net. The result draws both things of a caption, and which stands where by
chance; :mod:`attnscope.shapes.recipes.binding` goes on from there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from attnscope.errors import InputError
from attnscope.shapes import architecture
from attnscope.shapes.captions import Captions
from attnscope.shapes.denoising import Emphasis, UNetDenoising
from attnscope.shapes.exporting import export
from attnscope.shapes.fitting import Schedule, Worker, fit
from attnscope.shapes.latents import encode_scenes, render_scenes, standardize
from attnscope.shapes.objectives import Autoencoding, ReadingObjective, Understanding
from attnscope.shapes.sampling import Sampler
from attnscope.shapes.scenes import generate
from attnscope.shapes.train import Recipe


@dataclass(frozen=True)
class UNetRecipe(Recipe):
    """The stages: ``autoencoder``, ``text``, ``reader``, ``denoiser``; all from nothing."""

    autoencoder: Schedule = field(
        default_factory=lambda: Schedule(steps=3600, batch=32, learning_rate=2e-3)
    )
    reader: Schedule = field(
        default_factory=lambda: Schedule(steps=1600, batch=64, learning_rate=2e-3)
    )
    text: Schedule = field(
        default_factory=lambda: Schedule(steps=1000, batch=128, learning_rate=1e-3)
    )
    denoiser: Schedule = field(
        default_factory=lambda: Schedule(
            steps=6000, batch=64, learning_rate=1e-3, evaluate_every=800
        )
    )

    def run(self, worker: Worker, folder: Path, start: Path | None) -> None:
        """See :meth:`Recipe.run`.

        Raises:
            InputError: there is something to start from.
        """
        if start is not None:
            raise InputError(
                "the drawing U-Net is trained from nothing: leave `start` out, or choose BindingRecipe"
            )
        args = (worker, folder, self.seed)
        images = render_scenes(worker, folder, self.scenes, self.seed)
        scenes = list(islice(generate("train", self.seed), self.scenes))
        tokenizer = architecture.tokenizer(folder / f"tokenizer-{worker.rank}")
        autoencoder = fit("autoencoder", Autoencoding(images), self.autoencoder, *args).model
        encoder = fit("text", Understanding(tokenizer, scenes), self.text, *args).encoder
        latents = encode_scenes(worker, folder, autoencoder, images)
        latents = standardize(autoencoder, latents)
        reading = ReadingObjective(images, scenes, latents, autoencoder)
        reader = fit("reader", reading, self.reader, *args).model
        denoising = UNetDenoising(
            encoder, None, latents, Captions.of(scenes, tokenizer), tokenizer,
            noise_shift=self.noise_shift, dropout=self.dropout, emphasis=Emphasis(),
        )  # fmt: skip
        sampler = Sampler(worker, folder, autoencoder, reader, count=self.samples)
        denoiser = fit("denoiser", denoising, self.denoiser, *args, evaluate=sampler.score)
        if worker.leads:
            export(folder / "model", denoiser, autoencoder, reader)
        worker.barrier()
