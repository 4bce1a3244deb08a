"""A few-step model: latent consistency distillation of a trained U-Net.

Luo et al. 2023, "Latent Consistency Models", algorithm 1. With x_t a noisy latent, s < t the next
timestep of the schedule, w a random guidance strength and v the teacher's velocity under a caption
c or under ""::

    v_w   = v(x_t, t, c) + w (v(x_t, t, c) - v(x_t, t, ""))         guided velocity
    x_s   = one DDIM step from t to s along v_w                      on the teacher's trajectory
    f     = c_skip(t) x_t + c_out(t) x_0(x_t, t, w, c)               the student's guess of its end
    loss  = d(f(x_t, t, w, c), f'(x_s, s, w, c))                     f' follows f and is no target
                                                                      of gradients

d is the pseudo-Huber distance (Song and Dhariwal 2023, "Improved Techniques for Training Consistency
Models"). The strength is embedded in the timestep by ``time_cond_proj_dim``, as LCM-SDXL does, so a
step costs one call of the U-Net and not two; ``guidance_scale`` of a pipeline is w + 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    LatentConsistencyModelPipeline,
    LCMScheduler,
    UNet2DConditionModel,
)
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor, nn

from attnscope.errors import InputError
from attnscope.models.names import SHAPES_FOLDER
from attnscope.shapes import architecture
from attnscope.shapes.captions import Captions
from attnscope.shapes.denoising import Emphasis, UNetDenoising, quick
from attnscope.shapes.exporting import Start, export
from attnscope.shapes.fitting import Schedule, Worker, fit
from attnscope.shapes.latents import encode_scenes, render_scenes
from attnscope.shapes.sampling import Sampler
from attnscope.shapes.scenes import generate
from attnscope.shapes.train import Recipe

STRENGTH_WIDTH = 128
"""Width of the embedding of the guidance strength."""

STRENGTHS = (0.0, 5.0)
"""Of the guidance seen in training: a ``guidance_scale`` from 1 to 6."""

GRID = 50
"""Timesteps that are trained: LCMScheduler's ``original_inference_steps``."""

SKIP = 2
"""Of these in a step along a trajectory: with more, ends are handed from 0 to 999 in fewer steps of
training, along a coarser trajectory."""


def scheduler(noise_shift: float) -> LCMScheduler:
    """LCM's scheduler over the noise schedule of the teacher, for a model of velocities."""
    config = architecture.scheduler(noise_shift).config
    return LCMScheduler(
        num_train_timesteps=config.num_train_timesteps,
        trained_betas=config.trained_betas,
        prediction_type=config.prediction_type,
        original_inference_steps=GRID,
        clip_sample=False,
        set_alpha_to_one=False,
    )


def guided(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """A copy of a U-Net that takes a guidance strength, too, and that it does not heed yet."""
    built: UNet2DConditionModel = UNet2DConditionModel.from_config(
        unet.config, time_cond_proj_dim=STRENGTH_WIDTH
    )
    built.load_state_dict(unet.state_dict(), strict=unet.config.time_cond_proj_dim is not None)
    if unet.config.time_cond_proj_dim is None:
        nn.init.zeros_(built.time_embedding.cond_proj.weight)
    return built


class ConsistencyDistillation(UNetDenoising):
    """Teach a U-Net where the trajectories of another end.

    Args:
        encoder: the text encoder of both; it stays as it is.
        teacher: the U-Net whose trajectories these are; it stays as it is.
        unet: the student to go on with; ``None`` begins as the teacher.
        data: see :class:`attnscope.shapes.denoising.DenoisingObjective`.
        following: how much of the target network stays in a step.
        settings: see :class:`attnscope.shapes.denoising.DenoisingObjective`.
    """

    pipeline_class = LatentConsistencyModelPipeline

    def __init__(
        self,
        encoder: nn.Module,
        teacher: UNet2DConditionModel,
        unet: UNet2DConditionModel | None,
        *data: Any,
        following: float = 0.95,
        **settings: Any,
    ) -> None:
        super().__init__(encoder.requires_grad_(False).eval(), None, *data, **settings)
        self.unet = quick(guided(teacher if unet is None else unet))
        # It has to be as it was when a training goes on, so unlike the teacher it is a part.
        self.target = quick(guided(self.unet)).requires_grad_(False)
        self._guide = (quick(teacher).requires_grad_(False).eval(),)
        self._shared = (*self._shared, self._guide)
        self.following = following
        self.scheduler = scheduler(settings["noise_shift"])

    def forward(self, examples: Tensor, generator: torch.Generator) -> Tensor:
        """The mean distance of the ends that two neighbours on a trajectory lead to."""
        count = len(examples)
        x_0 = torch.from_numpy(self._latents[examples.numpy()]).float()
        noise = torch.randn(x_0.shape, generator=generator)
        spacing = architecture.TRAIN_TIMESTEPS // GRID
        t = (torch.randint(GRID, (count,), generator=generator) + 1) * spacing - 1
        low, high = STRENGTHS
        w = (low + (high - low) * torch.rand(count, generator=generator)).to(self.device)
        tokens, places = self.captions.take(examples, torch.zeros(count, dtype=torch.bool))
        x_t = (self._signal(t) * x_0 + self._sigma(t) * noise).to(self.device)
        tokens, places = tokens.to(self.device), places.to(self.device)
        with torch.no_grad():
            self._follow()
            states = self.states(tokens, places)
            s = (t - SKIP * spacing).clamp(min=0)
            x_s = self.step(x_t, t, s, self._guided_velocity(x_t, t, w, states))
            asked = self.end(self.target, x_s, s, w, states)
        difference = self.end(self.unet, x_t, t, w, states) - asked
        scale = 0.03
        distance: Tensor = ((difference**2 + scale**2).sqrt() - scale).mean()
        return distance

    def end(self, unet: nn.Module, x: Tensor, t: Tensor, w: Tensor, states: Tensor) -> Tensor:
        """Where a network says that the trajectory through ``x`` ends, as LCMScheduler makes it.

        Args:
            unet: the network.
            x: latents, ``[batch, 4, 16, 16]``.
            t: their timesteps, int64 ``[batch]``, on the CPU.
            w: guidance strengths, float32 ``[batch]``.
            states: of the text, ``[batch, 24, 128]``.
        """
        x = x.contiguous(memory_format=torch.channels_last)
        strength = get_timestep_embedding(1000 * w, STRENGTH_WIDTH, downscale_freq_shift=1)
        velocity = unet(x, t.to(x.device), states, timestep_cond=strength).sample.float()
        x_0 = self._signal(t).to(x.device) * x - self._sigma(t).to(x.device) * velocity
        c_skip, c_out = self.scheduler.get_scalings_for_boundary_condition_discrete(
            t[:, None, None, None].to(x.device)
        )
        end: Tensor = c_skip * x + c_out * x_0
        return end

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, velocity: Tensor) -> Tensor:
        """One DDIM step (Song et al. 2021, equation 12 without noise) from ``t`` to ``s``."""
        signal, sigma = self._signal(t).to(x_t.device), self._sigma(t).to(x_t.device)
        x_0, noise = signal * x_t - sigma * velocity, sigma * x_t + signal * velocity
        return self._signal(s).to(x_t.device) * x_0 + self._sigma(s).to(x_t.device) * noise

    def _guided_velocity(self, x_t: Tensor, t: Tensor, w: Tensor, states: Tensor) -> Tensor:
        null = self.encoder(self.captions.null.to(self.device)).last_hidden_state
        both = torch.cat([states, null.expand_as(states)])
        teacher = self._guide[0].to(self.device)
        x_t, t = x_t.repeat(2, 1, 1, 1), t.repeat(2).to(self.device)
        x_t = x_t.contiguous(memory_format=torch.channels_last)
        told, untold = teacher(x_t, t, both).sample.float().chunk(2)
        velocity: Tensor = told + w[:, None, None, None] * (told - untold)
        return velocity

    def _follow(self) -> None:
        """Move the target towards the student."""
        target, student = list(self.target.parameters()), list(self.unet.parameters())
        torch._foreach_lerp_(target, student, 1 - self.following)

    def _signal(self, t: Tensor) -> Tensor:
        signal: Tensor = self.scheduler.alphas_cumprod[t].sqrt()[:, None, None, None]
        return signal

    def _sigma(self, t: Tensor) -> Tensor:
        return (1 - self._signal(t) ** 2).sqrt()


@dataclass(frozen=True)
class ConsistencyRecipe(Recipe):
    """One stage: ``denoiser``.

    Args:
        teacher: the folder or the state of a U-Net that draws what it is asked.
    """

    teacher: Path = SHAPES_FOLDER
    denoiser: Schedule = field(
        default_factory=lambda: Schedule(
            steps=1200,
            batch=64,
            learning_rate=3e-4,  # by 1e-3 and 32 images fills fell from step 200 on
            warmup=50,
            average_decay=0.99,
            evaluate_every=200,
        )
    )

    def run(self, worker: Worker, folder: Path, start: Path | None) -> None:
        """See :meth:`Recipe.run`; ``start`` is a student to go on with."""
        given = Start.read(self.teacher, "unet")
        if given.encoder is None or given.denoiser is None:
            raise InputError(
                f"{str(self.teacher)!r} has no U-Net that can be distilled: choose 'shapes', or what "
                "a training of it left"
            )
        student: Any = None if start is None else Start.read(start, "unet").denoiser
        if student is not None and student.config.time_cond_proj_dim is None:
            student = None  # no model of few steps: it begins as its teacher
        images = render_scenes(worker, folder, self.scenes, self.seed)
        scenes = list(islice(generate("train", self.seed), self.scenes))
        latents = encode_scenes(worker, folder, given.autoencoder, images)
        tokenizer = architecture.tokenizer(folder / f"tokenizer-{worker.rank}")
        distilling = ConsistencyDistillation(
            given.encoder, given.denoiser, student, latents, Captions.of(scenes, tokenizer),
            tokenizer, noise_shift=self.noise_shift, dropout=0.0, emphasis=Emphasis(pairs=0.5),
        )  # fmt: skip
        sampler = Sampler(
            worker, folder, given.autoencoder, given.reader, count=self.samples, steps=4
        )
        trained = fit(
            "denoiser", distilling, self.denoiser, worker, folder, self.seed,
            evaluate=sampler.score,
        )  # fmt: skip
        if worker.leads:
            export(folder / "model", trained, given.autoencoder, given.reader)
        worker.barrier()
