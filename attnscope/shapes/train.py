"""From nothing to the shipped folder: scenes, autoencoder, reader, text encoder, latents, U-Net.

Each stage leaves its result in the training folder before the next one starts; a run that was
stopped, or killed at any moment, goes on with the same command.

The text encoder first learns to say what a caption asks for (heads on its last tokens, thrown
away afterwards), as large models start from a CLIP that was trained before; then it is trained
jointly with the U-Net. Without that, telling which of two things stands where comes last.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from attnscope.runs import write_whole
from attnscope.shapes import architecture
from attnscope.shapes.fitting import (
    Objective,
    OutOfTime,
    Schedule,
    Worker,
    fit,
)
from attnscope.shapes.reader import (
    AttributeHeads,
    Reader,
    alignment,
    encode,
    heads_loss,
    matches,
)
from attnscope.shapes.scenes import Scene, caption, generate, render

STAGES = ("scenes", "autoencoder", "reader", "text", "latents", "unet")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what comes out of the training.

    Args:
        scenes: how many scenes are rendered beforehand.
        noise_shift: factor between Stable Diffusion's noise levels and these; see
            :func:`attnscope.shapes.architecture.shifted_betas`.
        dropout: part of the captions that is replaced by "" so that guidance can be used.
        seed: of the scenes, the weights and the noise.
    """

    scenes: int = 50_000
    noise_shift: float = 4.0
    dropout: float = 0.1
    seed: int = 0
    autoencoder: Schedule = Schedule(steps=2200, batch=32, learning_rate=2e-3)
    reader: Schedule = Schedule(steps=2500, batch=64, learning_rate=2e-3)
    text: Schedule = Schedule(steps=1200, batch=128, learning_rate=1e-3)
    unet: Schedule = Schedule(steps=6000, batch=64, learning_rate=1e-3, evaluate_every=1000)


def train(
    folder: Path,
    recipe: Recipe,
    *,
    workers: int = 1,
    device: str = "cpu",
    minutes: float | None = None,
) -> bool:
    """Run every stage that is not done yet.

    Args:
        folder: where everything is kept; the finished pipeline lands in ``folder / "model"``.
        recipe: what to train. A folder remembers only its results, not its recipe.
        workers: processes that share each batch; on a CPU each takes one thread (two of one
            thread each trained 1.9 times as fast as one of two threads).
        device: a torch device.
        minutes: stop after this long; the same command goes on later.

    Returns:
        Whether everything is done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + 60 * minutes if minutes else float("inf")
    if workers == 1:
        return _run(Worker(0, 1, torch.device(device), deadline), folder, recipe)
    with tempfile.TemporaryDirectory() as meeting:
        torch.multiprocessing.spawn(
            _join, (workers, meeting, deadline, folder, recipe), nprocs=workers
        )
    return (folder / "model" / "model_index.json").exists()


def _join(
    rank: int, count: int, meeting: str, deadline: float, folder: Path, recipe: Recipe
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{meeting}/store", rank=rank, world_size=count)
    _run(Worker(rank, count, torch.device("cpu"), deadline), folder, recipe)
    dist.destroy_process_group()


def _run(worker: Worker, folder: Path, recipe: Recipe) -> bool:
    torch.manual_seed(recipe.seed)
    try:
        _render_scenes(worker, folder, recipe)
        scenes = [
            scene
            for scene, _ in zip(generate("train", recipe.seed), range(recipe.scenes), strict=False)
        ]
        images = np.load(folder / "images.npy", mmap_mode="r")
        args = (worker, folder, recipe.seed)
        autoencoder = fit("autoencoder", Autoencoding(images), recipe.autoencoder, *args)
        assert isinstance(autoencoder, Autoencoding)
        reader = fit("reader", Reading(images, scenes), recipe.reader, *args)
        assert isinstance(reader, Reading)
        tokenizer = architecture.tokenizer(folder / f"tokenizer-{worker.rank}")
        text = fit("text", Understanding(tokenizer, scenes), recipe.text, *args)
        assert isinstance(text, Understanding)
        latents = _encode_scenes(worker, folder, autoencoder, images)
        scale = float(1 / latents[:2000].astype(np.float32).std())
        autoencoder.model.register_to_config(scaling_factor=round(scale, 5))
        denoising = Denoising(
            latents * np.float16(scale), tokenizer, text.encoder, scenes, recipe,
            Sampler(worker, folder, autoencoder.model, reader.model),
        )  # fmt: skip
        denoiser = fit("unet", denoising, recipe.unet, *args)
        assert isinstance(denoiser, Denoising)
        if worker.leads:
            export(folder / "model", denoiser, autoencoder.model, reader.model)
        worker.barrier()
    except OutOfTime:
        return False
    return True


def _render_scenes(worker: Worker, folder: Path, recipe: Recipe) -> None:
    """Render the training images into ``images.npy``: uint8 ``[scenes, 64, 64, 3]``."""
    path = folder / "images.npy"
    if worker.leads and not path.exists():
        images = np.empty((recipe.scenes, 64, 64, 3), dtype=np.uint8)
        for index, scene in zip(range(recipe.scenes), generate("train", recipe.seed), strict=False):
            images[index] = render(scene, np.random.default_rng([recipe.seed, index]))
        write_whole(path, lambda partial: _save_array(partial, images))
    worker.barrier()


def _encode_scenes(
    worker: Worker, folder: Path, autoencoder: Autoencoding, images: Any
) -> np.ndarray[Any, np.dtype[np.float16]]:
    """Encode all images, each worker its share: float16 ``[scenes, 4, 16, 16]``, unscaled."""
    paths = [folder / f"latents-{worker.count}-{rank}.npy" for rank in range(worker.count)]
    mine = np.array_split(np.arange(len(images)), worker.count)[worker.rank]
    if not paths[worker.rank].exists():
        parts = []
        with torch.inference_mode(), torch.autocast(worker.device.type, torch.bfloat16):
            for indices in np.array_split(mine, max(1, len(mine) // 100)):
                batch = to_float(torch.from_numpy(images[indices])).to(worker.device)
                mean = autoencoder.model.encode(batch).latent_dist.mean
                parts.append(mean.to(torch.float16).cpu().numpy())
        encoded = np.concatenate(parts)
        write_whole(paths[worker.rank], lambda partial: _save_array(partial, encoded))
    worker.barrier()
    return np.concatenate([np.load(path) for path in paths])


def _save_array(path: Path, array: np.ndarray[Any, Any]) -> None:
    with path.open("wb") as file:
        np.save(file, array)


def to_float(images: Tensor) -> Tensor:
    """uint8 ``[batch, height, width, 3]`` to float32 ``[batch, 3, height, width]`` in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


class Autoencoding(Objective):
    """Reconstruct images: mean absolute and squared error, and a little KL divergence."""

    def __init__(self, images: Any) -> None:
        super().__init__()
        self.model: AutoencoderKL = architecture.autoencoder()
        self._images, self.size = images, len(images)

    def __deepcopy__(self, memo: dict[int, Any]) -> Autoencoding:
        twin = Autoencoding(self._images)
        twin.load_state_dict(self.state_dict())
        return twin

    def forward(self, examples: Tensor, generator: torch.Generator) -> Tensor:
        device = next(self.parameters()).device
        images = to_float(torch.from_numpy(self._images[examples.numpy()])).to(device)
        posterior = self.model.encode(images).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(device)
        decoded = self.model.decode(posterior.mean + posterior.std * noise).sample
        error = decoded.float() - images
        divergence = posterior.kl().mean() / posterior.mean[0].numel()
        return error.abs().mean() + error.square().mean() + 1e-4 * divergence


class Reading(Objective):
    """Classify images, some of them blurred and noisy as decoded ones are."""

    def __init__(self, images: Any, scenes: list[Scene]) -> None:
        super().__init__()
        self.model = Reader()
        self._images, self._scenes, self.size = images, scenes, len(images)
        self._classes = torch.tensor([encode(scene) for scene in scenes])

    def __deepcopy__(self, memo: dict[int, Any]) -> Reading:
        twin = Reading(self._images, self._scenes)
        twin.load_state_dict(self.state_dict())
        return twin

    def forward(self, examples: Tensor, generator: torch.Generator) -> Tensor:
        device = next(self.parameters()).device
        images = to_float(torch.from_numpy(self._images[examples.numpy()]))
        blurred = nn.functional.avg_pool2d(images, 3, stride=1, padding=1)
        amount = torch.rand((len(images), 1, 1, 1), generator=generator) * 0.7
        images = torch.lerp(images, blurred, amount)
        images = images + 0.05 * amount * torch.randn(images.shape, generator=generator)
        return heads_loss(self.model(images.to(device)), self._classes[examples].to(device))


class Understanding(Objective):
    """Say what a caption asks for, from every token that has seen all of it."""

    def __init__(self, tokenizer: CLIPTokenizer, scenes: list[Scene]) -> None:
        super().__init__()
        self._args = (tokenizer, scenes)
        self.encoder: CLIPTextModel = architecture.text_encoder(tokenizer)
        self.heads = AttributeHeads(architecture.TEXT_WIDTH)
        self._tokens = tokenize(tokenizer, [caption(scene) for scene in scenes])
        self._classes = torch.tensor([encode(scene) for scene in scenes])
        self._end = tokenizer.eos_token_id
        self.size = len(scenes)

    def __deepcopy__(self, memo: dict[int, Any]) -> Understanding:
        twin = Understanding(*self._args)
        twin.load_state_dict(self.state_dict())
        return twin

    def forward(self, examples: Tensor, generator: torch.Generator) -> Tensor:
        device = next(self.parameters()).device
        tokens = self._tokens[examples].to(device)
        states = self.encoder(tokens).last_hidden_state
        row, column = torch.nonzero(tokens == self._end, as_tuple=True)
        classes = self._classes[examples].to(device)
        return heads_loss(self.heads(states[row, column]), classes[row])


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """int64 ``[captions, 24]``, padded as the pipeline pads."""
    tokens = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt")
    ids: Tensor = tokens.input_ids
    return ids


class Denoising(Objective):
    """Predict the velocity (Salimans and Ho 2022): v = alpha noise - sigma x_0, in latents."""

    def __init__(
        self,
        latents: Any,
        tokenizer: CLIPTokenizer,
        encoder: CLIPTextModel,
        scenes: list[Scene],
        recipe: Recipe,
        sampler: Sampler,
    ) -> None:
        super().__init__()
        self._args = (latents, tokenizer, encoder, scenes, recipe, sampler)
        self.unet: UNet2DConditionModel = architecture.unet()
        # Plain matrix products train faster on a CPU than the fused kernel's backward pass:
        # 41 against 32 images a second on two cores.
        self.unet.set_attn_processor(AttnProcessor())
        self.encoder = architecture.text_encoder(tokenizer)
        self.encoder.load_state_dict(encoder.state_dict())
        self.tokenizer, self.scheduler = tokenizer, architecture.scheduler(recipe.noise_shift)
        self._latents, self.size = torch.from_numpy(latents), len(latents)
        self._tokens = tokenize(tokenizer, [caption(scene) for scene in scenes])
        self._null = tokenize(tokenizer, [""])
        self._dropout, self._sampler = recipe.dropout, sampler

    def __deepcopy__(self, memo: dict[int, Any]) -> Denoising:
        twin = Denoising(*self._args)
        twin.load_state_dict(self.state_dict())
        return twin

    def forward(self, examples: Tensor, generator: torch.Generator) -> Tensor:
        device = next(self.parameters()).device
        count = len(examples)
        dropped = torch.rand((count, 1), generator=generator) < self._dropout
        tokens = torch.where(dropped, self._null, self._tokens[examples]).to(device)
        # Two thirds of the timesteps fall where layout and attributes are decided: the density
        # grows linearly with the timestep.
        uniform = torch.rand(count, generator=generator)
        steps = architecture.TRAIN_TIMESTEPS
        timesteps = ((0.25 + 2 * uniform).sqrt() - 0.5).mul(steps).long().clamp(0, steps - 1)
        x_0 = self._latents[examples].float()
        noise = torch.randn(x_0.shape, generator=generator)
        signal = self.scheduler.alphas_cumprod[timesteps].sqrt()[:, None, None, None]
        sigma = (1 - signal**2).sqrt()
        x_t, velocity = signal * x_0 + sigma * noise, signal * noise - sigma * x_0
        states = self.encoder(tokens).last_hidden_state
        predicted = self.unet(x_t.to(device), timesteps.to(device), states).sample
        return nn.functional.mse_loss(predicted.float(), velocity.to(device))

    def evaluate(self, average: Objective) -> dict[str, float]:
        assert isinstance(average, Denoising)
        return self._sampler.score(average)


class Sampler:
    """Samples held-out captions during training and lets the reader judge them."""

    def __init__(
        self, worker: Worker, folder: Path, autoencoder: AutoencoderKL, reader: Reader
    ) -> None:
        self.worker, self.folder = worker, folder
        self.autoencoder, self.reader = autoencoder, reader
        self.scored = 0

    def score(self, denoiser: Denoising, count: int = 64) -> dict[str, float]:
        """Alignment on validation captions, each worker sampling its share; leaves a sheet."""
        scenes = [scene for scene, _ in zip(generate("validation"), range(count), strict=False)]
        mine = scenes[self.worker.rank :: self.worker.count]
        pipe = assemble(denoiser, self.autoencoder).to(self.worker.device)
        pipe.set_progress_bar_config(disable=True)
        generators = [torch.Generator().manual_seed(index) for index in range(len(mine))]
        with torch.autocast(self.worker.device.type, torch.bfloat16):
            images = pipe(
                [caption(scene) for scene in mine],
                num_inference_steps=20, guidance_scale=4.0, generator=generators, output_type="np",
            ).images  # fmt: skip
        pixels = torch.from_numpy(images).float().permute(0, 3, 1, 2).to(self.worker.device) * 2 - 1
        agreed = matches(self.reader.read(pixels), mine).cpu()
        if self.worker.leads:
            self.scored = len(list(self.folder.glob("sheet-*.png"))) + 1
            save_sheet(images, self.folder / f"sheet-{self.scored:02d}.png")
        shared = torch.zeros(self.worker.count, count, agreed.shape[1])
        shared[self.worker.rank, : len(agreed)] = agreed.nan_to_num(2.0) + 1
        gathered = self.worker.total(shared).flatten(0, 1)
        gathered = gathered[gathered[:, 0] > 0] - 1
        return alignment(gathered.masked_fill(gathered == 2, float("nan")))


def save_sheet(images: Any, path: Path, columns: int = 8) -> None:
    """Write images ``[n, height, width, 3]`` in [0, 1] as one PNG, ``columns`` to a row."""
    pixels = np.round(np.asarray(images) * 255).astype(np.uint8)
    rows = [np.concatenate(pixels[i : i + columns], axis=1) for i in _starts(len(pixels), columns)]
    Image.fromarray(np.concatenate(rows)).save(path)


def _starts(count: int, columns: int) -> Iterator[int]:
    return iter(range(0, count - count % columns, columns))


def assemble(denoiser: Denoising, autoencoder: AutoencoderKL) -> StableDiffusionPipeline:
    """A Stable Diffusion pipeline over trained parts, without a safety checker."""
    return StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=denoiser.encoder,
        tokenizer=denoiser.tokenizer,
        unet=denoiser.unet,
        scheduler=denoiser.scheduler,
        safety_checker=None,
        feature_extractor=None,
        image_encoder=None,
        requires_safety_checker=False,
    )


def export(folder: Path, denoiser: Denoising, autoencoder: AutoencoderKL, reader: Reader) -> None:
    """Write the pipeline as an ordinary diffusers folder, and the reader beside it.

    The U-Net, the autoencoder and the reader are stored in half precision and load as float32;
    the text encoder stays in single precision, since transformers loads what is stored.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        pipe = assemble(denoiser, autoencoder)
        pipe.unet.to(torch.float16)
        pipe.vae.to(torch.float16)
        pipe.save_pretrained(temporary, safe_serialization=True)
        state = {k: v.to(torch.float16).contiguous() for k, v in reader.state_dict().items()}
        save_file(state, Path(temporary) / "reader.safetensors")
        folder.mkdir(exist_ok=True)
        for item in Path(temporary).iterdir():
            target = folder / item.name
            if target.is_dir():
                for file in item.iterdir():
                    os.replace(file, target / file.name)
            else:
                os.replace(item, target)
