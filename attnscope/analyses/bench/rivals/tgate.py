"""T-GATE by its authors' package, alone and over DeepCache."""

from __future__ import annotations

import contextlib
import copy
import importlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from attnscope.analyses.bench.rivals import deepcache
from attnscope.analyses.bench.rivals.base import Call, Task, check_made_for, registered
from attnscope.errors import InputError

_TRIED_STEPS = 20


@registered("tgate", "tgate", "tgate", by_plan=True, about="the authors' package")
@contextlib.contextmanager
def tgate(pipe: Any, task: Task) -> Iterator[Call]:
    """The authors' package."""
    from attnscope.families import of_pipeline

    yield _loaded(pipe, task, of_pipeline(pipe).tgate_loaders)


@registered(
    "tgate+deepcache", "T-GATE with DeepCache", "tgate", needs="DeepCache",
    about=f"by tgate; {deepcache.ABOUT}",
)  # fmt: skip
@contextlib.contextmanager
def tgate_deepcache(pipe: Any, task: Task) -> Iterator[Call]:
    """Both, as the authors of T-GATE combine them: the cache begins anew at the gate."""
    from attnscope.families import of_pipeline

    check_made_for(pipe, "DeepCache")
    loaders = of_pipeline(pipe).tgate_deepcache_loaders
    yield _loaded(pipe, task, loaders, **deepcache.SETTINGS)


def _loaded(pipe: Any, task: Task, loaders: Mapping[str, str], **options: Any) -> Call:
    name = type(pipe).__name__
    if name not in loaders:
        raise InputError(f"tgate has no loader for {name}")
    plan = task.t_gate
    scheduler = copy.deepcopy(pipe.scheduler)
    scheduler.set_timesteps(_TRIED_STEPS)
    if len(scheduler.timesteps) != _TRIED_STEPS:
        raise InputError(
            f"with {type(scheduler).__name__} tgate counts other steps than the scheduler makes: "
            "choose another `scheduler`"
        )
    loaded = getattr(importlib.import_module("tgate"), loaders[name])(pipe, **options)
    settings = {
        "gate_step": plan.gate,
        "sp_interval": plan.interval,
        "fi_interval": plan.late_interval,
        "warm_up": plan.warmup,
    }
    if not task.guided:
        if "lcm" not in inspect.signature(loaded.tgate).parameters:
            raise InputError(f"tgate cannot run {name} without guidance")
        settings["lcm"] = True
    return lambda *args, **kwargs: loaded.tgate(*args, **kwargs, **settings)
