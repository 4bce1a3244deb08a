"""``Trace``: carries a plan out on a pipeline, and lets observers watch.

There is one code path: every attention call passes through :meth:`Trace.before` and
:meth:`Trace.after`, where the plan says how its output comes about and observers see it. The
denoiser's own call is where a guidance branch is dropped and where the text is replaced.
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
from torch import Tensor, nn

from attnscope.hooks import refusals
from attnscope.hooks.attention import (
    AttentionHook,
    attended_from,
    completed,
    hooked,
    left_out_of_graphs,
    needs_apart,
)
from attnscope.hooks.branches import narrowed, widened
from attnscope.hooks.clock import Clock
from attnscope.hooks.encodings import Encodings, put_on
from attnscope.hooks.moments import Denoising, Moment
from attnscope.hooks.null_text import NullText
from attnscope.hooks.observer import Observer
from attnscope.models.predictions import check_step
from attnscope.plans.base import Action, Baseline, Plan, Trajectory, made
from attnscope.plans.text_form import parse
from attnscope.sites.around import LATENTS, find_surroundings, given_latents, stream
from attnscope.sites.attention import (
    KINDS,
    Site,
    confirmed_kind,
    find_denoiser,
    find_sites,
    unwrapped,
)

_traced: weakref.WeakKeyDictionary[nn.Module, weakref.ref[Trace]] = weakref.WeakKeyDictionary()
"""Denoisers to the ``Trace`` on them, which their hooks keep alive."""


class Trace:
    """Watches and acts on the attention of a diffusers pipeline while the block runs.

    Inside the block call the pipeline as usual, once or many times. Without a plan images are
    bitwise what they are without a ``Trace``. Nothing is read back from the device inside the
    denoising loop, and after the block, however it ends, the pipeline is what it was before.

    Args:
        pipe: any diffusers pipeline with a ``unet`` or ``transformer`` and a ``scheduler``.
        plan: what attention, guidance and text do at every step, as a :class:`~attnscope.plans.base.Plan`
            or its text form such as ``"m=10,k=5"``; ``None`` computes everything.
        observers: what to measure; see :mod:`attnscope.observers`.

    Raises:
        InputError: the pipeline has no denoiser, no attention that an observer asks for, or cannot
            do what the plan wants; a run has fewer steps than the plan's gate.
        RuntimeError: on entering, if the pipeline is traced already or this ``Trace`` was used;
            inside, if the batch or the guidance changes within a run under a plan that acts.

    Example:
        >>> with Trace(pipe, plan=TGate(gate=10, interval=5), observers=[StepDistance()]) as trace:
        ...     pipe("an orange cat", num_inference_steps=25)
        >>> trace.records(), trace.calls()
    """

    def __init__(
        self, pipe: Any, *, plan: Plan | str | None = None, observers: Sequence[Observer] = ()
    ) -> None:
        self.pipe = pipe
        self.plan = Baseline() if plan is None else parse(plan)
        self.observers = tuple(observers)
        self.denoiser = find_denoiser(pipe)
        self.sites = find_sites(self.denoiser)
        self._surroundings = find_surroundings(self.denoiser, self.sites)
        refusals.check(self.plan, pipe, self.denoiser, self.sites)
        self._null_text = NullText(pipe) if self.plan.ever_reads_null() else None
        self._compiled = refusals.check_compiled(self.denoiser)
        self._model_keeps = refusals.model_keeps(self.denoiser, self.sites)
        self._clock = Clock(
            pipe,
            on_start=self._start,
            on_step=self._end_step,
            on_finish=self._finish,
            on_announce=self._check_denoiser,
        )
        self._control_rows: int | None = None
        self._times = 1
        self._encodings = Encodings(pipe)
        self._hooks: list[AttentionHook] = []
        self._trajectory: Trajectory | None = None
        self._announced_samples: int | None = None
        self._predictions: list[tuple[Moment, Tensor]] = []
        self._latent_watchers: tuple[Observer, ...] = ()
        self._given: Any = None
        self._undo = contextlib.ExitStack()
        self._entered = self._failed = False

    def __enter__(self) -> Trace:
        if self._entered:
            raise RuntimeError("this Trace was entered before: make a new one for another block")
        module = unwrapped(self.denoiser)
        if module in _traced:
            raise RuntimeError(
                "this pipeline is traced already: leave that Trace, or attnscope.disable(pipe), first"
            )
        self._entered = True
        with contextlib.ExitStack() as undo:
            _traced[module] = weakref.ref(self)
            undo.callback(_traced.pop, module)
            for observer in self.observers:
                observer.engage((*self.sites, *self._surroundings))
                undo.callback(observer.release)
            undo.callback(_forget_child_registries, self.denoiser)
            for site in self.sites:  # every one, since the first call may show another kind
                attention = module.get_submodule(site.name)
                apart = bool(self.plan.kinds) and site.kind != "joint" and needs_apart(attention)
                hook = AttentionHook(site, self, apart=apart)
                undo.enter_context(hooked(attention, hook))
                undo.callback(hook.forget)
                self._hooks.append(hook)
            for site in self._surroundings:
                undo.enter_context(self._watched(module, site))
            undo.enter_context(_contexts_heard(self.denoiser, self._clock.enter_context))
            undo.enter_context(self._encodings.listening())
            if self._null_text is not None:
                undo.enter_context(_samples_heard(self.pipe, self._hear_samples))
            control = getattr(self.pipe, "controlnet", None)
            if isinstance(control, nn.Module) and self.plan.ever_drops():
                heard = control.register_forward_pre_hook(self._hear_control, with_kwargs=True)
                undo.callback(heard.remove)
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
        self._failed = error is not None
        self.close()
        if self._failed:
            return
        if not self._clock.runs:
            warnings.warn(
                "this Trace saw no denoising: call its own pipeline inside the block", stacklevel=2
            )
            return
        silent = [hook.site.name for hook in self._hooks if not hook.settled]
        if silent:
            warnings.warn(
                f"{len(silent)} attention sites were never called, such as {silent[0]}: "
                "the pipeline did not use them",
                stacklevel=2,
            )

    def __reduce__(self) -> Any:
        """Refuse a copy: hooks of a denoiser that is copied would report to a ``Trace`` of nothing."""
        raise RuntimeError(
            f"a {type(unwrapped(self.denoiser)).__name__} on which there is a Trace or an "
            "acceleration cannot be copied or pickled: do it before, or disable it first"
        )

    def close(self) -> None:
        """Take every hook away, as leaving the block does; a second time does nothing."""
        self._predictions.clear()
        self._given = None
        self._undo.close()

    @property
    def runs(self) -> tuple[Denoising, ...]:
        """The calls of the pipeline so far; without observers only the last one is kept."""
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

    def calls(self) -> pd.DataFrame:
        """What attention calls did so far, over all runs.

        Returns:
            A row per kind of attention with the columns ``kind``, ``computed``, ``stored`` (a part
            of ``computed``) and ``reused``: calls of attention modules, each of which handles all
            guidance branches and samples that the denoiser is called on.
        """
        rows = []
        for kind in KINDS:
            hooks = [hook for hook in self._hooks if hook.site.kind == kind]
            if hooks:
                counts = [(hook.computed, hook.stored, hook.reused) for hook in hooks]
                rows.append((kind, *(sum(column) for column in zip(*counts, strict=True))))
        return pd.DataFrame(rows, columns=["kind", "computed", "stored", "reused"])

    def before(self, hook: AttentionHook, module: nn.Module, given: Tensor) -> Tensor | None:
        """The output of an attention call that the plan reuses, or ``None`` to compute it."""
        moment = self._clock.moment
        if not hook.settled or hook.actions[moment.step] is not Action.REUSE:
            return None
        if self._clock.is_elsewhere:
            return None
        output = hook.reuse(given, moment, self._clock.caller)
        if hook.apart:
            output = completed(module, output, given)
        self._show(hook, output)
        return output

    def after(
        self,
        hook: AttentionHook,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,
    ) -> Any:
        """Store what an attention module computed if the plan says so, and show it to observers."""
        if self._clock.is_elsewhere:
            return completed(module, result, attended_from(args, kwargs)) if hook.apart else result
        if not hook.settled:
            kind = confirmed_kind(hook.site, module, args, kwargs, result)
            hook.site = replace(hook.site, kind=kind)
            hook.watchers = tuple(o for o in self.observers if o.wants(hook.site))
            hook.follow(self._carried_out)
            hook.settled = True
        hook.computed += 1
        moment = self._clock.moment
        if hook.actions[moment.step] is Action.STORE:
            # Graphs on a GPU write into the same memory again.
            given = attended_from(args, kwargs)
            hook.store(result, given, moment, self._clock.caller, copy=self._compiled)
        if hook.apart:
            result = completed(module, result, attended_from(args, kwargs))
        if hook.watchers:
            self._show(hook, stream(hook.site, result, module, args, kwargs))
        return result

    def _show(self, hook: AttentionHook, seen: Tensor) -> None:
        for observer in hook.watchers:
            observer.see(hook.site, self._clock.moment, seen)

    @contextlib.contextmanager
    def _watched(self, denoiser: nn.Module, site: Site) -> Iterator[None]:
        """Show what a module beside attention returns, if an observer wants it."""
        watchers = tuple(observer for observer in self.observers if observer.wants(site))
        if site == LATENTS:
            self._latent_watchers = watchers
            yield
            return
        if not watchers:
            yield
            return

        @left_out_of_graphs
        def show(
            module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
        ) -> None:
            if self._clock.is_elsewhere:
                return
            seen = stream(site, output, module, args, kwargs)
            for observer in watchers:
                observer.see(site, self._clock.moment, seen)

        handle = denoiser.get_submodule(site.name).register_forward_hook(show, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    @property
    def _carried_out(self) -> Trajectory:
        assert self._trajectory is not None, "a run starts before any attention is called"
        return self._trajectory

    @left_out_of_graphs
    def _enter_denoiser(
        self, denoiser: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Drop a branch or replace the text if the plan says so."""
        first = _first_argument(args, kwargs)
        batch = _batch_size(args, kwargs)
        run = self._clock.begin_call(batch, tuple(getattr(first, "shape", ())))
        self._times = 1
        if run is None:
            return None
        if not run.steps_done and (self.observers or self.plan != Baseline()):
            run.reading.see(self._clock.moment.call, (args, kwargs))
        if self._latent_watchers and self._clock.moment.call == 0:
            self._given = first
        if self.plan == Baseline():
            return None
        moment, trajectory = self._clock.moment, self._carried_out
        if batch != run.batch(moment.call):
            raise RuntimeError(
                f"the denoiser's batch changed from {run.batch(moment.call)} to {batch} at step "
                f"{moment.step}: the guidance or the batch size changed within a run, which "
                f"{trajectory.plan} does not support"
            )
        if trajectory.text(moment.step) == "null" and self._null_text is not None:
            kwargs = self._null_text.put(kwargs, self._reading_rows(run, batch))
        if trajectory.drops and not isinstance(next(iter((*args, *kwargs.values()))), Tensor):
            raise RuntimeError(
                f"{type(self.pipe).__name__} passes its latents one by one, so {self.plan} cannot "
                "drop a guidance branch from the batch"
            )
        branches = trajectory.branches(moment.step)
        rows = run.rows_of(branches[0], batch) if len(branches) == 1 else None
        if rows is not None:
            if branches[0] == "uncond" and (self._control_rows or batch) < batch:
                raise RuntimeError(
                    "guess_mode shows the ControlNet to the conditional branch alone, and "
                    f"{self.plan} keeps the unconditional one: leave guess_mode out, or use "
                    "guidance-cutoff, which keeps the conditional one"
                )
            self._clock.narrow(rows)
            self._times = batch // self._clock.moment.rows
            args, kwargs = narrowed(args, batch, rows), narrowed(kwargs, batch, rows)
        return args, kwargs

    @left_out_of_graphs
    def _leave_denoiser(self, denoiser: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Give the pipeline as many rows as it asked for."""
        if self._clock.is_elsewhere:
            return None
        moment = self._clock.moment
        if any(observer.watches_noise for observer in self.observers):
            prediction = output[0] if isinstance(output, tuple) else output.sample
            self._predictions.append((moment, prediction))
        return None if self._times == 1 else widened(output, moment.rows, self._times)

    def _reading_rows(self, run: Denoising, batch: int) -> slice:
        """Rows of the conditional branch; at the first step from what the pipeline prepared."""
        samples = run.samples or self._announced_samples
        if samples is None:
            raise RuntimeError(
                "how many images are made is not known at the first step, and so where the "
                f"conditional branch stands: call {type(self.pipe).__name__} itself, or a plan that "
                "leaves the text of the first step alone"
            )
        return run.rows_of("cond", batch, samples) or slice(0, batch)

    def _hear_samples(self, latents: Any) -> None:
        first = latents[0] if isinstance(latents, tuple) else latents
        self._announced_samples = first.shape[0]

    def _hear_control(
        self, control: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._control_rows = _batch_size(args, kwargs)

    def _check_denoiser(self) -> None:
        """Refuse a denoiser that was put into the pipeline's place of the traced one."""
        if unwrapped(find_denoiser(self.pipe)) is not unwrapped(self.denoiser):
            raise RuntimeError(
                "the pipeline's denoiser was swapped inside a Trace: swap it before the block, or "
                "disable() the acceleration first"
            )

    def _start(self, run: Denoising) -> None:
        self._predictions.clear()
        run.reading = self._encodings.collected()
        refusals.check_caches(self.plan, self.denoiser)
        refusals.check_nothing_hides(self.denoiser, self.sites)
        self._compiled = refusals.check_compiled(find_denoiser(self.pipe))  # it may have been since
        if self._trajectory is None or self._trajectory.steps != run.steps:
            self._trajectory = made(self.plan, run.steps, kept=self._model_keeps)
            for hook in self._hooks:
                hook.follow(self._trajectory)
        for hook in self._hooks:
            hook.forget()
        if self._null_text is not None:
            self._null_text.forget()
        for observer in self.observers:
            observer.start(run, self.pipe.scheduler)

    def _end_step(self, moment: Moment, guided: Tensor, sample: Tensor) -> None:
        if moment.step == 0:
            self._check_layout(moment)
            self._announced_samples = None
            if self._clock.run is not None:
                self._clock.run.reading.drop_encodings()
        for observer in self._latent_watchers:
            there = Moment(moment.step, 0, len(sample), len(sample))
            observer.see(LATENTS, there, given_latents(self._given, sample))
        for observer in self.observers:
            if observer.watches_noise:
                check_step(self._clock.levels_apart)
                observer.end_step(moment.step, self._predictions, guided, sample)
        self._given = None
        self._predictions.clear()
        if self._clock.is_last_step:
            for hook in self._hooks:
                hook.forget()

    def _check_layout(self, moment: Moment) -> None:
        """Refuse guidance that the plan cannot handle, now that the first step has shown it."""
        run, trajectory = self._clock.run, self._carried_out
        if run is None or not (trajectory.drops or trajectory.reads_null):
            return
        if run.calls_per_step > 1:
            raise RuntimeError(
                f"{type(self.pipe).__name__} calls its denoiser {run.calls_per_step} times a step, "
                f"so no batch holds both guidance branches, which {self.plan} needs"
            )
        for branch in ("uncond", "cond"):
            run.rows_of(branch, moment.batch)

    def _finish(self, run: Denoising) -> None:
        for hook in self._hooks:
            hook.forget()
        self._check_reading(run)
        if not run.steps_done and run.calls_per_step and not self._failed:
            self._warn_of_no_step(run)
        if run.returned and not getattr(self.pipe, "interrupt", False):
            self._warn_of_idleness(run)
        if run.steps_done:
            self._warn_of_lost_sites()
        if not self.observers:
            del self._clock.runs[:-1]  # an acceleration may live for long
        with contextlib.ExitStack() as stack:  # all of them, even if one fails
            for observer in self.observers:
                stack.callback(observer.finish, run)

    def _check_reading(self, run: Denoising) -> None:
        """Refuse images that lost the wrong branch, should the text say so; see ``Denoising.halves``."""
        acted = self._trajectory is not None and (self._carried_out.drops or self._null_text)
        if not acted or run.pair is None or run.calls_per_step != 1:
            return
        told = run.reading.halves(0)
        if told is not None and run.batch(0) == 2 * (run.samples or 0) and told != run.pair:
            raise RuntimeError(
                f"{type(self.pipe).__name__} puts the branch {told[0]!r} first into its batch, "
                f"where {self.plan} took {run.pair[0]!r} for the first: what was made is wrong"
            )

    def _warn_of_no_step(self, run: Denoising) -> None:
        name = "a loop" if run.started_by is None else type(run.started_by).__name__
        warnings.warn(
            f"{name} called its denoiser {run.calls_per_step} times and never the step of its "
            f"{type(self.pipe.scheduler).__name__}, so no step ended: nothing was measured, and "
            f"{self.plan} was not carried out. A sampler of its own, or a copy of the scheduler, "
            "cannot be followed: call pipe.scheduler.step once a step",
            stacklevel=2,
        )

    def _warn_of_idleness(self, run: Denoising) -> None:
        """Say it when a plan had nothing to do."""
        plan = self._carried_out.plan
        gate = getattr(plan, "gate", 0)
        if 0 < run.steps_done < gate:
            warnings.warn(
                f"the run ended after {run.steps_done} steps, before the gate of {plan}: "
                "image-to-image and the like run fewer steps than they are asked for",
                stacklevel=2,
            )
        cuts = run.steps_done and self._carried_out.drops and not self.plan.kinds
        if cuts and not run.guided_steps:
            warnings.warn(f"there was no guidance that {self.plan} could cut off", stacklevel=2)

    def _warn_of_lost_sites(self) -> None:
        """Say it when the calls have shown that a plan has no site of a kind it was to act on."""
        settled = {hook.site.kind for hook in self._hooks if hook.settled}
        found = {site.kind for site in self.sites}
        lost = [kind for kind in self.plan.kinds if kind in found and kind not in settled]
        if settled and lost:
            warnings.warn(
                f"{self.plan} acts on {' and '.join(lost)}-attention, but when it was called the "
                f"attention of {type(unwrapped(self.denoiser)).__name__} turned out to be "
                f"{' and '.join(sorted(settled))}: nothing of kind {' or '.join(lost)} was reused",
                stacklevel=2,
            )


def _first_argument(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args[0] if args else kwargs.get("sample", kwargs.get("hidden_states"))


def _batch_size(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    first = _first_argument(args, kwargs)
    if isinstance(first, (list, tuple)):  # Z-Image passes one tensor per sample
        return len(first)
    if not isinstance(first, Tensor):
        raise RuntimeError(
            "the denoiser's first argument is not a batch of latents: unknown call layout"
        )
    return first.shape[0]


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

    with put_on(denoiser, "cache_context", cache_context):
        yield


@contextlib.contextmanager
def _samples_heard(pipe: Any, hear: Callable[[Any], None]) -> Iterator[None]:
    """Hear the latents that a pipeline prepares, which tell how many images it makes."""
    original = getattr(pipe, "prepare_latents", None)
    if original is None:
        yield
        return

    def prepare_latents(*args: Any, **kwargs: Any) -> Any:
        latents = original(*args, **kwargs)
        hear(latents)
        return latents

    with put_on(pipe, "prepare_latents", prepare_latents):
        yield


def disable(pipe: Any) -> None:
    """Take a ``Trace`` or an acceleration away from a pipeline, also where its handle is lost.

    Args:
        pipe: a pipeline; without one on it nothing happens.
    """
    found = _traced.get(unwrapped(find_denoiser(pipe)))
    trace = None if found is None else found()
    if trace is not None:
        trace.close()
