"""DeepCache: the inner blocks of a U-Net are computed at every few steps."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

from attnscope.analyses.bench.rivals.base import Call, Task, check_made_for, registered

SETTINGS = {"cache_interval": 3, "cache_branch_id": 0}
ABOUT = "interval 3, branch 0"


@registered("deepcache", "DeepCache", "DeepCache", about=ABOUT)
@contextlib.contextmanager
def deepcache(pipe: Any, task: Task) -> Iterator[Call]:
    """On the pipeline itself."""
    check_made_for(pipe, "DeepCache")
    helper = importlib.import_module("DeepCache").DeepCacheSDHelper(pipe=pipe)
    helper.set_params(**SETTINGS)
    helper.enable()
    yield pipe
