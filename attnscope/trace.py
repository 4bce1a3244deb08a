"""The hook on every attention module, and ``Trace``, which puts it there and takes it away.

There is one hook and one code path: the hook's ``new_forward`` decides how the module's output
comes about, and observers see that output. Modules are hooked rather than their processors, so
LoRA, IP-Adapter, attention backends and custom processors keep working, and the output is
measured as it is: no softmax is materialised, whatever kernel computes it.
"""

from __future__ import annotations

import contextlib
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

import pandas as pd
from diffusers.hooks import HookRegistry, ModelHook
from torch import Tensor, nn

from attnscope.clock import Clock, Moment, Run
from attnscope.observers import Observer
from attnscope.sites import Site, confirmed_kind, find_denoiser, find_sites, unwrapped

_HOOK = "attnscope"
_traced: weakref.WeakSet[nn.Module] = weakref.WeakSet()


class Trace:
    """Watches the attention of a diffusers pipeline while the block runs.

    Inside the block call the pipeline as usual, once or many times. Images are bitwise what they
    are without a ``Trace``, nothing is read back from the device inside the denoising loop, and
    after the block, however it ends, the pipeline is what it was before.

    Args:
        pipe: any diffusers pipeline with a ``unet`` or ``transformer`` and a ``scheduler``.
        observers: what to measure; see :mod:`attnscope.observers`.

    Raises:
        ValueError: the pipeline has no denoiser or no attention that an observer asks for.
        RuntimeError: on entering, if the pipeline is traced already or this ``Trace`` was used.

    Example:
        >>> with Trace(pipe, observers=[StepDistance()]) as trace:
        ...     pipe("an orange cat", num_inference_steps=25)
        >>> trace.records()
    """

    def __init__(self, pipe: Any, *, observers: Sequence[Observer] = ()) -> None:
        self.pipe = pipe
        self.denoiser = find_denoiser(pipe)
        self.sites = find_sites(self.denoiser)
        self.observers = tuple(observers)
        self._clock = Clock(
            pipe, on_start=self._start, on_step=self._end_step, on_finish=self._finish
        )
        self._hooks: list[AttentionHook] = []
        self._predictions: list[tuple[Moment, Tensor]] = []
        self._undo = contextlib.ExitStack()
        self._entered = False

    def __enter__(self) -> Trace:
        if self._entered:
            raise RuntimeError("this Trace was entered before: make a new one for another block")
        if self.denoiser in _traced:
            raise RuntimeError("this pipeline is traced already: leave that Trace first")
        self._entered = True
        with contextlib.ExitStack() as undo:
            _traced.add(self.denoiser)
            undo.callback(_traced.discard, self.denoiser)
            for observer in self.observers:
                observer.engage(self.sites)
            undo.callback(_forget_child_registries, self.denoiser)
            modules = dict(unwrapped(self.denoiser).named_modules())
            if any(observer.watches_sites for observer in self.observers):
                # Every site, since the first call may show that its kind is another.
                self._hooks = [AttentionHook(site, self) for site in self.sites]
            for hook in self._hooks:
                undo.enter_context(_hooked(modules[hook.site.name], hook))
            undo.enter_context(_contexts_heard(self.denoiser, self._clock.enter_context))
            before = self.denoiser.register_forward_pre_hook(self._enter_denoiser, with_kwargs=True)
            undo.callback(before.remove)
            after = self.denoiser.register_forward_hook(self._leave_denoiser)
            undo.callback(after.remove)
            self._clock.attach()
            undo.callback(self._clock.detach)
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._predictions.clear()
        self._undo.close()
        if error is not None:
            return
        if not self._clock.runs:
            warnings.warn(
                "this Trace saw no denoising: call its own pipeline inside the block", stacklevel=2
            )
            return
        silent = [hook.site.name for hook in self._hooks if hook.watchers is None]
        if silent:
            warnings.warn(
                f"{len(silent)} attention sites were never called, such as {silent[0]}: "
                "the pipeline did not use them",
                stacklevel=2,
            )

    @property
    def runs(self) -> tuple[Run, ...]:
        """The calls of the pipeline so far."""
        return tuple(self._clock.runs)

    def records(self, observer: Observer | None = None) -> pd.DataFrame:
        """What an observer measured, as a tidy table; of the only one where there is one.

        Inside the block, a run that is under way ends here as far as the table is concerned: call
        it when the pipeline has returned.

        Raises:
            ValueError: the observer is not of this ``Trace``, or none is named among several.
        """
        if observer is None:
            if len(self.observers) != 1:
                raise ValueError(
                    f"this Trace has {len(self.observers)} observers: name the one to read"
                )
            observer = self.observers[0]
        if observer not in self.observers:
            raise ValueError(f"{type(observer).__name__} is not an observer of this Trace")
        self._clock.finish()
        return observer.table()

    def attend(
        self, hook: AttentionHook, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Carry out one call of an attention module, and let observers see what it returns."""
        output = hook.fn_ref.original_forward(*args, **kwargs)
        if hook.watchers is None:
            kind = confirmed_kind(hook.site, module, args, kwargs, output)
            hook.site = replace(hook.site, kind=kind)
            hook.watchers = tuple(o for o in self.observers if o.wants(hook.site))
        if hook.watchers:
            seen = output[0] if isinstance(output, tuple) else output
            for observer in hook.watchers:
                observer.see(hook.site, self._clock.moment, seen)
        return output

    def _enter_denoiser(
        self, denoiser: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._clock.begin_call(_batch_size(args, kwargs))

    def _leave_denoiser(self, denoiser: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if any(observer.watches_noise for observer in self.observers):
            prediction = output[0] if isinstance(output, tuple) else output.sample
            self._predictions.append((self._clock.moment, prediction))

    def _start(self, run: Run) -> None:
        self._predictions.clear()
        for observer in self.observers:
            observer.start(run, self.pipe.scheduler)

    def _end_step(self, moment: Moment, guided: Tensor, sample: Tensor) -> None:
        for observer in self.observers:
            if observer.watches_noise:
                observer.end_step(moment.step, self._predictions, guided, sample)
        self._predictions.clear()

    def _finish(self, run: Run) -> None:
        with contextlib.ExitStack() as stack:  # all of them, even if one fails
            for observer in self.observers:
                stack.callback(observer.finish, run)


class AttentionHook(ModelHook):  # type: ignore[misc]  # diffusers ships no types
    """The one hook: hands every call of its module to the ``Trace``.

    Its site's kind, and who wants to see it, are settled at the first call.
    """

    def __init__(self, site: Site, trace: Trace) -> None:
        super().__init__()
        self.site, self.trace = site, trace
        self.watchers: tuple[Observer, ...] | None = None

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Stands in for the module's ``forward``."""
        return self.trace.attend(self, module, args, kwargs)


def _batch_size(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    first = args[0] if args else kwargs.get("sample", kwargs.get("hidden_states"))
    if isinstance(first, (list, tuple)):  # Z-Image passes one tensor per sample
        return len(first)
    if not isinstance(first, Tensor):
        raise RuntimeError(
            "the denoiser's first argument is not a batch of latents: unknown call layout"
        )
    return first.shape[0]


@contextlib.contextmanager
def _hooked(module: nn.Module, hook: ModelHook) -> Iterator[None]:
    """Register a hook, and on leaving restore the module to the letter."""
    had_registry = hasattr(module, "_diffusers_hook")
    had_forward = "forward" in vars(module)
    registry = HookRegistry.check_if_exists_or_initialize(module)
    registry.register_hook(hook, _HOOK)
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
    position = registry._hook_order.index(_HOOK)
    later = registry._fn_refs[position + 1 :]
    if not later and module.forward is not installed:
        raise RuntimeError(
            f"{type(module).__name__}.forward was replaced inside a Trace, so the hook cannot be "
            "taken out: enable offloading and patches before the block"
        )
    if later and later[0].original_forward is not None:
        own_forward = later[0].forward
        previous = hook.fn_ref.original_forward
        registry.remove_hook(_HOOK, recurse=False)
        later[0].forward, later[0].original_forward = own_forward, previous
    else:
        registry.remove_hook(_HOOK, recurse=False)


def _forget_child_registries(denoiser: nn.Module) -> None:
    """Drop the list of hooked modules that diffusers keeps once ``cache_context`` was used."""
    registry = getattr(unwrapped(denoiser), "_diffusers_hook", None)
    if registry is not None:
        registry.invalidate_child_registries_cache()


@contextlib.contextmanager
def _contexts_heard(denoiser: nn.Module, hear: Callable[[str | None], None]) -> Iterator[None]:
    """Hear the names that a pipeline gives its calls by ``denoiser.cache_context(name)``."""
    original = getattr(denoiser, "cache_context", None)
    if original is None:
        yield
        return

    @contextlib.contextmanager
    def cache_context(name: str, *args: Any, **kwargs: Any) -> Iterator[None]:
        hear(name)
        try:
            with original(name, *args, **kwargs):
                yield
        finally:
            hear(None)

    vars(denoiser)["cache_context"] = cache_context
    try:
        yield
    finally:
        vars(denoiser).pop("cache_context", None)
