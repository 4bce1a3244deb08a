"""What it would take to make a figure or table on the paper's models: command lines, images, arithmetic."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from attnscope.analyses.paper.items import Item
from attnscope.analyses.paper.parts import (
    MODELLESS,
    Data,
    Part,
    for_the_papers_models,
)
from attnscope.analyses.paper.published import models_of
from attnscope.models.names import MODELS, describe

COLUMNS = ("line", "model", "images", "macs", "note")
"""Of :func:`gpu_plan`."""
_PLACES = {
    "coco": Data(Path("$COCO/annotations/captions_val2014.json"), Path("$COCO/val2014")),
    "mjhq": Data(Path("$MJHQ/captions.txt"), Path("$MJHQ/images")),
    "images": Data(images=Path("$IMAGES")),
    "opensora": Data(Path("$PROMPTS")),
    "dpg": Data(questions="$DPG/dpg_bench.csv", vqa="$VQA"),
    "compbench": Data(questions="$COMPBENCH/examples/dataset", vqa="Salesforce/blip-vqa-base"),
}
"""Where data are, in a shell, unless it is said."""


def gpu_plan(item: Item, data: Data, limit: int | None) -> pd.DataFrame:
    """The lines that make a figure or table on the paper's models, and what each comes to.

    Args:
        item: a figure or table.
        data: where captions and images are; where nothing is said a variable of the shell stands for it.
        limit: captions; ``None`` is the paper's number.

    Returns:
        Columns :data:`COLUMNS`: ``images`` that are made, ``macs`` of all of them (multiply-accumulates, all that
        is computed, the denoiser alone; of an ablation at most), missing where nothing is made or known.
    """
    rows, clipped = [], models_of(item.name, "clip")
    for part in item.parts:
        runnable = part.command in MODELLESS or part.model in MODELS
        told = _told(part, data)
        if data.clip is None and part.model in clipped:
            told = replace(told, clip="$CLIP")
        line = line_of(for_the_papers_models(part, told, limit)) if runnable else ""
        images, macs = _amount(part, limit)
        note = (
            "" if runnable else f"{part.model} is no pipeline of diffusers: its costs are counted"
        )
        rows.append((line, part.model, images, macs, note))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"images": "Int64"})


def _told(part: Part, data: Data) -> Data:
    """Where data are: as it is said, or variables of a shell in its place."""
    place = _PLACES.get(part.dataset, Data())
    if part.asks:
        given = data.questions is not None
        return data if given else replace(data, questions=place.questions, vqa=place.vqa)
    if part.begins_with_images:
        return replace(data, images=data.images or place.images)
    if data.captions is not None:
        return data
    return replace(data, captions=place.captions, reference=place.reference)


def line_of(words: Sequence[str]) -> str:
    """A command line as a shell reads it; variables stay variables."""
    quoted = (f'"{word}"' if word.startswith("$") else shlex.quote(word) for word in words)
    return " ".join(["attnscope", *quoted])


def _amount(part: Part, limit: int | None) -> tuple[int | None, float]:
    """Images that a part makes and their multiply-accumulates."""
    if part.command in MODELLESS:
        return None, float("nan")
    prompts = len(part.prompts) or limit or part.images or 1
    ways = _ways(part)
    plans = [plan for plan in part.plans if plan] or ["baseline"] * part.arms
    each = [_macs(part, plan) for plan in plans]
    return prompts * len(plans) * ways, prompts * ways * sum(each)


def _ways(part: Part) -> int:
    """Runs that a part comes to, by lists of seeds and schedulers; those of steps are its arms."""
    options = dict(zip(part.options, part.options[1:], strict=False))
    listed = (options.get(name, "") for name in ("--seeds", "--scheduler"))
    ways = 1
    for text in listed:
        ways *= len(text.split(",")) if text else 1
    return ways if part.command != "ablate" else 1


def _macs(part: Part, plan: str) -> float:
    """Of an image, by the model's own architecture and number of steps."""
    from attnscope.cost.plans import cost_of
    from attnscope.cost.resolutions import counts_of
    from attnscope.errors import InputError

    steps = 250 if part.model == "opensora" else describe(part.model).steps
    options = dict(zip(part.options, part.options[1:], strict=False))
    asked = options.get("--steps", "")
    if asked.isdecimal():
        steps = int(asked)
    guided = not part.model.startswith("lcm-")
    try:
        return float(cost_of(counts_of(part.model), plan, steps, guided=guided).macs())
    except InputError:
        return float("nan")
