"""PixArt's transformer from nothing, over the autoencoder and the reader of the model in the box.

The text encoder, a T5, first learns alone to say what a caption asks for and where each token's
thing stands, as PixArt starts from a T5 that was trained before; then it is trained jointly with
the transformer. That takes minutes, and the transformer need not wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import AutoencoderKL, PixArtAlphaPipeline, PixArtTransformer2DModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from transformers import T5EncoderModel

from attnscope.models.names import SHAPES_FOLDER
from attnscope.shapes import architecture, t5
from attnscope.shapes.captions import Captions
from attnscope.shapes.denoising import DenoisingObjective, Emphasis, UNetDenoising
from attnscope.shapes.exporting import Start, export
from attnscope.shapes.fitting import Schedule, Worker, fit
from attnscope.shapes.latents import encode_scenes, render_scenes
from attnscope.shapes.objectives import Understanding
from attnscope.shapes.recipes.binding import bound
from attnscope.shapes.sampling import Sampler
from attnscope.shapes.scenes import Scene, generate
from attnscope.shapes.shown import Shown
from attnscope.shapes.train import Recipe

LAYOUT = Emphasis(pairs=0.5, early=0.5, window=(0.76, 1.0))
"""Noise in which it is decided what stands where: as soon as patches can tell what they show, they
do."""

EVERYTHING = Emphasis(pairs=0.5, early=0.15, window=(0.76, 1.0))
"""Then for shapes and fills, which are drawn later and take longer: after 42,000 images the loss was
3 times the U-Net's at timestep 500, and 2 at 900."""


def transformer(depth: int = 8, width: int = 192, patch: int = 2) -> PixArtTransformer2DModel:
    """PixArt's transformer over 16x16 latents, untrained; 5.1 M parameters by default.

    Gates of self-attention and feed-forward begin at 1: PixArt's begin near 0, for depth 28, and at
    a learning rate of 1e-3 take a thousand steps to open.
    """
    built = PixArtTransformer2DModel(
        num_attention_heads=width // 48,
        attention_head_dim=48,
        in_channels=architecture.LATENT_CHANNELS,
        out_channels=architecture.LATENT_CHANNELS,
        num_layers=depth,
        cross_attention_dim=width,
        sample_size=architecture.LATENT_SIDE,
        patch_size=patch,
        caption_channels=architecture.TEXT_WIDTH,
    )
    for block in built.transformer_blocks:
        with torch.no_grad():
            block.scale_shift_table[[2, 5]] = 1.0
    return built


class TransformerDenoising(DenoisingObjective):
    """Train PixArt's transformer and a text encoder; padding is masked, as PixArt does.

    Args:
        encoder: the text encoder to start from.
        transformer: the transformer to start from.
        shown: what its patches are to tell of the scenes, from its middle on; it is thrown away
            with the training.
        showing: weight of what they tell.
        data: see :class:`DenoisingObjective`.
        settings: see :class:`DenoisingObjective`.
    """

    def __init__(
        self,
        encoder: T5EncoderModel,
        transformer: PixArtTransformer2DModel,
        *data: Any,
        shown: Shown | None = None,
        showing: float = 0.05,
        **settings: Any,
    ) -> None:
        super().__init__(*data, **settings)
        self.encoder, self.transformer = encoder, transformer
        self.shown, self.showing = shown, showing
        # Plain matrix products: 44 against 33 images a second on one thread of a CPU.
        self.transformer.set_attn_processor(AttnProcessor())

    def forward(self, examples: Tensor, generator: torch.Generator) -> Tensor:
        """The loss of :class:`DenoisingObjective`, and what the patches' telling adds."""
        if self.shown is None:
            return super().forward(examples, generator)
        middle: list[Tensor] = []
        blocks = self.transformer.transformer_blocks
        block = blocks[(len(blocks) - 1) // 2]
        hook = block.register_forward_hook(lambda block, args, out: middle.append(out))
        try:
            loss = super().forward(examples, generator)
        finally:
            hook.remove()
        told: Tensor = self.shown(middle[0], examples)
        return loss + self.showing * told

    def extras(self) -> dict[str, Tensor]:
        """The heads."""
        shown = {} if self.shown is None else {"shown": self.shown.head.weight}
        return super().extras() | shown

    def resume(self, extras: dict[str, Tensor]) -> None:
        """See :meth:`DenoisingObjective.resume`."""
        super().resume(extras)
        if self.shown is not None and "shown" in extras:
            self.shown.head.load_state_dict({"weight": extras["shown"]})

    def _read(self, tokens: Tensor) -> Tensor:
        """Which tokens are no padding: int64 ``[batch, 24]``."""
        read: Tensor = tokens != self.tokenizer.pad_token_id
        return read.long()

    def states(self, tokens: Tensor, places: Tensor) -> Tensor:
        """The text encoder's last hidden states."""
        states: Tensor = self.encoder(tokens, self._read(tokens)).last_hidden_state
        return states

    def predict(self, x_t: Tensor, timesteps: Tensor, states: Tensor, tokens: Tensor) -> Tensor:
        """The transformer's output."""
        predicted: Tensor = self.transformer(
            x_t,
            encoder_hidden_states=states,
            timestep=timesteps,
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
            encoder_attention_mask=self._read(tokens),
        ).sample
        return predicted

    def pipeline(self, autoencoder: AutoencoderKL | None) -> PixArtAlphaPipeline:
        """A PixArt-alpha pipeline over the trained parts."""
        return PixArtAlphaPipeline(
            tokenizer=self.tokenizer,
            text_encoder=self.encoder,
            vae=autoencoder,
            transformer=self.transformer,
            scheduler=self.scheduler,
        )

    def inputs(self, scenes: Sequence[Scene]) -> dict[str, Any]:
        """Captions, and what keeps PixArt from the sizes that it knows."""
        return {
            **super().inputs(scenes),
            "use_resolution_binning": False,
            "clean_caption": False,
            "max_sequence_length": architecture.MAX_TOKENS,
        }


@dataclass(frozen=True)
class TransformerRecipe(Recipe):
    """The stages: ``text``, ``layout``, ``denoiser``.

    Args:
        depth: blocks of the transformer.
        width: of its states.
        patch: latents to a side of a token.
        telling: weight of the auxiliary loss of places.
        showing: weight of the auxiliary loss of what patches show; 0 goes without.
        teacher: the folder or the state of a U-Net that knows places, to learn from as well.
        teaching: part of the target that is the teacher's prediction.
    """

    depth: int = 8
    width: int = 192
    patch: int = 2
    telling: float = 0.05
    showing: float = 0.05
    teacher: Path | None = None
    teaching: float = 0.5
    text: Schedule = field(
        default_factory=lambda: Schedule(steps=600, batch=64, learning_rate=2e-3)
    )
    layout: Schedule = field(
        default_factory=lambda: Schedule(
            steps=600, batch=64, learning_rate=3e-3, cooldown=0.0, evaluate_every=300
        )
    )
    denoiser: Schedule = field(
        default_factory=lambda: Schedule(
            steps=4000, batch=64, learning_rate=3e-3, evaluate_every=500
        )
    )

    def run(self, worker: Worker, folder: Path, start: Path | None) -> None:
        """See :meth:`Recipe.run`."""
        given = Start.read(start or SHAPES_FOLDER, "transformer")
        images = render_scenes(worker, folder, self.scenes, self.seed)
        scenes = list(islice(generate("train", self.seed), self.scenes))
        latents = encode_scenes(worker, folder, given.autoencoder, images)
        tokenizer = t5.tokenizer()
        captions = Captions.of(scenes, tokenizer)
        teacher = self._teacher(folder / f"tokenizer-{worker.rank}", latents, scenes)
        args = (worker, folder, self.seed)
        encoder, denoiser = given.encoder, cast("PixArtTransformer2DModel | None", given.denoiser)
        if denoiser is None:
            understanding = Understanding(tokenizer, scenes, t5.text_encoder(tokenizer))
            encoder = fit("text", understanding, self.text, *args).encoder.requires_grad_(True)
            denoiser = transformer(self.depth, self.width, self.patch)
        side = architecture.LATENT_SIDE // denoiser.config.patch_size
        settings: dict[str, Any] = {
            "noise_shift": self.noise_shift, "dropout": self.dropout, "telling": self.telling,
            "showing": self.showing, "teacher": teacher, "teaching": self.teaching,
        }  # fmt: skip
        shown = Shown(scenes, self.seed, side, denoiser.inner_dim) if self.showing else None
        sampler = Sampler(worker, folder, given.autoencoder, given.reader, count=self.samples)

        def denoising(emphasis: Emphasis, encoder: Any, denoiser: Any) -> TransformerDenoising:
            return TransformerDenoising(
                encoder, denoiser, latents, captions, tokenizer, shown=shown, emphasis=emphasis,
                **settings,
            )  # fmt: skip

        extras = given.extras
        if given.denoiser is None:
            drawing = denoising(LAYOUT, encoder, denoiser)
            drawing = fit("layout", drawing, self.layout, *args, evaluate=sampler.score)
            encoder, denoiser = drawing.encoder, drawing.transformer
            extras = drawing.extras()
        drawing = denoising(EVERYTHING, encoder, denoiser).requires_grad_(True).train()
        drawing.resume(extras)
        trained = fit("denoiser", drawing, self.denoiser, *args, evaluate=sampler.score)
        if worker.leads:
            export(folder / "model", trained, given.autoencoder, given.reader)
        worker.barrier()

    def _teacher(self, folder: Path, latents: Any, scenes: list[Scene]) -> UNetDenoising | None:
        if self.teacher is None:
            return None
        tokenizer = architecture.tokenizer(folder)
        return bound(self.teacher, latents, Captions.of(scenes, tokenizer), tokenizer)
