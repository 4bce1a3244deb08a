"""From nothing to the shipped folder: scenes, autoencoder, reader, text encoder, latents, U-Net.

Each stage leaves its result in the training folder before the next one starts; a run that was
stopped, or killed at any moment, goes on with the same command.

The text encoder first learns to say what a caption asks for (heads on its last tokens, thrown
away afterwards), as large models start from a CLIP that was trained before; then it is trained
jointly with the U-Net. Without that, telling which of two things stands where comes last.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from safetensors.torch import save_file
from torch.multiprocessing.spawn import spawn
from transformers import CLIPTextModel, CLIPTokenizer

from attnscope.errors import InputError
from attnscope.runs import Run, write_whole
from attnscope.shapes import architecture
from attnscope.shapes.fitting import OutOfTime, Schedule, Worker, fit
from attnscope.shapes.objectives import Autoencoding, Denoising, Reading, Understanding, to_float
from attnscope.shapes.reader import Reader, alignment, load_reader, matches
from attnscope.shapes.scenes import Scene, caption, generate, render


@dataclass(frozen=True)
class Identity:
    """The part of a recipe that a training folder is bound to."""

    scenes: int
    noise_shift: float
    dropout: float
    seed: int
    start: str | None


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
    autoencoder: Schedule = field(
        default_factory=lambda: Schedule(steps=3600, batch=32, learning_rate=2e-3)
    )
    reader: Schedule = field(
        default_factory=lambda: Schedule(steps=1600, batch=64, learning_rate=2e-3)
    )
    text: Schedule = field(
        default_factory=lambda: Schedule(steps=1000, batch=128, learning_rate=1e-3)
    )
    unet: Schedule = field(
        default_factory=lambda: Schedule(
            steps=6000, batch=64, learning_rate=1e-3, evaluate_every=800
        )
    )

    def identity(self, start: Path | None) -> Identity:
        """What may not change between two calls of :func:`train` on one folder."""
        given = None if start is None else str(start.resolve())
        return Identity(self.scenes, self.noise_shift, self.dropout, self.seed, given)


def train(
    folder: Path,
    recipe: Recipe,
    *,
    workers: int = 1,
    device: str = "cpu",
    minutes: float | None = None,
    start: Path | None = None,
) -> bool:
    """Run every stage that is not done yet.

    Args:
        folder: where everything is kept; the finished pipeline lands in ``folder / "model"``.
        recipe: what to train. The schedules may change between calls, so a run can be lengthened;
            what else the recipe says may not.
        workers: processes that share each batch; on a CPU each takes one thread (two of one
            thread each trained 1.8 times as fast as one of two threads).
        device: a torch device.
        minutes: stop after this long; the same command goes on later.
        start: a trained folder to go on from, such as the shipped one: its autoencoder and reader
            are kept, its text encoder and U-Net are trained further.

    Returns:
        Whether everything is done.

    Raises:
        InputError: the folder holds a training of another recipe or other files, or a batch cannot
            be shared evenly by the workers.
    """
    for schedule in (recipe.autoencoder, recipe.reader, recipe.text, recipe.unet):
        if schedule.batch % workers:
            raise InputError(
                f"a batch of {schedule.batch} cannot be shared evenly by {workers} workers: "
                "choose 1, 2 or 4"
            )
    Run.open(folder, "shapes train", recipe.identity(start))
    deadline = float("inf") if minutes is None else time.monotonic() + 60 * minutes
    if workers == 1:
        return _run(Worker(0, 1, torch.device(device), deadline), folder, recipe, start)
    with tempfile.TemporaryDirectory() as meeting:
        spawn(  # type: ignore[no-untyped-call]  # torch annotates no such function
            _join, (workers, meeting, deadline, folder, recipe, start), nprocs=workers
        )
        return (Path(meeting) / "done").exists()


def _join(
    rank: int,
    count: int,
    meeting: str,
    deadline: float,
    folder: Path,
    recipe: Recipe,
    start: Path | None,
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{meeting}/store", rank=rank, world_size=count)
    if _run(Worker(rank, count, torch.device("cpu"), deadline), folder, recipe, start):
        (Path(meeting) / "done").touch()
    dist.destroy_process_group()


def _run(worker: Worker, folder: Path, recipe: Recipe, start: Path | None) -> bool:
    torch.manual_seed(recipe.seed)
    try:
        _render_scenes(worker, folder, recipe)
        scenes = list(islice(generate("train", recipe.seed), recipe.scenes))
        images = np.load(folder / "images.npy", mmap_mode="r")
        tokenizer = architecture.tokenizer(folder / f"tokenizer-{worker.rank}")
        if start is None:
            parts = _train_parts(worker, folder, recipe, images, scenes, tokenizer)
        else:
            parts = _given_parts(start)
        latents = _encode_scenes(worker, folder, parts.autoencoder, images)
        latents = _standardize(parts.autoencoder, latents)
        denoising = Denoising(
            latents, tokenizer, parts.encoder, scenes,
            noise_shift=recipe.noise_shift, dropout=recipe.dropout,
        )  # fmt: skip
        if parts.unet is not None:
            denoising.unet.load_state_dict(parts.unet.state_dict())
        sampler = Sampler(worker, folder, parts.autoencoder, parts.reader)
        denoiser = fit(
            "unet", denoising, recipe.unet, worker, folder, recipe.seed, evaluate=sampler.score
        )
        if worker.leads:
            export(folder / "model", denoiser, parts.autoencoder, parts.reader)
        worker.barrier()
    except OutOfTime:
        return False
    return True


@dataclass(frozen=True)
class Parts:
    """What the U-Net's training stands on; ``unet`` where it goes on from trained weights."""

    autoencoder: AutoencoderKL
    reader: Reader
    encoder: CLIPTextModel
    unet: UNet2DConditionModel | None = None


def _train_parts(
    worker: Worker,
    folder: Path,
    recipe: Recipe,
    images: Any,
    scenes: list[Scene],
    tokenizer: CLIPTokenizer,
) -> Parts:
    args = (worker, folder, recipe.seed)
    autoencoder = fit("autoencoder", Autoencoding(images), recipe.autoencoder, *args)
    reader = fit("reader", Reading(images, scenes), recipe.reader, *args)
    text = fit("text", Understanding(tokenizer, scenes), recipe.text, *args)
    return Parts(autoencoder.model, reader.model, text.encoder)


def _given_parts(start: Path) -> Parts:
    pipe = StableDiffusionPipeline.from_pretrained(start, torch_dtype=torch.float32)
    return Parts(pipe.vae, load_reader(start), pipe.text_encoder, pipe.unet)


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
    worker: Worker, folder: Path, autoencoder: AutoencoderKL, images: Any
) -> np.ndarray[Any, np.dtype[np.float16]]:
    """Encode all images, each worker its share: float16 ``[scenes, 4, 16, 16]``, unscaled."""
    weights = torch.cat([p.detach().flatten().cpu() for p in autoencoder.encoder.parameters()])
    stem = f"latents-{hashlib.sha256(weights.numpy().tobytes()).hexdigest()[:8]}-{worker.count}"
    paths = [folder / f"{stem}-{rank}.npy" for rank in range(worker.count)]
    mine = np.array_split(np.arange(len(images)), worker.count)[worker.rank]
    if not paths[worker.rank].exists():
        parts = []
        with torch.inference_mode(), torch.autocast(worker.device.type, torch.bfloat16):
            for indices in np.array_split(mine, max(1, len(mine) // 100)):
                batch = to_float(images[indices]).to(worker.device)
                mean = autoencoder.to(worker.device).encode(batch).latent_dist.mean
                parts.append(mean.to(torch.float16).cpu().numpy())
        encoded = np.concatenate(parts)
        write_whole(paths[worker.rank], lambda partial: _save_array(partial, encoded))
    worker.barrier()
    return np.concatenate([np.load(path) for path in paths])


@torch.no_grad()
def _standardize(
    model: AutoencoderKL, latents: np.ndarray[Any, np.dtype[np.float16]]
) -> np.ndarray[Any, np.dtype[np.float16]]:
    """Give every latent channel mean 0 and deviation 1, and build that into the autoencoder.

    Its 1x1 convolutions on both sides of the latents take the shift and the scale, so images
    reconstruct as before and ``scaling_factor`` is 1. Without it one channel, the background's,
    had three times the deviation of the others and details drowned in noise first.
    """
    sample = latents[:5000].astype(np.float32)
    mean = torch.from_numpy(sample.mean(axis=(0, 2, 3)))
    deviation = torch.from_numpy(sample.std(axis=(0, 2, 3)))
    channels = len(mean)
    before, after = model.quant_conv, model.post_quant_conv
    before.weight[:channels] /= deviation.view(-1, 1, 1, 1)
    before.bias[:channels] = (before.bias[:channels] - mean) / deviation
    before.bias[channels:] -= 2 * deviation.log()  # the second half are log variances
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight *= deviation.view(1, -1, 1, 1)
    model.register_to_config(scaling_factor=1.0)
    standardized = (latents.astype(np.float32) - mean.numpy()[:, None, None]) / deviation.numpy()[
        :, None, None
    ]
    return np.asarray(standardized, dtype=np.float16)


def _save_array(path: Path, array: np.ndarray[Any, Any]) -> None:
    with path.open("wb") as file:
        np.save(file, array)


class Sampler:
    """Samples held-out captions during training and lets the reader judge them."""

    def __init__(
        self, worker: Worker, folder: Path, autoencoder: AutoencoderKL, reader: Reader
    ) -> None:
        self.worker, self.folder = worker, folder
        self.autoencoder, self.reader = autoencoder, reader.to(worker.device)
        self.scored = 0

    def score(self, denoiser: Denoising, count: int = 64) -> dict[str, float]:
        """Alignment on validation captions, each worker sampling its share; leaves a sheet."""
        scenes = list(islice(generate("validation"), count))
        mine = scenes[self.worker.rank :: self.worker.count]
        pipe = denoiser.pipeline(self.autoencoder).to(self.worker.device)
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
    """Write images ``[n, height, width, 3]`` in [0, 1] as one PNG, in full rows of ``columns``."""
    pixels = np.round(np.asarray(images) * 255).astype(np.uint8)
    columns = min(columns, len(pixels))
    starts = range(0, len(pixels) - len(pixels) % columns, columns)
    rows = [np.concatenate(pixels[start : start + columns], axis=1) for start in starts]
    Image.fromarray(np.concatenate(rows)).save(path)


def _forget_origin(config: Path) -> None:
    """Leave out of a config the folder that the training started from, which is nobody else's."""
    content = json.loads(config.read_text("utf-8"))
    if content.pop("_name_or_path", None) is not None:
        config.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def export(folder: Path, denoiser: Denoising, autoencoder: AutoencoderKL, reader: Reader) -> None:
    """Write the pipeline as an ordinary diffusers folder, and the reader beside it.

    The U-Net, the autoencoder and the reader are stored in half precision and load as float32;
    the text encoder stays in single precision, since transformers loads what is stored.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        pipe = denoiser.pipeline(autoencoder)
        pipe.unet.to(torch.float16)
        pipe.vae.to(torch.float16)
        pipe.save_pretrained(temporary, safe_serialization=True)
        state = {k: v.to(torch.float16).contiguous() for k, v in reader.state_dict().items()}
        save_file(state, Path(temporary) / "reader.safetensors")
        for config in Path(temporary).rglob("*.json"):
            _forget_origin(config)
        folder.mkdir(exist_ok=True)
        for item in Path(temporary).iterdir():
            target = folder / item.name
            if target.is_dir():
                for file in item.iterdir():
                    os.replace(file, target / file.name)
            else:
                os.replace(item, target)
