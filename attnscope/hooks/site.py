"""The hook on a module: how its output comes about, and putting the hook on and off.

There is one hook. It asks what the plan says, computes, computes and stores, or returns what was
stored; observers see what comes out, whichever way it came. Modules are hooked rather than their
processors, so LoRA, IP-Adapter, attention backends and custom processors keep working.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import pandas as pd
import torch
from diffusers.hooks import HookRegistry, ModelHook
from torch import Tensor, nn

from attnscope import versions
from attnscope.hooks.apart import Given, Own, SelfAdding, Whole
from attnscope.hooks.attending import Listening, check_heard
from attnscope.hooks.moments import Moment
from attnscope.hooks.observer import Observer
from attnscope.kinds import ACTING
from attnscope.plans.base import Action
from attnscope.plans.trajectory import Trajectory
from attnscope.sites.attention import Site

_NAME = "attnscope"
_COMPILED_WHOLE = (
    "attnscope acts between calls of modules, so a graph cannot span them: "
    "compile without fullgraph=True"
)

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


def left_out_of_graphs(function: AnyFunction) -> AnyFunction:
    """Keep compilers out of a function and of what it calls."""
    kept_out: AnyFunction = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
    return kept_out


def _between_graphs(function: AnyFunction) -> AnyFunction:
    """Keep compilers out of a function, but not of what it calls."""
    between: AnyFunction = versions.between_graphs(_COMPILED_WHOLE)(function)
    return between


class Conductor(Protocol):
    """What a hook asks at every call; :class:`attnscope.Trace` is one."""

    def before(self, hook: SiteHook, module: nn.Module, given: Given) -> Any | None:
        """The output of a call that need not be computed, or ``None``."""

    def listening(self, hook: SiteHook, module: nn.Module, given: Given) -> Listening | None:
        """What is to hear the attention of a call that is computed; ``None`` if nothing is."""

    def after(self, hook: SiteHook, module: nn.Module, given: Given, result: Any) -> Any:
        """The output of a call that was computed."""


@dataclass
class _Kept:
    """What a module added, the versions when stored, and the rows and the input of the call it is from.

    A result need not be laid out as its input is (Lumina's has a dimension of heads), so whether it
    fits a later call is told by the inputs of both. ``first`` is the first of the rows within the
    pipeline's batch; the mean of both branches is of neither, and ``None``.
    """

    own: Own
    rows: int
    given: tuple[int, ...]
    step: int
    first: int | None = 0
    versions: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.versions = tuple(map(_version, self.own))

    @property
    def unchanged(self) -> bool:
        """Whether nobody has written into it."""
        return self.versions == tuple(map(_version, self.own))


class SiteHook(ModelHook):  # type: ignore[misc]  # diffusers ships no types
    """The hook on one module, what it keeps and what it counts.

    What is kept is what the module adds to the stream that passes it (:mod:`attnscope.hooks.apart`);
    when it is reused, it is added to the fresh one.

    Args:
        site: the module's; the kind of attention is settled at the first call.
        conductor: who decides, and shows outputs to observers.
        way: how the module is taken apart.
    """

    def __init__(self, site: Site, conductor: Conductor, way: Whole) -> None:
        super().__init__()
        self.site, self.conductor, self.way = site, conductor, way
        self.settled = False
        self._trajectory: Trajectory | None = None
        self.actions: tuple[Action, ...] = ()
        self.last_reuses: frozenset[int] = frozenset()
        self._forecasts: frozenset[int] = frozenset()
        self._depth = 1
        self._averages = True
        self.watchers: tuple[Observer, ...] = ()
        self.computed = self.stored = self.reused = 0
        # A module's switches are its own, and others may call it from their threads.
        switches = isinstance(way, SelfAdding)
        self._alone = threading.RLock() if switches else contextlib.nullcontext()
        self._kept: dict[str | int, list[_Kept]] = {}
        self._last: dict[str | int, int] = {}

    # The module itself becomes a graph of its own, and no graph depends on the step.
    @_between_graphs
    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Stands in for the module's ``forward``."""
        given = args, kwargs
        with self._alone:
            output = self._before(module, given)
            if output is not None:
                return output
            result = self._computed(module, given)
            return self._after(module, given, result)

    @left_out_of_graphs
    def _before(self, module: nn.Module, given: Given) -> Any:
        return self.conductor.before(self, module, given)

    @left_out_of_graphs
    def _listening(self, module: nn.Module, given: Given) -> Listening | None:
        return self.conductor.listening(self, module, given)

    @_between_graphs
    def _computed(self, module: nn.Module, given: Given) -> Any:
        forward = self.fn_ref.original_forward
        listening = self._listening(module, given)
        if listening is None:
            return self.way.compute(module, forward, given)
        with listening:
            result = self.way.compute(module, forward, given)
        check_heard(self.site, module, listening)
        return result

    @left_out_of_graphs
    def _after(self, module: nn.Module, given: Given, result: Any) -> Any:
        return self.conductor.after(self, module, given, result)

    def settle(self, site: Site, observers: Sequence[Observer]) -> None:
        """The first call has shown what kind of site this is, and so what is to be done there.

        Args:
            site: of the kind that it really is.
            observers: of the ``Trace``; those among them that want the site will watch it.
        """
        self.site = site
        self.watchers = tuple(observer for observer in observers if observer.wants(site))
        assert self._trajectory is not None, "a run starts before any module is called"
        self.follow(self._trajectory)
        self.settled = True

    def follow(self, trajectory: Trajectory) -> None:
        """Do from now on what a trajectory says."""
        self._trajectory = trajectory
        self.actions = trajectory.actions(self.site)
        self.last_reuses = trajectory.last_reuses(self.site)
        steps = range(len(self.actions))
        self._forecasts = frozenset(n for n in steps if self.actions[n] is Action.FORECAST)
        self._depth = trajectory.depth(self.site)
        self._averages = trajectory.averages

    def forget(self) -> None:
        """Free what was stored."""
        self._kept.clear()
        self._last.clear()

    def store(
        self, own: Own, given: Tensor, moment: Moment, caller: str | int, *, copy: bool
    ) -> None:
        """Keep what a module added for later steps.

        Args:
            own: each ``[moment.rows * positions, ...]``.
            given: the module's input, ``[moment.rows * positions, ...]``.
            moment: of the call.
            caller: what tells the calls of a step apart.
            copy: whether the memory of ``own`` is not the module's to give away.

        Raises:
            RuntimeError: the module is called several times in one call of the denoiser.
        """
        if self._last.get(caller) == moment.step:
            raise RuntimeError(
                f"{self.site.name} is called several times in a step, so what it reuses would not be "
                "its own: this denoiser is not supported by plans that reuse it"
            )
        self._last[caller] = moment.step
        kept = tuple(
            part if part is None else part.detach().clone() if copy else part.detach()
            for part in own
        )
        newest = _Kept(kept, moment.rows, tuple(given.shape), moment.step, moment.first)
        self._kept[caller] = [*self._kept.get(caller, []), newest][-self._depth :]
        self.stored += 1

    def reuse(self, given: Tensor, moment: Moment, caller: str | int) -> Own:
        """What was stored, of the branch that stays or averaged over both if one was dropped since.

        At a step that forecasts, it is carried on over log-SNR, along the line through the last two that
        were stored or, by second differences, the parabola through the last three; where there are two
        alone it is the line, and where there is one alone, or no finite log-SNR, it is repeated.

        Raises:
            RuntimeError: nothing was stored, or what was does not fit the input.
        """
        stored = self._kept.get(caller)
        if not stored:
            raise RuntimeError(
                f"{self.site.name} is to reuse its output at step {moment.step}, but the pipeline "
                "did not call it at the step that stores it"
            )
        for place, kept in enumerate(stored):
            if not kept.unchanged:
                raise RuntimeError(
                    f"what {self.site.name} stored was changed in place by the model: this denoiser "
                    "is not supported by plans that reuse it"
                )
            if kept.rows == moment.batch != moment.rows:
                stored[place] = self._narrowed(kept, moment)
        if tuple(given.shape) != stored[-1].given:
            raise RuntimeError(
                f"{self.site.name} stored what it made of an input of {list(stored[-1].given)} and is "
                f"now called on {list(given.shape)}: the batch, the image or the guidance changed "
                "within a run"
            )
        if stored[-1].first not in (None, moment.first):
            raise RuntimeError(
                f"{self.site.name} stored what it made of one guidance branch and is now called on "
                "the other: compute it where the branch changes"
            )
        self.reused += 1
        if moment.step in self.last_reuses:
            del self._kept[caller]
        if moment.step in self._forecasts:
            return self._forecast(stored, moment.step)
        return stored[-1].own

    def _forecast(self, stored: Sequence[_Kept], step: int) -> Own:
        """On the line through the last two that were stored, or the parabola through the last three."""
        assert self._trajectory is not None, "what is stored is stored within a run"
        weight = 0.0
        if len(stored) > 1 and self._alike(*stored[-2:]):
            weight = self._trajectory.beyond(stored[-2].step, stored[-1].step, step)
        if weight == 0:
            return stored[-1].own
        pairs = zip(stored[-2].own, stored[-1].own, strict=True)
        line = tuple(
            last if before is None or last is None else torch.lerp(before, last, 1 + weight)
            for before, last in pairs
        )
        if len(stored) < 3 or not self._alike(*stored[-3:-1]):
            return line
        first, middle, last = stored[-3:]
        near, far = self._trajectory.bend((first.step, middle.step, last.step), step)
        outputs = zip(line, first.own, middle.own, last.own, strict=True)
        return tuple(
            on if on is None or y0 is None or y1 is None or y2 is None
            else on + near * (y2 - y1) - far * (y1 - y0)
            for on, y0, y1, y2 in outputs
        )  # fmt: skip

    @staticmethod
    def _alike(before: _Kept, last: _Kept) -> bool:
        """Whether two outputs are of the same branches and the same image."""
        branches = before.first is None or last.first is None or before.first == last.first
        return branches and before.given == last.given

    def _narrowed(self, kept: _Kept, moment: Moment) -> _Kept:
        """What was stored of both branches, as if from a call on the one that stays."""
        branches = moment.batch // moment.rows
        rows, *rest = kept.given
        if any(part is not None and len(part) != rows for part in kept.own):
            shapes = " and ".join(str(list(part.shape)) for part in kept.own if part is not None)
            raise RuntimeError(
                f"{self.site.name} made {shapes} of {list(kept.given)}: which rows of its output are "
                "of which guidance branch is not known, so plans that drop one while they reuse it "
                "are not supported by this denoiser"
            )

        def narrow(part: Tensor) -> Tensor:
            if self._averages:
                return torch.stack(part.chunk(branches)).mean(0)
            each = rows // kept.rows
            return part[moment.first * each : (moment.first + moment.rows) * each].clone()

        own = tuple(part if part is None else narrow(part) for part in kept.own)
        first = None if self._averages else moment.first
        return _Kept(own, moment.rows, (rows // branches, *rest), kept.step, first)


def counted(hooks: Sequence[SiteHook]) -> pd.DataFrame:
    """What the calls of hooked modules did so far, one row per kind.

    Args:
        hooks: one a site.

    Returns:
        The columns ``kind``, ``computed``, ``stored`` and ``reused``; see
        :meth:`attnscope.Trace.calls`.
    """
    rows = []
    for kind in ACTING:
        alike = [hook for hook in hooks if hook.site.kind == kind]
        if alike:
            counts = [(hook.computed, hook.stored, hook.reused) for hook in alike]
            rows.append((kind, *(sum(column) for column in zip(*counts, strict=True))))
    return pd.DataFrame(rows, columns=["kind", "computed", "stored", "reused"])


def _version(tensor: Tensor | None) -> int:
    """How often a tensor was changed in place; inference tensors do not count it."""
    return 0 if tensor is None or tensor.is_inference() else tensor._version


@contextlib.contextmanager
def hooked(module: nn.Module, hook: ModelHook) -> Iterator[None]:
    """Register a hook, and on leaving restore the module to the letter."""
    had_registry = hasattr(module, "_diffusers_hook")
    had_forward = "forward" in vars(module)
    registry = HookRegistry.check_if_exists_or_initialize(module)
    if _NAME in registry.hooks:
        raise RuntimeError(
            f"a {type(module).__name__} still carries a hook of an earlier Trace, which could not be "
            "taken out since its forward was replaced: load the pipeline anew"
        )
    registry.register_hook(hook, _NAME)
    installed = module.forward
    try:
        yield
    finally:
        _unhook(registry, hook, module, installed)
        if not registry.hooks:
            if not had_registry:
                del module._diffusers_hook
            if not had_forward:
                del module.forward


def _unhook(
    registry: HookRegistry, hook: ModelHook, module: nn.Module, installed: Callable[..., Any]
) -> None:
    """Take a hook out of its chain.

    ``HookRegistry.remove_hook`` disables a later hook that brings a ``new_forward`` of its own:
    it overwrites that one's ``forward`` where it should replace its ``original_forward``.
    """
    position = registry._hook_order.index(_NAME)
    later = registry._fn_refs[position + 1 :]
    if not later and module.forward is not installed:
        raise RuntimeError(
            f"{type(module).__name__}.forward was replaced inside a Trace, so the hook cannot be "
            "taken out: enable offloading and patches before the block"
        )
    if later and later[0].original_forward is not None:
        own_forward = later[0].forward
        previous = hook.fn_ref.original_forward
        registry.remove_hook(_NAME, recurse=False)
        later[0].forward, later[0].original_forward = own_forward, previous
    else:
        registry.remove_hook(_NAME, recurse=False)
