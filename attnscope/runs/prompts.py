"""The prompts of a run: captions or images of files, which of them to use, the seed of every image."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attnscope import captions
from attnscope.errors import InputError
from attnscope.images import ENDINGS, image_files


@dataclass(frozen=True)
class Prompt:
    """One caption; ``prompt_id`` is its 0-based position in the file it came from."""

    prompt_id: int
    text: str


def read_captions(path: Path, column: str | None = None) -> list[Prompt]:
    """Captions of a text file (one a line), COCO's own JSON, or a column of a table.

    Args:
        path: ``.json`` is read as COCO annotations or a list of records, ``.csv``, ``.tsv``,
            ``.parquet``, ``.jsonl`` and ``.ndjson`` as tables, anything else as UTF-8 text. Empty
            lines and cells are left out.
        column: of a table; not needed where it is the only one, or is called ``caption``,
            ``prompt`` or ``text``.

    Raises:
        InputError: the file is missing, empty or unreadable, or the column is not in it.
    """
    prompts = [
        Prompt(number, text) for number, text in enumerate(captions.read(path, column)) if text
    ]
    if not prompts:
        raise InputError(f"captions file {str(path)!r} holds no captions")
    return prompts


def read_images(folder: Path) -> list[Prompt]:
    """The images of a folder, in the order of their names; a prompt's text is a file name.

    Raises:
        InputError: the folder does not exist or holds no images.
    """
    names = [path.name for path in image_files(folder)]
    if not names:
        raise InputError(f"images folder {str(folder)!r} holds no images ({', '.join(ENDINGS)})")
    return [Prompt(index, name) for index, name in enumerate(names)]


def sample_prompts(prompts: Sequence[Prompt], limit: int | None, seed: int) -> list[Prompt]:
    """``limit`` of the prompts, drawn without replacement and left in their order.

    Args:
        prompts: to choose from.
        limit: how many; ``None`` is all.
        seed: of the draw.

    Raises:
        InputError: there are fewer, or ``limit`` is not positive.
    """
    if limit is None:
        return list(prompts)
    if not 1 <= limit <= len(prompts):
        raise InputError(f"`limit={limit}` is out of range: there are {len(prompts)} captions")
    chosen = np.random.default_rng(seed).choice(len(prompts), size=limit, replace=False)
    return [prompts[index] for index in sorted(chosen)]


def image_seed(seed: int, prompt_id: int, image: int = 0) -> int:
    """The seed of one image's own generator, from the run's seed and what the image is.

    Batch size, resuming and the number of workers change nothing.

    Args:
        seed: of the run.
        prompt_id: of the caption.
        image: 0-based number among the images of this caption.
    """
    return int(np.random.SeedSequence([seed, prompt_id, image]).generate_state(1, np.uint64)[0])


def count_too_long(pipe: Any, texts: Sequence[str]) -> tuple[int, int]:
    """How many texts a pipeline cuts, and after how many tokens.

    Args:
        pipe: a pipeline; without a tokenizer nothing is cut.
        texts: captions.
    """
    tokenizer = getattr(pipe, "tokenizer", None)
    if tokenizer is None:
        return 0, 0
    # Transformers with a T5 encoder take fewer tokens than their tokenizer would.
    parameter = inspect.signature(pipe.__call__).parameters.get("max_sequence_length")
    longest = tokenizer.model_max_length
    if parameter is not None and isinstance(parameter.default, int):
        longest = min(longest, parameter.default)
    encoded = tokenizer(list(texts), truncation=False, verbose=False).input_ids
    return sum(len(ids) > longest for ids in encoded), longest


def digest_of(prompts: Sequence[Prompt], given: Sequence[Any]) -> str:
    """SHA-256 over numbers, texts and what the pipeline is given, the first twelve digits."""
    total = hashlib.sha256()
    for prompt, item in zip(prompts, given, strict=True):
        total.update(f"{prompt.prompt_id}\t{prompt.text}\n".encode())
        if not isinstance(item, str):
            total.update(item.tobytes())
    return total.hexdigest()[:12]


def table_of(prompts: Sequence[Prompt]) -> pd.DataFrame:
    """Columns ``prompt_id`` and ``text``."""
    return pd.DataFrame([(p.prompt_id, p.text) for p in prompts], columns=["prompt_id", "text"])
