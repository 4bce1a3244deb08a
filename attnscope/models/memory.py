"""How much memory a model's configuration asks for, known before any of it is taken."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from attnscope.errors import InputError

_SLACK = 1 << 30
"""Bytes that buffers, which no file holds, may have besides."""


def check_held(folder: Path, source: str) -> None:
    """Refuse a configuration that asks for far more than the weights beside it hold.

    diffusers makes room for what the configuration says before it looks at the weights: a shape of 100
    GB would fill the memory first and be refused afterwards.

    Args:
        folder: of a pipeline.
        source: of the model, for the error.

    Raises:
        InputError: with the file, and both sizes.
    """
    for path in sorted(folder.glob("*/config.json")):
        held = sum(_elements(file) for file in path.parent.glob("*.safetensors"))
        asked = _asked(path) if held else None
        if asked is not None and 4 * asked > 2 * 4 * held + _SLACK:
            where = path.relative_to(folder).as_posix()
            raise InputError(
                f"{where} of {source!r} asks for {4 * asked / 1e9:.3g} GB of weights, and the files beside "
                f"it hold {4 * held / 1e9:.3g}: one of them is another model's"
            )


def check_free(denoiser: Any, what: str) -> None:
    """Refuse to make weights that the machine has no memory for.

    Args:
        denoiser: built on ``meta``.
        what: it is called.

    Raises:
        InputError: with what is needed and what is free.
    """
    import psutil  # which accelerate brings

    needed, free = 4 * _count(denoiser), psutil.virtual_memory().available
    if needed > free:
        raise InputError(
            f"{what} needs {needed / 1e9:.3g} GB of memory for its weights, and {free / 1e9:.3g} are free"
        )


def _asked(path: Path) -> float | None:
    """Values that a configuration's class of diffusers has; ``None`` if that cannot be told."""
    import diffusers
    import torch

    try:
        config = json.loads(path.read_text("utf-8"))
        kind = getattr(diffusers, config["_class_name"])
        with torch.device("meta"):
            return _count(kind.from_config(config))
    except Exception as error:
        if "overflow" in str(error).lower():
            return float("inf")
        return None  # loading it will say what is wrong with it


def _count(module: Any) -> int:
    return sum(tensor.numel() for tensor in (*module.parameters(), *module.buffers()))


def _elements(file: Path) -> int:
    """Values that a file of safetensors says it holds; 0 if it is none."""
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            header = json.loads(opened.read(min(length, 100_000_000)))
        tensors = [about for name, about in header.items() if name != "__metadata__"]
        return sum(_product(about["shape"]) for about in tensors)
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError):
        return 0


def _product(shape: list[int]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total
