"""What a rival is, what it is asked to do, and how it comes to be known by its name."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from attnscope.errors import InputError

if TYPE_CHECKING:
    from attnscope.plans.base import Plan
    from attnscope.plans.reuse import TGate

Call = Callable[..., Any]
"""Takes what the pipeline takes and returns what it returns."""


@dataclass(frozen=True)
class Task:
    """What a rival is to do.

    Args:
        plan: of T-GATE, for those that carry one out.
        guided: whether the model runs with guidance, so that a batch holds two branches.
        learned: what a rival found out about the pipeline in calls of before, and keeps here.
    """

    plan: Plan
    guided: bool = True
    learned: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def t_gate(self) -> TGate:
        """The plan, for rivals that carry out T-GATE and nothing else.

        Raises:
            InputError: it is another one.
        """
        from attnscope.plans.reuse import TGate

        if not isinstance(self.plan, TGate):
            raise InputError(f"it carries out plans of T-GATE, not {self.plan}")
        return self.plan


Start = Callable[[Any, Task], contextlib.AbstractContextManager[Call]]
"""Switches a rival on for a pipeline of its own, which is given up at the end."""


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
        caches: whether it is to leave attention out at some steps, so that it idles if it never does.
    """

    name: str
    package: str | None
    start: Start
    by_plan: bool = False
    by_values: bool = False
    about: str = ""
    needs: str | None = None
    caches: bool = False

    def version(self) -> str | None:
        """Of its package; ``None`` if it or what it needs is not installed."""
        from importlib import metadata

        with contextlib.suppress(metadata.PackageNotFoundError):
            if self.needs is not None:
                metadata.version(self.needs)
            return metadata.version(self.package or "diffusers")
        return None

    @contextlib.contextmanager
    def on(self, pipe: Any, task: Task, *, idling: bool = True) -> Iterator[Call]:
        """The rival at work, on a pipeline of its own that is given up at the end.

        Args:
            pipe: is left as it is.
            task: what it is to do.
            idling: whether a cache may leave nothing out. If not, attention is counted, which takes
                time, and the error comes at the end.

        Raises:
            InputError: its package is not installed, it is not made for the pipeline, or it idled.
        """
        if self.version() is None:
            wanted = " or ".join(filter(None, (self.package, self.needs)))
            raise InputError(f"{wanted} is not installed: pip install 'attnscope[rivals]'")
        made = twin(pipe)
        with contextlib.ExitStack() as stack:
            if self.caches and not idling:
                stack.enter_context(_refused_if_it_idles(made))
            yield stack.enter_context(self.start(made, task))


RIVALS: dict[str, Rival] = {}
"""By the names that they go by in settings and on the command line, in the order that they run in."""


def registered(
    key: str,
    name: str,
    package: str | None,
    *,
    about: str,
    by_plan: bool = False,
    by_values: bool = False,
    needs: str | None = None,
    caches: bool = False,
) -> Callable[[Start], Start]:
    """Make what starts a rival known to ``attnscope bench``.

    Args:
        key: what the rival goes by in settings and on the command line; of several at once, with ``+``.
        name: and all that follows as of :class:`Rival`.
        package: see there.
        about: see there.
        by_plan: see there.
        by_values: see there.
        needs: see there.
        caches: see there.

    Returns:
        A decorator that returns what it is given.

    Raises:
        ValueError: there is one of this key.
    """
    if key in RIVALS:
        raise ValueError(f"there are two rivals {key!r}")

    def register(start: Start) -> Start:
        RIVALS[key] = Rival(name, package, start, by_plan, by_values, about, needs, caches)
        return start

    return register


def in_order() -> None:
    """Sort the rivals: those of packages first, then several at once, then diffusers' own.

    Of a kind, what carries out the plan comes first, then by files and as they stand there.
    """

    def place(key: str) -> tuple[bool, bool, bool]:
        rival = RIVALS[key]
        return rival.package is None, "+" in key, not rival.by_plan

    known = {key: RIVALS[key] for key in sorted(RIVALS, key=place)}
    RIVALS.clear()
    RIVALS.update(known)


def twin(pipe: Any) -> Any:
    """Another pipeline over the same weights: what is patched on it, the first never sees."""
    from attnscope.sites.attention import find_denoiser

    module = find_denoiser(pipe)
    shared = [*module.parameters(), *module.buffers()]
    copied = copy.deepcopy(module, {id(tensor): tensor for tensor in shared})
    made = copy.copy(pipe)
    name = "unet" if getattr(pipe, "unet", None) is module else "transformer"
    setattr(made, name, copied)
    made.scheduler = copy.deepcopy(pipe.scheduler)
    return made


def check_made_for(pipe: Any, package: str) -> None:
    """Refuse pipelines whose family does not name a package among its rivals.

    Raises:
        InputError: it does not.
    """
    from attnscope.families import of_denoiser

    if package not in of_denoiser(getattr(pipe, "unet", None)).rivals:
        raise InputError(f"it is made for U-Nets of images, not for {type(pipe).__name__}")


@contextlib.contextmanager
def _refused_if_it_idles(pipe: Any) -> Iterator[None]:
    """Count how much attention each call of a denoiser computes.

    Diffusers' hooks and others stand around modules that are called all the same, so that what is
    counted is a layer inside each.

    Args:
        pipe: a pipeline that is given up afterwards.

    Raises:
        InputError: all of it at every call.
    """
    import torch

    from attnscope.sites.attention import find_denoiser, find_sites

    denoiser = find_denoiser(pipe)
    computed: list[int] = []

    def begin(*_: Any) -> None:
        computed.append(0)

    def count(*_: Any) -> None:
        computed[-1] += 1

    handles = [denoiser.register_forward_pre_hook(begin)]
    for site in find_sites(denoiser):
        layers = denoiser.get_submodule(site.name).modules()
        layer = next((layer for layer in layers if isinstance(layer, torch.nn.Linear)), None)
        if layer is not None:
            handles.append(layer.register_forward_pre_hook(count))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    if computed and min(computed) == max(computed):
        raise InputError(
            "it leaves nothing out here: every one of "
            f"{len(computed)} calls of the denoiser computes all attention"
        )
