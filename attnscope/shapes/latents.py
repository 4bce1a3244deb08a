"""What the denoisers are trained on: rendered scenes, and their latents.

Both are made once for a training folder and kept there, each written whole or not at all.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL

from attnscope.files import write_whole
from attnscope.shapes.fitting import Worker
from attnscope.shapes.objectives import to_float
from attnscope.shapes.scenes import Scene, Split, generate, render


def scenes_of(splits: tuple[Split, ...], count: int, seed: int) -> list[Scene]:
    """Scenes of several splits in turn, ``count`` in all."""
    streams = [generate(split, seed) for split in splits]
    return [next(streams[index % len(streams)]) for index in range(count)]


def render_scenes(
    worker: Worker, folder: Path, scenes: int, seed: int, splits: tuple[Split, ...] = ("train",)
) -> Any:
    """Images of scenes, rendered into ``images.npy``: uint8 ``[scenes, 64, 64, 3]``.

    Args:
        worker: the leader renders.
        folder: where.
        scenes: how many; see :func:`scenes_of`.
        seed: of the scenes and of what their captions do not say.
        splits: that they are from.
    """
    path = folder / "images.npy"
    if worker.leads and not path.exists():
        images = np.empty((scenes, 64, 64, 3), dtype=np.uint8)
        for index, scene in enumerate(scenes_of(splits, scenes, seed)):
            images[index] = render(scene, np.random.default_rng([seed, index]))
        write_whole(path, lambda partial: _save_array(partial, images))
    worker.barrier()
    return np.load(path, mmap_mode="r")


def encode_scenes(
    worker: Worker, folder: Path, autoencoder: AutoencoderKL, images: Any
) -> np.ndarray[Any, np.dtype[np.float16]]:
    """Encode all images, each worker its share: float16 ``[scenes, 4, 16, 16]``, unscaled."""
    encoding = (*autoencoder.encoder.parameters(), *autoencoder.quant_conv.parameters())
    weights = torch.cat([p.detach().flatten().cpu() for p in encoding])
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
def standardize(
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
