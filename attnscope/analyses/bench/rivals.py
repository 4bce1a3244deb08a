"""What a user could pick instead of a plan, each through its own package, as its authors offer it.

Each runs on a pipeline of its own over the same weights, since some never unpatch. Nothing of them
is imported before it is asked for; one that cannot run says why.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from attnscope.errors import InputError
from attnscope.families import of_denoiser, of_pipeline
from attnscope.plans.base import Plan
from attnscope.plans.reuse import TGate
from attnscope.sites.attention import find_denoiser

Call = Callable[..., Any]
"""Takes what the pipeline takes and returns what it returns."""

_DEEPCACHE = {"cache_interval": 3, "cache_branch_id": 0}
_TOME_RATIO = 0.5
_TRIED_STEPS = 20


@dataclass(frozen=True)
class Task:
    """What a rival is to do.

    Args:
        plan: of T-GATE, for those that carry one out.
        guided: whether the model runs with guidance, so that a batch holds two branches.
    """

    plan: Plan
    guided: bool = True


@dataclass(frozen=True)
class Rival:
    """Another way to make a pipeline faster.

    Args:
        name: what it is called in tables.
        package: that it comes from, or ``None`` for diffusers' own.
        start: switches it on for a pipeline of its own.
        by_plan: whether it carries the plan out, so that the plan's ideal is its own.
        by_values: whether what it skips depends on what the model computes.
        about: its settings, in words.
        needs: another package that has to be there.
    """

    name: str
    package: str | None
    start: Callable[[Any, Task], contextlib.AbstractContextManager[Call]]
    by_plan: bool = False
    by_values: bool = False
    about: str = ""
    needs: str | None = None

    def version(self) -> str | None:
        """Of its package; ``None`` if it or what it needs is not installed."""
        with contextlib.suppress(metadata.PackageNotFoundError):
            if self.needs is not None:
                metadata.version(self.needs)
            return metadata.version(self.package or "diffusers")
        return None

    @contextlib.contextmanager
    def on(self, pipe: Any, task: Task) -> Iterator[Call]:
        """The rival at work, on a pipeline of its own that is given up at the end.

        Args:
            pipe: is left as it is.
            task: what it is to do.

        Raises:
            InputError: its package is not installed, or it is not made for the pipeline.
        """
        if self.version() is None:
            wanted = " or ".join(filter(None, (self.package, self.needs)))
            raise InputError(f"{wanted} is not installed: pip install 'attnscope[rivals]'")
        with self.start(twin(pipe), task) as call:
            yield call


def twin(pipe: Any) -> Any:
    """Another pipeline over the same weights: what is patched on it, the first never sees."""
    module = find_denoiser(pipe)
    shared = [*module.parameters(), *module.buffers()]
    copied = copy.deepcopy(module, {id(tensor): tensor for tensor in shared})
    made = copy.copy(pipe)
    name = "unet" if getattr(pipe, "unet", None) is module else "transformer"
    setattr(made, name, copied)
    made.scheduler = copy.deepcopy(pipe.scheduler)
    return made


@contextlib.contextmanager
def _tgate(pipe: Any, task: Task) -> Iterator[Call]:
    """The authors' package."""
    yield _loaded(pipe, task, of_pipeline(pipe).tgate_loaders)


@contextlib.contextmanager
def _tgate_deepcache(pipe: Any, task: Task) -> Iterator[Call]:
    """Both, as the authors of T-GATE combine them: the cache begins anew at the gate."""
    _check_made_for(pipe, "DeepCache")
    yield _loaded(pipe, task, of_pipeline(pipe).tgate_deepcache_loaders, **_DEEPCACHE)


def _loaded(pipe: Any, task: Task, loaders: Mapping[str, str], **options: Any) -> Call:
    name = type(pipe).__name__
    if name not in loaders:
        raise InputError(f"tgate has no loader for {name}")
    plan = _t_gate(task)
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


def _t_gate(task: Task) -> TGate:
    if not isinstance(task.plan, TGate):
        raise InputError(f"it carries out plans of T-GATE, not {task.plan}")
    return task.plan


@contextlib.contextmanager
def _deepcache(pipe: Any, task: Task) -> Iterator[Call]:
    _check_made_for(pipe, "DeepCache")
    helper = importlib.import_module("DeepCache").DeepCacheSDHelper(pipe=pipe)
    helper.set_params(**_DEEPCACHE)
    helper.enable()
    yield pipe


@contextlib.contextmanager
def _tome(pipe: Any, task: Task) -> Iterator[Call]:
    """Merges where there are most tokens, as its authors do on Stable Diffusion."""
    _check_made_for(pipe, "tomesd")
    stages = pipe.unet.config.down_block_types
    first = next((number for number, name in enumerate(stages) if "CrossAttn" in name), None)
    if first is None:
        raise InputError(
            "it merges tokens of transformer blocks, and the U-Net has none on its way down"
        )
    importlib.import_module("tomesd").apply_patch(pipe, ratio=_TOME_RATIO, max_downsample=2**first)
    yield pipe


@contextlib.contextmanager
def _tgate_tome(pipe: Any, task: Task) -> Iterator[Call]:
    """Ours over merged tokens."""
    from attnscope.hooks.accelerate import accelerate

    plan = _t_gate(task)
    with _tome(pipe, task) as merging, accelerate(merging, plan):
        yield merging


def _check_made_for(pipe: Any, package: str) -> None:
    if package not in of_denoiser(getattr(pipe, "unet", None)).rivals:
        raise InputError(f"it is made for U-Nets of images, not for {type(pipe).__name__}")


def cached(config: Callable[[Any, Task], Any]) -> Callable[..., Any]:
    """One of the caches of diffusers.

    Args:
        config: makes its settings for a pipeline and what is to be done.
    """

    @contextlib.contextmanager
    def start(pipe: Any, task: Task) -> Iterator[Call]:
        denoiser: Any = find_denoiser(pipe)
        if not hasattr(denoiser, "enable_cache"):
            raise InputError(f"diffusers offers no caches for {type(denoiser).__name__}")
        denoiser.enable_cache(config(pipe, task))
        yield pipe

    return start


def _broadcast(pipe: Any, task: Task) -> Any:
    import diffusers

    return diffusers.PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2,
        temporal_attention_block_skip_range=4,
        cross_attention_block_skip_range=6,
        current_timestep_callback=lambda: pipe.current_timestep,
    )


def _faster(pipe: Any, task: Task) -> Any:
    import diffusers

    video = "3D" in type(find_denoiser(pipe)).__name__
    return diffusers.FasterCacheConfig(
        spatial_attention_block_skip_range=2,
        temporal_attention_block_skip_range=2 if video else None,
        tensor_format="BCFHW" if video else "BCHW",
        attention_weight_callback=lambda _: 0.3,
        current_timestep_callback=lambda: pipe.current_timestep,
        is_guidance_distilled=not task.guided,
    )


def _first_block(pipe: Any, task: Task) -> Any:
    import diffusers

    return diffusers.FirstBlockCacheConfig(threshold=0.05)


RIVALS: dict[str, Rival] = {
    "tgate": Rival("tgate", "tgate", _tgate, by_plan=True, about="the authors' package"),
    "deepcache": Rival("DeepCache", "DeepCache", _deepcache, about="interval 3, branch 0"),
    "tome": Rival("ToMe", "tomesd", _tome, about="half of the tokens where there are most"),
    "tgate+deepcache": Rival(
        "T-GATE with DeepCache", "tgate", _tgate_deepcache, about="by tgate; interval 3, branch 0",
        needs="DeepCache",
    ),
    "tgate+tome": Rival("T-GATE with ToMe", "tomesd", _tgate_tome, about="half of the tokens where there are most"),
    "pab": Rival(
        "Pyramid Attention Broadcast", None, cached(_broadcast),
        about="spatial 2, temporal 4, cross 6, at timesteps 100 to 800",
    ),
    "fastercache": Rival("FasterCache", None, cached(_faster), about="spatial and temporal 2, the unconditional branch in 1 of 5 steps, below timestep 681 and 641"),
    "firstblock": Rival(
        "first-block cache", None, cached(_first_block), by_values=True, about="threshold 0.05"
    ),
}  # fmt: skip
"""By the names that they go by in settings and on the command line."""
