"""The hook on an attention module: how its output comes about, and putting the hook on and off.

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

from attnscope.hooks.moments import Moment
from attnscope.hooks.observer import Observer
from attnscope.kinds import KINDS
from attnscope.plans.base import Action
from attnscope.plans.trajectory import Trajectory
from attnscope.sites.attention import Site

_NAME = "attnscope"
_COMPILED_WHOLE = (
    "attnscope acts between attention calls, so a graph cannot span them: "
    "compile without fullgraph=True"
)

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


def left_out_of_graphs(function: AnyFunction) -> AnyFunction:
    """Keep compilers out of a function and of what it calls."""
    kept_out: AnyFunction = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
    return kept_out


def _between_graphs(function: AnyFunction) -> AnyFunction:
    """Keep compilers out of a function, but not of what it calls."""
    kept_out = torch.compiler.disable(recursive=False, reason=_COMPILED_WHOLE)  # type: ignore[no-untyped-call]
    between: AnyFunction = kept_out(function)
    return between


class Conductor(Protocol):
    """What a hook asks at every call; :class:`attnscope.Trace` is one."""

    def before(self, hook: AttentionHook, module: nn.Module, given: Tensor) -> Any | None:
        """The output of a call that need not be computed, or ``None``."""

    def after(
        self,
        hook: AttentionHook,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,
    ) -> Any:
        """The output of a call that was computed."""


@dataclass
class _Kept:
    """A stored result, its version when stored, and the rows and the input of the call it is from.

    A result need not be laid out as its input is (Lumina's has a dimension of heads), so whether it
    fits a later call is told by the inputs of both.
    """

    result: Tensor
    rows: int
    given: tuple[int, ...]
    version: int


class AttentionHook(ModelHook):  # type: ignore[misc]  # diffusers ships no types
    """The hook on one attention module, what it keeps and what it counts.

    What is kept is the module's result before its own residual connection and rescaling, which
    are applied to the fresh input when it is reused.

    Args:
        site: the module's; its kind is settled at the first call.
        conductor: who decides, and shows outputs to observers.
        apart: whether to take the residual connection and the rescaling apart from the result.
    """

    def __init__(self, site: Site, conductor: Conductor, *, apart: bool) -> None:
        super().__init__()
        self.site, self.conductor, self.apart = site, conductor, apart
        self.settled = False
        self._trajectory: Trajectory | None = None
        self.actions: tuple[Action, ...] = ()
        self.last_reuses: frozenset[int] = frozenset()
        self.watchers: tuple[Observer, ...] = ()
        self.computed = self.stored = self.reused = 0
        # A module's switches are its own, and others may call it from their threads.
        self._alone = threading.RLock() if apart else contextlib.nullcontext()
        self._kept: dict[str | int, _Kept] = {}
        self._last: dict[str | int, int] = {}

    # The attention itself becomes a graph of its own, and no graph depends on the step.
    @_between_graphs
    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Stands in for the module's ``forward``."""
        with self._alone:
            output = self._before(module, args, kwargs)
            if output is not None:
                return output
            with _taken_apart(module) if self.apart else contextlib.nullcontext():
                result = self.fn_ref.original_forward(*args, **kwargs)
            return self._after(module, args, kwargs, result)

    @left_out_of_graphs
    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.conductor.before(self, module, attended_from(args, kwargs))

    @left_out_of_graphs
    def _after(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> Any:
        return self.conductor.after(self, module, args, kwargs, result)

    def settle(self, site: Site, observers: Sequence[Observer]) -> None:
        """The first call has shown what kind of site this is, and so what is to be done there.

        Args:
            site: of the kind that it really is.
            observers: of the ``Trace``; those among them that want the site will watch it.
        """
        self.site = site
        self.watchers = tuple(observer for observer in observers if observer.wants(site))
        assert self._trajectory is not None, "a run starts before any attention is called"
        self.follow(self._trajectory)
        self.settled = True

    def follow(self, trajectory: Trajectory) -> None:
        """Do from now on what a trajectory says."""
        self._trajectory = trajectory
        self.actions = trajectory.actions(self.site)
        self.last_reuses = trajectory.last_reuses(self.site)

    def forget(self) -> None:
        """Free what was stored."""
        self._kept.clear()
        self._last.clear()

    def store(
        self, result: Tensor, given: Tensor, moment: Moment, caller: str | int, *, copy: bool
    ) -> None:
        """Keep a result for later steps.

        Args:
            result: ``[moment.rows * positions, ...]``.
            given: the module's input, ``[moment.rows * positions, ...]``.
            moment: of the call.
            caller: what tells the calls of a step apart.
            copy: whether the memory of ``result`` is not the module's to give away.

        Raises:
            RuntimeError: the module is called several times in one call of the denoiser.
        """
        if self._last.get(caller) == moment.step:
            raise RuntimeError(
                f"{self.site.name} is called several times in a step, so what it reuses would not be "
                "its own: this denoiser is not supported by plans that reuse attention"
            )
        self._last[caller] = moment.step
        result = result.detach().clone() if copy else result.detach()
        shape = tuple(given.shape)
        self._kept[caller] = _Kept(result, moment.rows, shape, _version(result))
        self.stored += 1

    def reuse(self, given: Tensor, moment: Moment, caller: str | int) -> Tensor:
        """What was stored, averaged over guidance branches if one was dropped since.

        Raises:
            RuntimeError: nothing was stored, or what was does not fit the input.
        """
        kept = self._kept.get(caller)
        if kept is None:
            raise RuntimeError(
                f"{self.site.name} is to reuse its output at step {moment.step}, but the pipeline "
                "did not call it at the step that stores it"
            )
        if _version(kept.result) != kept.version:
            raise RuntimeError(
                f"what {self.site.name} stored was changed in place by the model: this denoiser is "
                "not supported by plans that reuse attention"
            )
        if kept.rows == moment.batch != moment.rows:
            kept = self._kept[caller] = self._averaged(kept, moment)
        if tuple(given.shape) != kept.given:
            raise RuntimeError(
                f"{self.site.name} stored what it made of an input of {list(kept.given)} and is now "
                f"called on {list(given.shape)}: the batch or the image changed its size within a run"
            )
        self.reused += 1
        if moment.step in self.last_reuses:
            del self._kept[caller]
        return kept.result

    def _averaged(self, kept: _Kept, moment: Moment) -> _Kept:
        """The mean over guidance branches of what was stored, as if from a call on one of them."""
        branches = moment.batch // moment.rows
        rows, *rest = kept.given
        if len(kept.result) != rows:
            raise RuntimeError(
                f"{self.site.name} made {list(kept.result.shape)} of {list(kept.given)}: which rows "
                "of its output are of which guidance branch is not known, so plans that drop one "
                "while they reuse attention are not supported by this denoiser"
            )
        mean = torch.stack(kept.result.chunk(branches)).mean(0)
        return _Kept(mean, moment.rows, (rows // branches, *rest), _version(mean))


def counted(hooks: Sequence[AttentionHook]) -> pd.DataFrame:
    """What the calls of hooked modules did so far, one row per kind of attention.

    Args:
        hooks: one a site.

    Returns:
        The columns ``kind``, ``computed``, ``stored`` and ``reused``; see
        :meth:`attnscope.Trace.calls`.
    """
    rows = []
    for kind in KINDS:
        alike = [hook for hook in hooks if hook.site.kind == kind]
        if alike:
            counts = [(hook.computed, hook.stored, hook.reused) for hook in alike]
            rows.append((kind, *(sum(column) for column in zip(*counts, strict=True))))
    return pd.DataFrame(rows, columns=["kind", "computed", "stored", "reused"])


@contextlib.contextmanager
def _taken_apart(module: Any) -> Iterator[None]:
    """Switch a module's residual connection and rescaling off."""
    own = module.residual_connection, module.rescale_output_factor
    module.residual_connection, module.rescale_output_factor = False, 1.0
    try:
        yield
    finally:
        module.residual_connection, module.rescale_output_factor = own


def needs_apart(module: nn.Module) -> bool:
    """Whether an attention module adds its input to its result or rescales the sum itself."""
    residual: bool = getattr(module, "residual_connection", False)
    return residual or getattr(module, "rescale_output_factor", 1.0) != 1.0


def completed(module: Any, result: Tensor, given: Tensor) -> Tensor:
    """A result with the module's own residual connection and rescaling applied.

    Args:
        module: of a class that has both switches.
        result: as computed without them.
        given: the module's input.
    """
    if module.residual_connection:
        result = result + given
    rescaled: Tensor = result / module.rescale_output_factor
    return rescaled


def attended_from(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a module attends from."""
    given: Any = args[0] if args else kwargs.get("hidden_states")
    return given


def _version(tensor: Tensor) -> int:
    """How often a tensor was changed in place; inference tensors do not count it."""
    return 0 if tensor.is_inference() else tensor._version


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


def forget_child_registries(model: nn.Module) -> None:
    """Drop the list of hooked modules that diffusers keeps once ``cache_context`` was used."""
    registry = getattr(model, "_diffusers_hook", None)
    if registry is not None:
        registry.invalidate_child_registries_cache()
