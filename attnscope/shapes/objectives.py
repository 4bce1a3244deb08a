"""What the stages of the training optimise: reconstructing, reading, understanding, denoising."""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from attnscope.shapes import architecture
from attnscope.shapes.fitting import Objective
from attnscope.shapes.reader import AttributeHeads, Reader, encode, heads_loss
from attnscope.shapes.scenes import Scene, caption


def to_float(images: NDArray[np.uint8]) -> Tensor:
    """uint8 ``[batch, height, width, 3]`` to float32 ``[batch, 3, height, width]`` in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """int64 ``[captions, 24]``, padded as the pipeline pads."""
    tokens = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt")
    ids: Tensor = tokens.input_ids
    return ids


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


class Reading(Objective):
    """Classify images, some of them blurred and noisy as decoded ones are."""

    def __init__(self, images: NDArray[np.uint8], scenes: list[Scene]) -> None:
        super().__init__(len(images), shared=(images,))
        self.model = Reader()
        self._images = images
        self._classes = torch.tensor([encode(scene) for scene in scenes])

    def forward(self, examples: Tensor, generator: torch.Generator) -> Tensor:
        images = to_float(self._images[examples.numpy()])
        blurred = nn.functional.avg_pool2d(images, 3, stride=1, padding=1)
        amount = torch.rand((len(images), 1, 1, 1), generator=generator) * 0.7
        images = torch.lerp(images, blurred, amount)
        images = images + 0.05 * amount * torch.randn(images.shape, generator=generator)
        return heads_loss(
            self.model(images.to(self.device)), self._classes[examples].to(self.device)
        )


class Understanding(Objective):
    """Say what a caption asks for, from every token that has seen all of it."""

    def __init__(self, tokenizer: CLIPTokenizer, scenes: list[Scene]) -> None:
        super().__init__(len(scenes))
        self.encoder: CLIPTextModel = architecture.text_encoder(tokenizer)
        self.heads = AttributeHeads(architecture.TEXT_WIDTH)
        self._tokens = tokenize(tokenizer, [caption(scene) for scene in scenes])
        self._classes = torch.tensor([encode(scene) for scene in scenes])
        self._end = tokenizer.eos_token_id

    def forward(self, examples: Tensor, generator: torch.Generator) -> Tensor:
        tokens = self._tokens[examples].to(self.device)
        states = self.encoder(tokens).last_hidden_state
        row, column = torch.nonzero(tokens == self._end, as_tuple=True)
        classes = self._classes[examples].to(self.device)
        return heads_loss(self.heads(states[row, column]), classes[row])


class Denoising(Objective):
    """Predict the velocity (Salimans and Ho 2022): v = alpha noise - sigma x_0, in latents.

    Args:
        latents: float16 ``[scenes, 4, 16, 16]``.
        tokenizer: of the captions.
        encoder: the text encoder to start from.
        scenes: what the latents show.
        noise_shift: of the schedule, see :func:`architecture.shifted_betas`.
        dropout: part of the captions that is replaced by "".
    """

    def __init__(
        self,
        latents: NDArray[np.float16],
        tokenizer: CLIPTokenizer,
        encoder: CLIPTextModel,
        scenes: list[Scene],
        *,
        noise_shift: float,
        dropout: float,
    ) -> None:
        super().__init__(len(latents), shared=(latents,))
        self.unet: UNet2DConditionModel = architecture.unet()
        # Plain matrix products train faster on a CPU than the fused kernel's backward pass:
        # 41 against 32 images a second on two cores.
        self.unet.set_attn_processor(AttnProcessor())
        self.encoder = architecture.text_encoder(tokenizer)
        self.encoder.load_state_dict(encoder.state_dict())
        self.tokenizer, self.scheduler = tokenizer, architecture.scheduler(noise_shift)
        self._latents = latents
        self._tokens = tokenize(tokenizer, [caption(scene) for scene in scenes])
        self._null = tokenize(tokenizer, [""])
        self._dropout = dropout

    def forward(self, examples: Tensor, generator: torch.Generator) -> Tensor:
        dropped = torch.rand((len(examples), 1), generator=generator) < self._dropout
        tokens = torch.where(dropped, self._null, self._tokens[examples]).to(self.device)
        timesteps = self._timesteps(len(examples), generator)
        x_0 = torch.from_numpy(self._latents[examples.numpy()]).float()
        noise = torch.randn(x_0.shape, generator=generator)
        signal = self.scheduler.alphas_cumprod[timesteps].sqrt()[:, None, None, None]
        sigma = (1 - signal**2).sqrt()
        x_t, velocity = signal * x_0 + sigma * noise, signal * noise - sigma * x_0
        states = self.encoder(tokens).last_hidden_state
        predicted = self.unet(x_t.to(self.device), timesteps.to(self.device), states).sample
        return nn.functional.mse_loss(predicted.float(), velocity.to(self.device))

    @staticmethod
    def _timesteps(count: int, generator: torch.Generator) -> Tensor:
        """Half of a density that grows linearly, half from where layout is decided.

        Which thing stands where is settled while x_t hardly shows things (sigma 1.4 to 20,
        timesteps 760 to 980), and learned last: with the first density alone, both colours of a
        scene were right after 77,000 images, and at a place by chance still after 102,000.
        """
        steps = architecture.TRAIN_TIMESTEPS
        uniform = torch.rand(count, generator=generator)
        anywhere = (0.25 + 2 * uniform).sqrt() - 0.5
        early = 0.76 + 0.22 * torch.rand(count, generator=generator)
        choice = torch.rand(count, generator=generator) < 0.5
        return torch.where(choice, early, anywhere).mul(steps).long().clamp(0, steps - 1)

    def pipeline(self, autoencoder: AutoencoderKL) -> StableDiffusionPipeline:
        """A Stable Diffusion pipeline over the trained parts, without a safety checker."""
        return StableDiffusionPipeline(
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
