"""From what was typed to what an analysis takes; every mistake is one clear line."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from attnscope.errors import InputError
from attnscope.pipelines import SCHEDULERS, Model, precision_name
from attnscope.prompts import Prompt, count_too_long, read_captions, read_images, sample_prompts

_EMBEDDED_LIMIT = 64


def kinds(text: str) -> tuple[str, ...]:
    """``cross,self`` to a tuple."""
    from attnscope.sites import KINDS

    chosen = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not chosen or not set(chosen) <= set(KINDS):
        raise InputError(f"--kinds {text!r} is not known (choose from {', '.join(KINDS)})")
    return chosen


def scheduler(name: str | None) -> str | None:
    """A scheduler's short name, checked."""
    if name is not None and name not in SCHEDULERS:
        raise InputError(f"no such scheduler: {name!r} (choose {', '.join(SCHEDULERS)})")
    return name


def dtype(model: Model, name: str, device: str) -> str:
    """What ``auto`` comes to."""
    return precision_name(model, name, device)


def batch_size(text: str) -> int | None:
    """A positive number, or ``None`` for ``auto``."""
    if text == "auto":
        return None
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"--batch-size {text!r} is not 'auto' or a number from 1")
    return int(text)


def check_size(height: int | None, width: int | None) -> None:
    """Sizes that every model takes are multiples of 8."""
    for name, value in (("--height", height), ("--width", width)):
        if value is not None and value % 8:
            raise InputError(f"{name} {value} is not a multiple of 8 (choose {value // 8 * 8})")


def read(
    model: Model,
    captions: Path | None,
    images: Path | None,
    column: str | None,
    limit: int | None,
    seed: int,
) -> tuple[list[Prompt], list[Any], str]:
    """The prompts of a run, what the pipeline is given for each, and what they are called."""
    if model.task == "image":
        if images is None or captions is not None:
            raise InputError(f"{model.name} is conditioned on images: give --images FOLDER")
        named = sample_prompts(read_images(images), limit, seed)
        from PIL import Image

        return named, [Image.open(images / item.text).convert("RGB") for item in named], images.name
    if images is not None:
        raise InputError(f"{model.name} is conditioned on captions, not on --images")
    if captions is not None:
        prompts = sample_prompts(read_captions(captions, column), limit, seed)
        return prompts, [prompt.text for prompt in prompts], captions.name
    if model.name != "shapes":
        raise InputError(f"--captions FILE is needed: {model.name} brings no captions of its own")
    from attnscope.shapes.scenes import caption, generate

    count = _EMBEDDED_LIMIT if limit is None else limit
    if count < 1:
        raise InputError(f"--limit {count} is out of range: choose 1 or more")
    scenes = islice(generate("test", seed), count)
    prompts = [Prompt(index, caption(scene)) for index, scene in enumerate(scenes)]
    return prompts, [prompt.text for prompt in prompts], "shapes, test split"


def digest(prompts: Sequence[Prompt]) -> str:
    """SHA-256 over numbers and texts, the first twelve digits."""
    text = "\n".join(f"{prompt.prompt_id}\t{prompt.text}" for prompt in prompts)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def table(prompts: Sequence[Prompt]) -> pd.DataFrame:
    """Columns ``prompt_id`` and ``text``."""
    return pd.DataFrame([(p.prompt_id, p.text) for p in prompts], columns=["prompt_id", "text"])


def is_finished(path: Path, name: str) -> bool:
    """Whether a run directory holds a table already."""
    return (path / f"{name}.parquet").exists()


def check_sites(pipe: Any, kinds: Sequence[str], pattern: str | None) -> None:
    """Refuse a choice of sites that the pipeline does not have, before anything is written."""
    from attnscope.sites import find_denoiser, find_sites, select_sites

    select_sites(find_sites(find_denoiser(pipe)), kinds=kinds, pattern=pattern)


def warn_if_too_long(pipe: Any, prompts: Sequence[Prompt]) -> None:
    """Say how many captions the tokenizer will cut."""
    from attnscope.cli.console import messages

    count, longest = count_too_long(pipe, [prompt.text for prompt in prompts])
    if count:
        messages.print(
            f"warning: {count} of {len(prompts)} captions have more than {longest} tokens "
            "and are cut there"
        )
