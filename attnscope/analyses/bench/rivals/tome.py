"""Token merging, alone and under our T-GATE."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

from attnscope.analyses.bench.rivals.base import Call, Task, check_made_for, registered
from attnscope.errors import InputError

_RATIO = 0.5
_ABOUT = "half of the tokens where there are most"


@registered("tome", "ToMe", "tomesd", about=_ABOUT)
@contextlib.contextmanager
def tome(pipe: Any, task: Task) -> Iterator[Call]:
    """Merges where there are most tokens, as its authors do on Stable Diffusion."""
    check_made_for(pipe, "tomesd")
    stages = pipe.unet.config.down_block_types
    first = next((number for number, name in enumerate(stages) if "CrossAttn" in name), None)
    if first is None:
        raise InputError(
            "it merges tokens of transformer blocks, and the U-Net has none on its way down"
        )
    importlib.import_module("tomesd").apply_patch(pipe, ratio=_RATIO, max_downsample=2**first)
    yield pipe


@registered("tgate+tome", "T-GATE with ToMe", "tomesd", about=_ABOUT)
@contextlib.contextmanager
def tgate_tome(pipe: Any, task: Task) -> Iterator[Call]:
    """Ours over merged tokens."""
    from attnscope.hooks.accelerate import accelerate

    plan = task.t_gate
    with tome(pipe, task) as merging, accelerate(merging, plan):
        yield merging
