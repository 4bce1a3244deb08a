"""A U-Net that draws both things learns which of them stands where.

In a causal text encoder the tokens of the first thing come before the relation and cannot know
where it stands (see :mod:`attnscope.shapes.places`); 280,000 more images of the same training left
the order of two things at chance. Three stages give the tokens their place:

1. ``placed``: to what CLIP says of each thing's tokens, one of four learned vectors is added that
   says where it stands. Only the U-Net and the vectors train, without waiting for any text encoder.
2. ``text``: a T5 encoder, which reads both ways, learns to say all that by itself.
3. ``denoiser``: it and the U-Net train jointly, with an auxiliary loss that keeps the places in.

Started from a model whose text encoder is a T5 already, only the last stage runs; from nothing, the
model that draws things is trained first, by :mod:`attnscope.shapes.recipes.unet`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from torch import Tensor, nn
from transformers import CLIPTextModel, T5EncoderModel

from attnscope.errors import InputError
from attnscope.shapes import architecture, t5
from attnscope.shapes.captions import Captions
from attnscope.shapes.denoising import Emphasis, UNetDenoising
from attnscope.shapes.exporting import Start, export
from attnscope.shapes.fitting import Objective, Schedule, Worker, fit
from attnscope.shapes.latents import encode_scenes, render_scenes
from attnscope.shapes.places import PLACES
from attnscope.shapes.recipes.unet import UNetRecipe
from attnscope.shapes.sampling import Sampler
from attnscope.shapes.scenes import Scene, generate
from attnscope.shapes.train import Recipe

LAYOUT = Emphasis(pairs=0.9, early=0.75, window=(0.78, 1.0))
"""Two things, and noise in which things hardly show: log SNR below -1 in four of five steps."""

EVERYTHING = Emphasis(pairs=0.6, early=0.2, window=(0.78, 1.0))
"""For the last stage: fills and shapes, decided later than places, have to be kept and mended."""


class PlacedDenoising(UNetDenoising):
    """Train the U-Net on what CLIP says, plus a vector for where each token's thing stands.

    Args:
        encoder: the text encoder; it stays as it is.
        vectors: to go on from, float32 ``[5, 128]``; ``None`` begins with orthogonal ones, 0.4
            times as long as CLIP's states.
        rest: see :class:`UNetDenoising`.
        settings: see :class:`UNetDenoising`.
    """

    def __init__(
        self, encoder: CLIPTextModel, vectors: Tensor | None, *rest: Any, **settings: Any
    ) -> None:
        super().__init__(encoder.requires_grad_(False).eval(), *rest, **settings)
        if vectors is None:
            directions = torch.linalg.qr(torch.randn(architecture.TEXT_WIDTH, len(PLACES) - 1)).Q.T
            with torch.no_grad():
                length = encoder(self.captions.null).last_hidden_state.norm(dim=-1).mean()
            vectors = torch.cat(
                [torch.zeros(1, architecture.TEXT_WIDTH), 0.4 * length * directions]
            )
        self.vectors = nn.Parameter(vectors)

    def states(self, tokens: Tensor, places: Tensor) -> Tensor:
        """CLIP's states plus the vectors of the tokens' places."""
        with torch.no_grad():
            said = self.encoder(tokens).last_hidden_state.float()
        # No place, no vector: "" and the rest of a caption stay what the U-Net knows.
        known = (places > 0).unsqueeze(-1)
        states: Tensor = said + self.vectors[places] * known
        return states

    def pipeline(self, autoencoder: AutoencoderKL | None) -> StableDiffusionPipeline:
        """A pipeline that can be called with :meth:`inputs` only: its text encoder lacks places."""
        return super().pipeline(autoencoder)

    def inputs(self, scenes: Sequence[Scene]) -> dict[str, Any]:
        """States of the captions, and as many of ""."""
        captions = Captions.of(scenes, self.tokenizer)
        null = captions.null.expand(len(scenes), -1).to(self.device)
        nowhere = torch.zeros_like(captions.places).to(self.device)
        tokens, places = captions.tokens.to(self.device), captions.places.to(self.device)
        return {
            "prompt_embeds": self.states(tokens, places),
            "negative_prompt_embeds": self.states(null, nowhere),
        }

    def extras(self) -> dict[str, Tensor]:
        """The vectors."""
        return {"vectors": self.vectors}


def bound(start: Path, latents: Any, captions: Captions, tokenizer: Any) -> UNetDenoising:
    """The denoiser of a folder or a state that knows places, to teach another.

    Args:
        start: where it is.
        latents: of the scenes.
        captions: of the same scenes.
        tokenizer: of the captions: CLIP's.

    Raises:
        InputError: it has no U-Net, or one that draws two things in any order.
    """
    given = Start.read(start, "unet")
    settings: dict[str, Any] = {"noise_shift": 4.0, "dropout": 0.0, "emphasis": LAYOUT}
    data = (given.denoiser, latents, captions, tokenizer)
    if isinstance(given.encoder, T5EncoderModel):
        return UNetDenoising(given.encoder, *data, **settings)
    if isinstance(given.encoder, CLIPTextModel) and "vectors" in given.extras:
        return PlacedDenoising(given.encoder, given.extras["vectors"], *data, **settings)
    raise InputError(
        f"{str(start)!r} cannot teach what stands where: choose the folder or the state of a U-Net "
        "trained by `model='shapes'`"
    )


class Imitating(Objective):
    """A T5 encoder learns to say what CLIP and the vectors of places say together.

    Args:
        teacher: what it imitates; it stays as it is.
        captions: to learn from.
        dropout: part of the captions that is replaced by "".
        tokenizer: of the captions.
    """

    def __init__(
        self, teacher: PlacedDenoising, captions: Captions, dropout: float, tokenizer: Any
    ) -> None:
        super().__init__(len(captions.tokens), shared=(captions,))
        self.teacher = teacher.requires_grad_(False)
        self.encoder: T5EncoderModel = t5.text_encoder(tokenizer)
        self._captions, self._dropout = captions, dropout

    def forward(self, examples: Tensor, generator: torch.Generator) -> Tensor:
        """The squared error, as a part of the variance of what is imitated."""
        dropped = torch.rand(len(examples), generator=generator) < self._dropout
        tokens, places = self._captions.take(examples, dropped)
        tokens, places = tokens.to(self.device), places.to(self.device)
        with torch.no_grad():
            asked = self.teacher.states(tokens, places).float()
        said = self.encoder(tokens).last_hidden_state.float()
        return nn.functional.mse_loss(said, asked) / asked.var()


@dataclass(frozen=True)
class BindingRecipe(Recipe):
    """The stages: ``placed``, ``text``, ``denoiser``.

    Args:
        telling: weight of the auxiliary loss in the last stage.
        drawing: what trains the model that draws things, where there is none to start from; it runs
            in ``drawing`` of the training folder, with this recipe's scenes and noise.
    """

    telling: float = 0.05
    drawing: UNetRecipe = field(default_factory=UNetRecipe)
    placed: Schedule = field(
        default_factory=lambda: Schedule(
            steps=600, batch=64, learning_rate=1e-3, cooldown=0.1, evaluate_every=200
        )
    )
    text: Schedule = field(
        default_factory=lambda: Schedule(steps=1500, batch=64, learning_rate=2e-3, cooldown=0.5)
    )
    denoiser: Schedule = field(
        default_factory=lambda: Schedule(
            steps=4000, batch=64, learning_rate=1e-3, evaluate_every=200
        )
    )

    def run(self, worker: Worker, folder: Path, start: Path | None) -> None:
        """See :meth:`Recipe.run`."""
        data = folder
        if start is None:
            data = folder / "drawing"
            start = self._draw(worker, data)
        given = Start.read(start, "unet")
        if given.encoder is None:
            raise InputError(f"{str(start)!r} has no U-Net that draws things: choose 'shapes'")
        images = render_scenes(worker, data, self.scenes, self.seed)
        scenes = list(islice(generate("train", self.seed), self.scenes))
        latents = encode_scenes(worker, data, given.autoencoder, images)
        tokenizer = architecture.tokenizer(folder / f"tokenizer-{worker.rank}")
        captions = Captions.of(scenes, tokenizer)
        sampler = Sampler(worker, folder, given.autoencoder, given.reader, count=self.samples)
        learnt = (latents, captions, tokenizer)
        settings: dict[str, Any] = {"noise_shift": self.noise_shift, "dropout": self.dropout}
        encoder, unet = given.encoder, given.denoiser
        args = (worker, folder, self.seed)
        if isinstance(encoder, CLIPTextModel):
            placed = PlacedDenoising(
                encoder, given.extras.get("vectors"), unet, *learnt, emphasis=LAYOUT, **settings
            )
            placed = fit("placed", placed, self.placed, *args, evaluate=sampler.score)
            imitating = Imitating(placed, captions, self.dropout, tokenizer)
            encoder = fit("text", imitating, self.text, *args).encoder.requires_grad_(True)
            unet = placed.unet
        denoising = UNetDenoising(
            encoder, unet, *learnt, emphasis=EVERYTHING, telling=self.telling, **settings
        )
        denoising.resume(given.extras)
        denoiser = fit("denoiser", denoising, self.denoiser, *args, evaluate=sampler.score)
        if worker.leads:
            export(folder / "model", denoiser, given.autoencoder, given.reader)
        worker.barrier()

    def _draw(self, worker: Worker, folder: Path) -> Path:
        """Train a model that draws things, as far as it is not trained yet; its folder."""
        if worker.leads:
            folder.mkdir(exist_ok=True)
        worker.barrier()
        same = {each.name: getattr(self, each.name) for each in fields(Recipe)}
        replace(self.drawing, **same).run(worker, folder, None)
        return folder / "model"
