"""From what was trained to folders: a pipeline for diffusers, or the state to go on from, and back."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from attnscope import versions
from attnscope.models.names import READER, SHAPES_FOLDER
from attnscope.shapes.denoising import DenoisingObjective
from attnscope.shapes.reader import Reader, load_reader

_DENOISERS = ("unet", "transformer")
_EXTRAS = "training.safetensors"


def export(
    folder: Path, denoiser: DenoisingObjective, autoencoder: AutoencoderKL, reader: Reader
) -> None:
    """Write the pipeline as an ordinary diffusers folder, and the reader beside it.

    The denoiser, the autoencoder and the reader are stored in half precision and load as float32;
    the text encoder stays in single precision, since transformers loads what is stored.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        pipe = denoiser.pipeline(autoencoder)
        for part in (*_DENOISERS, "vae"):
            if hasattr(pipe, part):
                getattr(pipe, part).to(torch.float16)
        pipe.save_pretrained(temporary, safe_serialization=True)
        write_reader(Path(temporary), reader)
        _move(Path(temporary), folder)


def write_reader(folder: Path, reader: Reader) -> None:
    """Write a reader in half precision as ``reader.safetensors``."""
    folder.mkdir(parents=True, exist_ok=True)
    _save_half(reader.state_dict(), folder / READER)


def write_state(folder: Path, denoiser: DenoisingObjective) -> None:
    """Write what a training can start from: what was trained, in half precision, and nothing else.

    Args:
        folder: where to.
        denoiser: loses its precision; give a copy.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        parts = denoiser.pipeline(None).components
        for name in (*_DENOISERS, "text_encoder"):
            if parts.get(name) is not None:
                parts[name].to(torch.float16).save_pretrained(Path(temporary) / name)
        if denoiser.extras():
            _save_half(denoiser.extras(), Path(temporary) / _EXTRAS)
        _move(Path(temporary), folder)


def _save_half(state: dict[str, Tensor], path: Path) -> None:
    save_file({k: v.detach().to(torch.float16).contiguous() for k, v in state.items()}, path)


def _move(source: Path, target: Path) -> None:
    """Put files in their places, one by one; without the folder that the training started from."""
    (target / _EXTRAS).unlink(missing_ok=True)  # of an earlier stage
    for config in source.rglob("*.json"):
        content = json.loads(config.read_text("utf-8"))
        if content.pop("_name_or_path", None) is not None:
            config.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    for file in [path for path in source.rglob("*") if path.is_file()]:
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, place)


@dataclass(frozen=True)
class Start:
    """What a training goes on from, everything in single precision.

    Args:
        autoencoder: given, it is not trained again.
        reader: given, it is not trained again.
        encoder: the text encoder, if the folder has one.
        denoiser: the U-Net or the transformer, if the folder has one.
        extras: what else was trained, by name; see :meth:`DenoisingObjective.extras`.
    """

    autoencoder: AutoencoderKL
    reader: Reader
    encoder: nn.Module | None
    denoiser: nn.Module | None
    extras: dict[str, Tensor]

    @classmethod
    def read(cls, folder: Path, denoiser: str) -> Start:
        """Read a model's folder, or a state; what a state lacks is the shipped model's.

        Args:
            folder: where.
            denoiser: ``unet`` or ``transformer``: the one that is trained; another is left there.
        """
        whole = folder if (folder / "vae").is_dir() else SHAPES_FOLDER
        extras = load_file(folder / _EXTRAS) if (folder / _EXTRAS).exists() else {}
        return cls(
            autoencoder=AutoencoderKL.from_pretrained(
                whole / "vae", **versions.weights_as(torch.float32)
            ),
            reader=load_reader(whole),
            encoder=_load(folder / "text_encoder") if (folder / denoiser).is_dir() else None,
            denoiser=_load(folder / denoiser) if (folder / denoiser).is_dir() else None,
            extras={name: tensor.float() for name, tensor in extras.items()},
        )


def _load(folder: Path) -> Any:
    """A model of diffusers or transformers, by the class that its config names."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    if "_class_name" in config:
        kind = getattr(diffusers, config["_class_name"])
        return kind.from_pretrained(folder, **versions.weights_as(torch.float32))
    kind = getattr(transformers, config["architectures"][0])
    return kind.from_pretrained(folder, **versions.weights_as(torch.float32, "transformers"))
