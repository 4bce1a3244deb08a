"""Looking at a model during its training: samples of held-out captions, and what the reader says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from attnscope import documents
from attnscope.files import write_whole
from attnscope.shapes.denoising import DenoisingObjective
from attnscope.shapes.exporting import write_state
from attnscope.shapes.fitting import Worker
from attnscope.shapes.reader import HEADS, Reader, agreement, alignment, encode
from attnscope.shapes.scenes import Scene, generate


def in_order(read: Tensor, scenes: Sequence[Scene]) -> Tensor:
    """Whether two things stand where the caption puts them.

    They do where the layout is read as asked and the two things agree with the captions' in more
    attributes than if they were exchanged.

    Args:
        read: int64 ``[batch, heads]`` from :meth:`Reader.read`.
        scenes: what the captions ask for, ``batch`` of them.

    Returns:
        float32 ``[batch]``: 1 they do, 0 they do not, NaN for scenes of one thing.
    """
    names = list(HEADS)
    asked = torch.tensor([encode(scene) for scene in scenes], device=read.device)
    first, second = (
        [i for i, name in enumerate(names) if name.endswith(slot)] for slot in ("_1", "_2")
    )
    straight = (read[:, first] == asked[:, first]).sum(1) + (read[:, second] == asked[:, second]).sum(1)  # fmt: skip
    exchanged = (read[:, first] == asked[:, second]).sum(1) + (read[:, second] == asked[:, first]).sum(1)  # fmt: skip
    layout = names.index("relation")
    right = (straight > exchanged) & (read[:, layout] == asked[:, layout])
    alone = torch.tensor([scene.relation is None for scene in scenes], device=read.device)
    return right.float().masked_fill(alone, float("nan"))


class Sampler:
    """Samples held-out captions during training and lets the reader judge them.

    Leaves a sheet of the samples, and what the best model so far was made of in ``state``: a folder
    that a training can start from.

    Args:
        worker: the process this is.
        folder: where sheets and the state go.
        autoencoder: that decodes the samples.
        reader: that judges them.
        count: how many validation captions.
        steps: denoising steps.
        guidance: guidance scale.
    """

    def __init__(
        self,
        worker: Worker,
        folder: Path,
        autoencoder: AutoencoderKL,
        reader: Reader,
        *,
        count: int,
        steps: int = 15,
        guidance: float = 3.0,
    ) -> None:
        self.worker, self.folder = worker, folder
        self.autoencoder, self.reader = autoencoder, reader.to(worker.device)
        self.count, self.steps, self.guidance = count, steps, guidance

    def score(self, denoiser: DenoisingObjective) -> dict[str, float]:
        """Alignment and order on validation captions, each worker sampling its share."""
        scenes = list(islice(generate("validation"), self.count))
        mine = scenes[self.worker.rank :: self.worker.count]
        images = self._sample(denoiser, mine)
        pixels = torch.from_numpy(images).float().permute(0, 3, 1, 2).to(self.worker.device) * 2 - 1
        read = self.reader.read(pixels)
        judged = torch.cat([agreement(read, mine), in_order(read, mine)[:, None]], dim=1).cpu()
        judged = self._gather(judged)
        scores = {**alignment(judged[:, :-1]), "order": float(judged[:, -1].nanmean())}
        if self.worker.leads:
            number = len(list(self.folder.glob("sheet-*.png"))) + 1
            save_sheet(images, self.folder / f"sheet-{number:02d}.png")
            self._keep(denoiser, scores)
        return scores

    def _sample(self, denoiser: DenoisingObjective, scenes: list[Scene]) -> Any:
        pipe = denoiser.pipeline(self.autoencoder).to(self.worker.device)
        pipe.set_progress_bar_config(disable=True)
        batches = []
        for start in range(0, len(scenes), 32):
            batch = scenes[start : start + 32]
            seeds = [start + index for index in range(len(batch))]
            with torch.no_grad(), torch.autocast(self.worker.device.type, torch.bfloat16):
                made = pipe(
                    **denoiser.inputs(batch),
                    num_inference_steps=self.steps,
                    guidance_scale=self.guidance,
                    generator=[torch.Generator().manual_seed(seed) for seed in seeds],
                    output_type="np",
                )
            batches.append(made.images)
        return np.concatenate(batches)

    def _gather(self, judged: Tensor) -> Tensor:
        """The rows of all workers: NaN travels as 2, rows that a worker lacks as 0."""
        shared = torch.zeros(self.worker.count, self.count, judged.shape[1])
        shared[self.worker.rank, : len(judged)] = judged.nan_to_num(2.0) + 1
        gathered = self.worker.total(shared).flatten(0, 1)
        gathered = gathered[gathered[:, 0] > 0] - 1
        return gathered.masked_fill(gathered == 2, float("nan"))

    def _keep(self, denoiser: DenoisingObjective, scores: dict[str, float]) -> None:
        """Write the state of the best model of this stage so far, and its scores last."""
        about = self.folder / "state" / "scores.json"
        stage = type(denoiser).__name__
        best = json.loads(about.read_text("utf-8")) if about.exists() else {}
        # Of 96 captions a few more or less are chance: the later of two like ones is kept.
        if best.get("stage") == stage and scores["all"] < best["all"] - 0.02:
            return
        write_state(about.parent, denoiser.twin())
        text = documents.text({"stage": stage, **scores}) + "\n"
        write_whole(about, lambda partial: partial.write_text(text, "utf-8"))


def save_sheet(images: Any, path: Path, columns: int = 8) -> None:
    """Write images ``[n, height, width, 3]`` in [0, 1] as one PNG, in full rows of ``columns``."""
    pixels = np.round(np.asarray(images) * 255).astype(np.uint8)
    columns = min(columns, len(pixels))
    starts = range(0, len(pixels) - len(pixels) % columns, columns)
    rows = [np.concatenate(pixels[start : start + columns], axis=1) for start in starts]
    Image.fromarray(np.concatenate(rows)).save(path)
