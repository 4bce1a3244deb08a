"""What a denoiser is trained on: noisy latents, captions, and the velocity to predict."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from numpy.typing import NDArray
from torch import Tensor, nn

from attnscope.shapes import architecture
from attnscope.shapes.captions import Captions
from attnscope.shapes.fitting import Objective
from attnscope.shapes.places import PLACES
from attnscope.shapes.scenes import Scene, caption


@dataclass(frozen=True)
class Emphasis:
    """Which scenes and noise levels are seen more often than they occur.

    Half of the timesteps, by default, are drawn where layout is decided. Which thing stands where
    is settled while x_t hardly shows things (sigma 1.4 to 20, timesteps 760 to 980), and learned
    last: with the linear density alone, both colours of a scene were right after 77,000 images, and
    at a place by chance still after 102,000.

    Args:
        pairs: part of the examples that is drawn among scenes of two things only.
        early: part of the timesteps that is drawn uniformly from ``window``; the density of the
            others grows linearly with the timestep.
        window: in parts of the timesteps.
    """

    pairs: float = 0.0
    early: float = 0.5
    window: tuple[float, float] = (0.76, 0.98)

    def timesteps(self, count: int, generator: torch.Generator) -> Tensor:
        """Int64 ``[count]``, from 0 to 999."""
        uniform = torch.rand(count, generator=generator)
        anywhere = (0.25 + 2 * uniform).sqrt() - 0.5
        low, high = self.window
        early = low + (high - low) * torch.rand(count, generator=generator)
        choice = torch.rand(count, generator=generator) < self.early
        steps = architecture.TRAIN_TIMESTEPS
        return torch.where(choice, early, anywhere).mul(steps).long().clamp(0, steps - 1)


class DenoisingObjective(Objective):
    """Predict the velocity (Salimans and Ho 2022): v = alpha noise - sigma x_0, in latents.

    Subclasses own the networks. With a head for places, an auxiliary loss makes every token tell
    where its thing stands; the head is thrown away with the training.

    Args:
        latents: float16 ``[scenes, 4, 16, 16]``.
        captions: of the same scenes.
        tokenizer: of the captions.
        noise_shift: of the schedule, see :func:`attnscope.shapes.architecture.shifted_betas`.
        dropout: part of the captions that is replaced by "".
        emphasis: what is seen more often than it occurs.
        telling: weight of the auxiliary loss.
        teacher: a trained denoiser of the same scenes, which stays as it is.
        teaching: part of the target that is the teacher's prediction. The true velocity of one
            image is its mean given x_t and the caption, plus what nobody can know, which is most
            of the loss where there is much noise; a teacher says its guess of the mean.
    """

    def __init__(
        self,
        latents: NDArray[np.float16],
        captions: Captions,
        tokenizer: Any,
        *,
        noise_shift: float,
        dropout: float,
        emphasis: Emphasis,
        telling: float = 0.0,
        teacher: DenoisingObjective | None = None,
        teaching: float = 0.5,
    ) -> None:
        # In a tuple it is no part of this module: neither trained, nor averaged, nor saved.
        aside = None if teacher is None else (teacher.requires_grad_(False).eval(),)
        super().__init__(len(latents), shared=(latents, captions, tokenizer, aside))
        self._teacher, self.teaching = aside, teaching
        self.tokenizer, self.scheduler = tokenizer, architecture.scheduler(noise_shift)
        self.telling = telling
        head = nn.Linear(architecture.TEXT_WIDTH, len(PLACES), bias=False)
        self.places = head if telling else None
        self.captions = captions
        self._latents = latents
        self._dropout, self._emphasis = dropout, emphasis
        pairs = (captions.places > 0).any(dim=1)
        # A toy run may have no scene of two things.
        self._pairs = pairs.nonzero()[:, 0] if pairs.any() else torch.arange(self.size)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """The numbers of the scenes of a batch, with the asked-for part of pairs."""
        anything = super().draw(count, generator)
        pairs = self._pairs[torch.randint(len(self._pairs), (count,), generator=generator)]
        chosen = torch.rand(count, generator=generator) < self._emphasis.pairs
        return torch.where(chosen, pairs, anything)

    def forward(self, examples: Tensor, generator: torch.Generator) -> Tensor:
        """The mean squared error of the velocity, and what the auxiliary loss adds."""
        dropped = torch.rand(len(examples), generator=generator) < self._dropout
        tokens, places = self.captions.take(examples, dropped)
        tokens, places = tokens.to(self.device), places.to(self.device)
        timesteps = self._emphasis.timesteps(len(examples), generator)
        x_0 = torch.from_numpy(self._latents[examples.numpy()]).float()
        noise = torch.randn(x_0.shape, generator=generator)
        signal = self.scheduler.alphas_cumprod[timesteps].sqrt()[:, None, None, None]
        sigma = (1 - signal**2).sqrt()
        x_t, velocity = signal * x_0 + sigma * noise, signal * noise - sigma * x_0
        states = self.states(tokens, places)
        x_t, timesteps = x_t.to(self.device), timesteps.to(self.device)
        predicted = self.predict(x_t, timesteps, states, tokens)
        target = velocity.to(self.device)
        if self._teacher is not None:
            taught = self._teacher[0].say(x_t, timesteps, examples, dropped)
            target = torch.lerp(target, taught, self.teaching)
        loss = nn.functional.mse_loss(predicted.float(), target)
        if self.places is None:
            return loss
        told = self.places(states).float().flatten(0, 1)
        return loss + self.telling * nn.functional.cross_entropy(told, places.flatten())

    @torch.no_grad()
    def say(self, x_t: Tensor, timesteps: Tensor, examples: Tensor, dropped: Tensor) -> Tensor:
        """The velocity that this model predicts, for one that it teaches: ``[batch, 4, 16, 16]``."""
        tokens, places = (part.to(x_t.device) for part in self.captions.take(examples, dropped))
        states = self.to(x_t.device).states(tokens, places)
        return self.predict(x_t, timesteps, states, tokens).float()

    @abstractmethod
    def states(self, tokens: Tensor, places: Tensor) -> Tensor:
        """What the denoiser is conditioned on: ``[batch, 24, 128]``."""

    @abstractmethod
    def predict(self, x_t: Tensor, timesteps: Tensor, states: Tensor, tokens: Tensor) -> Tensor:
        """The predicted velocity, ``[batch, 4, 16, 16]``."""

    @abstractmethod
    def pipeline(self, autoencoder: AutoencoderKL | None) -> Any:
        """An ordinary pipeline over the trained parts."""

    def extras(self) -> dict[str, Tensor]:
        """What a training goes on from and no pipeline holds, by name."""
        return {} if self.places is None else {"places": self.places.weight}

    def resume(self, extras: dict[str, Tensor]) -> None:
        """Take over what :meth:`extras` gave, as far as it is there."""
        if self.places is not None and "places" in extras:
            self.places.load_state_dict({"weight": extras["places"]})

    def inputs(self, scenes: Sequence[Scene]) -> dict[str, Any]:
        """The keywords of the pipeline's call that say what to draw.

        Args:
            scenes: as many as images are made.
        """
        return {"prompt": [caption(scene) for scene in scenes]}


def quick(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """The U-Net itself, made ready for a CPU.

    Plain matrix products train faster there than the fused kernel's backward pass: 33 against 26
    images a second on one thread.
    """
    unet.set_attn_processor(AttnProcessor())
    unet.to(memory_format=torch.channels_last)
    return unet


class UNetDenoising(DenoisingObjective):
    """Train Stable Diffusion's U-Net and a text encoder.

    Args:
        encoder: the text encoder to start from.
        unet: the U-Net to start from; ``None`` is an untrained one.
        data: see :class:`DenoisingObjective`.
        settings: see :class:`DenoisingObjective`.
    """

    pipeline_class: ClassVar[type[Any]] = StableDiffusionPipeline

    def __init__(
        self, encoder: nn.Module, unet: UNet2DConditionModel | None, *data: Any, **settings: Any
    ) -> None:
        super().__init__(*data, **settings)
        self.unet: UNet2DConditionModel = architecture.unet()
        if unet is not None:
            self.unet.load_state_dict(unet.state_dict())
        quick(self.unet)
        self.encoder = encoder

    def states(self, tokens: Tensor, places: Tensor) -> Tensor:
        """The text encoder's last hidden states."""
        states: Tensor = self.encoder(tokens).last_hidden_state
        return states

    def predict(self, x_t: Tensor, timesteps: Tensor, states: Tensor, tokens: Tensor) -> Tensor:
        """The U-Net's output; Stable Diffusion masks no padding."""
        x_t = x_t.contiguous(memory_format=torch.channels_last)
        predicted: Tensor = self.unet(x_t, timesteps, states).sample
        return predicted

    def pipeline(self, autoencoder: AutoencoderKL | None) -> Any:
        """A pipeline of :attr:`pipeline_class` over the trained parts, without a safety checker."""
        return self.pipeline_class(
            vae=autoencoder,
            text_encoder=self.encoder,
            tokenizer=self.tokenizer,
            unet=self.unet,
            scheduler=self.scheduler,
            safety_checker=None,
            feature_extractor=None,
            image_encoder=None,
            requires_safety_checker=False,
        )
