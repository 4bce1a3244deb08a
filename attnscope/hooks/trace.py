"""``Trace``: carries a plan out on a pipeline, and lets observers watch.

There is one code path. Every call of attention, and of other modules that a plan acts on or an observer
watches, passes through :meth:`Trace.before` and :meth:`Trace.after`; the denoiser's own call, where a guidance branch is dropped and the text is
replaced, through :class:`~attnscope.hooks.denoiser.DenoiserHook`.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from torch import Tensor, nn

from attnscope import versions
from attnscope.hooks import refusals, shortfalls
from attnscope.hooks.apart import Given, first_of, way_of
from attnscope.hooks.attending import Listening, attention_of, rows_of_kernel
from attnscope.hooks.clock import Clock
from attnscope.hooks.denoiser import DenoiserHook
from attnscope.hooks.display import as_html, as_line
from attnscope.hooks.encodings import Encodings
from attnscope.hooks.moments import Denoising, Moment
from attnscope.hooks.observer import Observer, as_observers
from attnscope.hooks.site import SiteHook, counted, hooked
from attnscope.hooks.weighting import Weighting
from attnscope.kinds import KINDS
from attnscope.models.schedulers import first_step, levels_of
from attnscope.notices import warn
from attnscope.plans.base import Action, Baseline, Plan
from attnscope.plans.options import Levels
from attnscope.plans.text_form import parse
from attnscope.plans.trajectory import Trajectory, made
from attnscope.sites.around import LATENTS, stream
from attnscope.sites.attention import Site, confirmed_kind, find_denoiser, unwrapped
from attnscope.sites.denoiser import Denoiser

_traced: weakref.WeakKeyDictionary[nn.Module, weakref.ref[Trace]] = weakref.WeakKeyDictionary()
"""Denoisers to the ``Trace`` on them, which their hooks keep alive."""


class Trace:
    """Watches and acts on the attention of a diffusers pipeline while the block runs.

    Inside the block call the pipeline as usual, once or many times. Without a plan images are
    bitwise what they are without a ``Trace``. Nothing is read back from the device inside the
    denoising loop, and after the block, however it ends, the pipeline is what it was before.

    What happens to one call of a module:

    1. Its :class:`~attnscope.hooks.site.SiteHook` asks :meth:`before`. The clock knows
       which run, step and guidance branch the call belongs to; calls of others pass untouched.
    2. Where the plan reuses the site's contribution at this step, or forecasts it, it comes from what
       was stored; if a guidance branch was dropped since, from that of the branch that stays or, as in
       T-GATE, from the mean of both. Steps 3 to 5 are left out.
    3. Else the module computes. Attention that adds its input to its result or rescales the sum has
       both switched off, if the plan acts: they hold for the fresh input alone. Where the plan scales
       attention to words, or an observer asks what it is paid to, queries, keys and mask are met on
       their way into the kernel (:mod:`attnscope.hooks.attending`).
    4. The hook hands the result to :meth:`after`. The first call shows of which kind of attention the
       site really is, and with it what the plan does there and which observers watch.
    5. Where the plan stores it, the contribution is kept for later steps: of a block, what it returned
       less what came in.
    6. What passes the module by, and what was switched off in step 3, is added to a contribution that
       was reused (:mod:`attnscope.hooks.apart`).
    7. Observers see the image's part of the output, whichever way it came about.

    Args:
        pipe: any diffusers pipeline with a ``unet`` or ``transformer`` and a ``scheduler``.
        plan: what modules, guidance and text do at every step, as a :class:`~attnscope.plans.base.Plan`,
            its text form such as ``"m=10,k=5"`` or its file, ``"plan.json"``; ``None`` computes everything.
        observers: what to measure; see :mod:`attnscope.observers`.

    Raises:
        InputError: an observer is none; the pipeline has no denoiser, no attention that an observer
            asks for, or cannot do what the plan wants; a run has fewer steps than the plan's gate.
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
        self.observers = as_observers(observers)
        self._of = Denoiser.of(pipe)
        self.denoiser, self.sites = self._of.outer, self._of.sites
        refusals.check(self.plan, pipe, self._of)
        self._clock = Clock(
            pipe,
            on_announce=functools.partial(refusals.check_not_swapped, pipe, self._of),
            on_start=self._start,
            on_step=self._end_step,
            on_finish=self._finish,
        )
        self._compiled = refusals.check_compiled(self.denoiser)
        self._weighs = self.plan.ever_weighs()
        self._attends = self._weighs or any(o.watches_attention for o in self.observers)
        self._denoiser_hook = DenoiserHook(
            pipe, self._of, self.plan, self.observers, self._clock, attends=self._attends
        )
        refusals.check_attends(self._attends, self._compiled)
        self._model_keeps = refusals.model_keeps(self._of)
        self._encodings = Encodings(pipe)
        self._hooks: list[SiteHook] = []
        self._trajectory: Trajectory | None = None
        self._weighting: Weighting | None = None
        self._undo = contextlib.ExitStack()
        self._entered = self._failed = False

    def __enter__(self) -> Trace:
        if self._entered:
            raise RuntimeError("this Trace was entered before: make a new one for another block")
        module = self._of.module
        if other := _trace_on(module):
            raise RuntimeError(
                f"this pipeline is traced already, by {other!r}: attnscope.disable(pipe) takes it off"
            )
        self._entered = True
        with contextlib.ExitStack() as undo:
            _traced[module] = weakref.ref(self)
            undo.callback(_traced.pop, module)
            for observer in self.observers:
                observer.engage((*self.sites, *self._of.around))
                undo.callback(observer.release)
            undo.callback(versions.forget_child_registries, module)
            for site in self._hooked:
                module_there = self._of.submodule(site)
                hook = SiteHook(site, self, way_of(site, module_there, acts=bool(self.plan.kinds)))
                undo.enter_context(hooked(module_there, hook))
                self._hooks.append(hook)
            undo.enter_context(self._encodings.listening())
            undo.enter_context(self._denoiser_hook.hooked())
            undo.callback(self._forget)
            self._clock.attach()
            undo.callback(self._clock.detach)
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: object
    ) -> None:
        self._failed = error is not None
        self.close()
        if not self._failed:
            shortfalls.warn_of_block(self.runs, self._hooks)

    def close(self) -> None:
        """Take every hook away, as leaving the block does; a second time does nothing."""
        self._undo.close()

    @property
    def _hooked(self) -> tuple[Site, ...]:
        """All attention, since the first call may show another kind, and what else is acted on or watched.

        The latents are no module's: the hook on the denoiser shows them.
        """
        wanted = (
            site
            for site in self._of.around
            if site != LATENTS
            and (site.kind in self.plan.kinds or any(o.wants(site) for o in self.observers))
        )
        return *self.sites, *wanted

    def before(self, hook: SiteHook, module: nn.Module, given: Given) -> Any | None:
        """The output of a call that the plan leaves out, or ``None`` to compute it."""
        moment = self._clock.moment
        computes = not hook.settled or hook.actions[moment.step].computes
        if computes or self._clock.is_elsewhere:
            return None
        own = hook.reuse(first_of(*given), moment, self._clock.caller)
        output = hook.way.completed(module, own, given)
        self._show(hook, module, given, output)
        return output

    def listening(self, hook: SiteHook, module: nn.Module, given: Given) -> Listening | None:
        """What is to hear the attention of a call that is computed; ``None`` if nothing is."""
        if not self._attends or self._clock.is_elsewhere or hook.site.kind not in KINDS:
            return None
        site = hook.site
        if not hook.settled:
            site = replace(site, kind=confirmed_kind(site, module, *given, None))
        moment, run = self._clock.moment, self._clock.run
        wanted = hook.watchers if hook.settled else [o for o in self.observers if o.wants(site)]
        watching = [observer for observer in wanted if observer.watches_attention]
        assert run is not None, "a call of the pipeline's is of a run"
        weights = self._weights(moment.step)
        weights = {} if site.kind == "self" else weights
        if not (watching or weights):
            return None
        text = given[1].get("encoder_hidden_states")
        text = text[0] if isinstance(text, tuple) else text  # image prompts stand behind it
        length = run.layout.text if text is None else text.shape[1]

        def heard(query: Tensor, key: Tensor, mask: Tensor | None, scale: float) -> Tensor | None:
            made = attention_of(query, key, mask, scale, site=site, denoiser=self._of, text=length)
            made = replace(made, rows=rows_of_kernel(module, moment.rows))
            changed = None
            if weights and self._weighting is not None:
                changed = self._weighting.mask(made, moment, weights)
            for observer in watching:
                observer.attend(
                    site, moment, made if changed is None else replace(made, mask=changed)
                )
            return changed

        return Listening(heard, length if site.kind == "cross" else None)

    def _weights(self, step: int) -> Mapping[str, float]:
        """By what the plan scales attention to words at a step."""
        carried_out = self._trajectory
        return {} if carried_out is None or not self._weighs else carried_out.plan.weights(step)

    def after(self, hook: SiteHook, module: nn.Module, given: Given, result: Any) -> Any:
        """Store what a module computed if the plan says so, and show it to observers."""
        output = hook.way.output(module, result, given)
        if self._clock.is_elsewhere:
            return output
        if not hook.settled:
            kind = hook.site.kind
            if kind in KINDS:
                kind = confirmed_kind(hook.site, module, *given, result)
            hook.settle(replace(hook.site, kind=kind), self.observers)
        hook.computed += 1
        moment = self._clock.moment
        if hook.actions[moment.step] is Action.STORE:
            # Graphs on a GPU write into the same memory again.
            own = hook.way.own(module, result, given)
            hook.store(own, first_of(*given), moment, self._clock.caller, copy=self._compiled)
        self._show(hook, module, given, output)
        return output

    def _show(self, hook: SiteHook, module: nn.Module, given: Given, output: Any) -> None:
        if hook.watchers:
            seen = stream(hook.site, output, module, *given)
            for observer in hook.watchers:
                observer.see(hook.site, self._clock.moment, seen)

    @property
    def _all_hooks(self) -> tuple[SiteHook | DenoiserHook, ...]:
        return *self._hooks, self._denoiser_hook

    def _start(self, run: Denoising) -> None:
        run.reading = self._encodings.collected()
        self._weighting = Weighting(self.pipe, run, self._encodings.asked) if self._weighs else None
        self._compiled = refusals.check_run(self.plan, self.pipe, self._of)
        refusals.check_attends(self._attends, self._compiled)
        levels, before = self._levels(run), self._trajectory
        if before is None or (before.steps, before.levels) != (run.steps, levels):
            self._trajectory = made(self.plan, run.steps, kept=self._model_keeps, levels=levels)
            for hook in self._all_hooks:
                hook.follow(self._trajectory)
            if self._weighs and not any(map(self._weights, range(run.steps))):
                warn(f"{self.plan} scales attention to words at none of these {run.steps} steps")
        self._forget()
        for observer in self.observers:
            observer.start(run, self.pipe.scheduler)

    def _levels(self, run: Denoising) -> Levels:
        """Log-SNR at every step of the run that begins, for a plan that does anything.

        A run that starts late, as image-to-image does, has its steps from there on.
        """
        if self.plan == Baseline():
            return None
        found = levels_of(self.pipe.scheduler)
        if found is None:
            return None
        own = found[first_step(self.pipe.scheduler, run.started_by) :]
        return (*own, *(found[-1:] * (run.steps - len(own))))

    def _end_step(self, moment: Moment, guided: Tensor, sample: Tensor) -> None:
        self._denoiser_hook.end_step(moment, guided, sample)
        if self._clock.is_last_step:
            self._forget()

    def _finish(self, run: Denoising) -> None:
        self._forget()
        self._denoiser_hook.check_images(run)
        if not self._failed:
            shortfalls.warn_of_no_step(run, self.plan, self.pipe.scheduler)
        if self._trajectory and run.returned and not getattr(self.pipe, "interrupt", False):
            shortfalls.warn_of_idleness(run, self._trajectory, self.plan)
        if run.steps_done:
            shortfalls.warn_of_lost_sites(self.plan, self._of, self._hooks)
        if not self.observers:
            del self._clock.runs[:-1]  # an acceleration may live for long
        with contextlib.ExitStack() as stack:  # all of them, even if one fails
            for observer in self.observers:
                stack.callback(observer.finish, run)

    def _forget(self) -> None:
        for hook in self._all_hooks:
            hook.forget()

    @property
    def runs(self) -> tuple[Denoising, ...]:
        """The calls of the pipeline so far; without observers only the last one is kept."""
        return tuple(self._clock.runs)

    @property
    def is_on(self) -> bool:
        """Whether the hooks are on the pipeline."""
        return _trace_on(self._of.module) is self

    def records(self, observer: Observer | None = None) -> pd.DataFrame:
        """What an observer measured, as a tidy table; of the only one where there is one.

        Inside the block, a run that is under way ends here as far as the table is concerned: call
        it when the pipeline has returned.

        Raises:
            ValueError: the observer is not of this ``Trace``, or none is named among several.
        """
        if observer is None:
            if len(self.observers) != 1:
                raise ValueError(f"there are {len(self.observers)} observers: name the one to read")
            observer = self.observers[0]
        if observer not in self.observers:
            raise ValueError(f"{type(observer).__name__} is not an observer of this Trace")
        self._clock.finish()
        return observer.table()

    def calls(self) -> pd.DataFrame:
        """What the calls of modules did so far, over all runs.

        Returns:
            A row per kind of attention, and of other modules that were acted on or watched, with the
            columns ``kind``, ``computed``, ``stored`` (a part of ``computed``) and ``reused`` (forecast
            or not): each call handles all guidance branches and samples that the denoiser is called on.
        """
        return counted(self._hooks)

    def __repr__(self) -> str:
        return as_line("Trace", self)

    def _repr_html_(self) -> str:
        return as_html("Trace", self)

    def __reduce__(self) -> Any:
        refusals.refuse_copy(self._of)


def disable(pipe: Any) -> None:
    """Take a ``Trace`` or an acceleration away from a pipeline, also where its handle is lost.

    Args:
        pipe: a pipeline; without one on it nothing happens.
    """
    trace = _trace_on(unwrapped(find_denoiser(pipe)))
    if trace is not None:
        trace.close()


def _trace_on(module: nn.Module) -> Trace | None:
    found = _traced.get(module)
    return None if found is None else found()
