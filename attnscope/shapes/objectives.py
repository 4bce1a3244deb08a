"""What the stages before the denoiser's optimise: reconstructing, reading, understanding."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import T5EncoderModel

from attnscope.shapes import architecture
from attnscope.shapes.captions import Captions
from attnscope.shapes.fitting import Objective
from attnscope.shapes.places import PLACES
from attnscope.shapes.reader import AttributeHeads, Reader, encode, heads_loss
from attnscope.shapes.scenes import Scene


def to_float(images: NDArray[np.uint8]) -> Tensor:
    """uint8 ``[batch, height, width, 3]`` to float32 ``[batch, 3, height, width]`` in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


class Autoencoding(Objective):
    """Reconstruct images: absolute and squared errors, edges, and a little KL divergence."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        super().__init__(len(images), shared=(images,))
        self.model: AutoencoderKL = architecture.autoencoder()
        self._images = images

    def forward(self, examples: Tensor, generator: torch.Generator) -> Tensor:
        images = to_float(self._images[examples.numpy()]).to(self.device)
        posterior = self.model.encode(images).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(self.device)
        decoded = self.model.decode(posterior.mean + posterior.std * noise).sample
        error = decoded.float() - images
        # Things cover a tenth of the pixels: where an image differs from its corner, errors count
        # four times, and so that fills stay sharp, errors of differences between neighbours too.
        weight = 1 + 3 * ((images - images[:, :, :1, :1]).abs().amax(1, keepdim=True) > 0.1)
        edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        fidelity = (weight * (error.abs() + error.square())).mean() + edges
        divergence: Tensor = posterior.kl().mean() / posterior.mean[0].numel()
        loss: Tensor = fidelity + 1e-4 * divergence
        return loss


class ReadingObjective(Objective):
    """Classify images: half of them as they were rendered, half through the autoencoder.

    What the reader judges was decoded, and small dots and points come out of that blurred: trained on
    renderings, some of them blurred and noisy, it read fills of decoded scenes rightly in 0.971 and
    shapes in 0.964, and of renderings in 0.996 and 0.983.

    Args:
        images: renderings, uint8 ``[scenes, 64, 64, 3]``.
        scenes: what they show.
        latents: of the same images, float16 ``[scenes, 4, 16, 16]``.
        autoencoder: that these are decoded by; it stays as it is.
        reader: to go on with; ``None`` begins anew.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        scenes: list[Scene],
        latents: NDArray[np.float16],
        autoencoder: AutoencoderKL,
        reader: Reader | None = None,
    ) -> None:
        # In a tuple it is no part of this module: neither trained, nor averaged, nor saved.
        aside = (autoencoder.requires_grad_(False).eval(),)
        super().__init__(len(images), shared=(images, latents, aside))
        self.model = Reader()
        if reader is not None:
            self.model.load_state_dict(reader.state_dict())
        self._images, self._latents, self._autoencoder = images, latents, aside
        self._classes = torch.tensor([encode(scene) for scene in scenes])

    def forward(self, examples: Tensor, generator: torch.Generator) -> Tensor:
        half = len(examples) // 2
        drawn = to_float(self._images[examples[:half].numpy()]).to(self.device)
        decoded = self.decoded(examples[half:], generator)
        classes = self._classes[examples].to(self.device)
        return heads_loss(self.model(torch.cat([drawn, decoded])), classes)

    @torch.no_grad()
    def decoded(self, examples: Tensor, generator: torch.Generator) -> Tensor:
        """Decoded images in [-1, 1], a little off as sampled latents are: ``[batch, 3, 64, 64]``."""
        latents = torch.from_numpy(self._latents[examples.numpy()]).float()
        amount = 0.15 * torch.rand((len(latents), 1, 1, 1), generator=generator)
        latents = latents + amount * torch.randn(latents.shape, generator=generator)
        decode = self._autoencoder[0].to(self.device).decode
        images: Tensor = decode(latents.to(self.device)).sample.float().clamp(-1, 1)
        return images


class Understanding(Objective):
    """Say what a caption asks for, from every token at its end, and of each token its thing's place.

    A causal encoder cannot know the places of a first thing before the relation is read; it is
    not asked for them.

    Args:
        tokenizer: of the captions.
        scenes: whose captions are read.
        encoder: what is trained; ``None`` is the CLIP of :mod:`architecture`.
    """

    def __init__(
        self, tokenizer: Any, scenes: list[Scene], encoder: T5EncoderModel | None = None
    ) -> None:
        super().__init__(len(scenes))
        self.encoder: nn.Module = encoder or architecture.text_encoder(tokenizer)
        self.heads = AttributeHeads(architecture.TEXT_WIDTH)
        both_ways = encoder is not None
        self.places = nn.Linear(architecture.TEXT_WIDTH, len(PLACES)) if both_ways else None
        self._captions = Captions.of(scenes, tokenizer)
        self._classes = torch.tensor([encode(scene) for scene in scenes])
        self._end, self._pad = tokenizer.eos_token_id, tokenizer.pad_token_id

    def forward(self, examples: Tensor, generator: torch.Generator) -> Tensor:
        tokens = self._captions.tokens[examples].to(self.device)
        read = None if self.places is None else (tokens != self._pad).long()
        states = self.encoder(tokens, attention_mask=read).last_hidden_state
        row, column = torch.nonzero(tokens == self._end, as_tuple=True)
        classes = self._classes[examples].to(self.device)
        loss = heads_loss(self.heads(states[row, column]), classes[row])
        if self.places is None:
            return loss
        places = self._captions.places[examples].to(self.device)
        told = self.places(states).float().flatten(0, 1)
        return loss + nn.functional.cross_entropy(told, places.flatten())
