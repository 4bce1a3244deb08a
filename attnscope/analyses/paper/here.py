"""What a figure or table needs on the paper's models, and whether that is on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attnscope.analyses.paper.items import Item
from attnscope.analyses.paper.parts import MODELLESS, Part
from attnscope.analyses.paper.stand_ins import STAND_INS, shown
from attnscope.models.names import MODELS, describe, is_local

_DRIVER = Path("/proc/driver/nvidia/version")
_SETS = {
    "coco": "MS-COCO 2014 (--coco FOLDER)",
    "mjhq": "MJHQ-30K (--captions FILE --reference FOLDER)",
    "images": "images to begin with, such as SDXL's (--images FOLDER)",
    "opensora": "the prompts of OpenSora-Sample (--captions FILE)",
    "dpg": "DPG-Bench's dpg_bench.csv (--questions FILE)",
    "compbench": "examples/dataset of T2I-CompBench (--questions FOLDER)",
}


def missing_models(parts: Sequence[Part]) -> list[str]:
    """The paper's models that are not on this machine, each once."""
    wanted = dict.fromkeys(part.model for part in parts if part.command not in MODELLESS)
    return [name for name in wanted if name not in MODELS or not is_local(describe(name))]


def has_gpu() -> bool:
    """Whether there is an NVIDIA GPU with its driver; torch is not asked, which takes its time."""
    return _DRIVER.exists()


def needs_of(item: Item) -> list[tuple[str, bool | None]]:
    """What the paper's models need, and whether it is here; ``None`` for what a command has to be told.

    Args:
        item: a figure or table.
    """
    parts = [part for part in item.parts if part.command not in MODELLESS]
    missing = missing_models(parts)
    found: list[tuple[str, bool | None]] = [
        (f"weights of {model}", model not in missing)
        for model in dict.fromkeys(part.model for part in parts)
    ]
    if parts:
        found.append(("a GPU", has_gpu()))
    found += [(_SETS[name], None) for name in dict.fromkeys(p.dataset for p in parts if p.dataset)]
    return [*found, *((need, None) for need in item.needs)]


def runs_on(item: Item) -> str:
    """What makes it here: the paper's models, stand-ins, no model at all, or nothing."""
    parts = [part for part in item.parts if part.command not in MODELLESS]
    if not item.parts:
        return "text"
    if not parts:
        return "no model"
    if not missing_models(parts):
        return "the paper's models"
    return ", ".join(dict.fromkeys(shown(STAND_INS[part.model]) for part in parts))
