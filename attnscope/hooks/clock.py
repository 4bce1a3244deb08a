"""The step clock: whose a call is, and which run, step and guidance branch it belongs to.

A *run* is one call of a pipeline, a :class:`~attnscope.hooks.moments.Denoising`. ``scheduler.set_timesteps`` announces it, the first call of the
denoiser after that starts it, and every ``scheduler.step`` ends a step: 25 steps with
DPM-Solver++ or Euler, 26 with PNDM, and 2n - 1 with Heun, which calls the denoiser twice.

A denoiser may have other users: calls of other pipelines and of callbacks belong to no run and
count for nothing. Whose a run is, :class:`~attnscope.hooks.callers.Owner` tells.

The device is never read to learn the step. Timesteps are kept as they come and read at the end.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import threading
from collections.abc import Callable
from dataclasses import replace
from types import MethodType
from typing import Any

import torch
from torch import Tensor

from attnscope.families import of_pipeline
from attnscope.hooks.callers import Caller, Owner, who_calls
from attnscope.hooks.habits import halves_of, thirds_of
from attnscope.hooks.listening import put_on
from attnscope.hooks.moments import Denoising, Moment

_REMEDY = "make other calls of the denoiser outside of the Trace, or by a pipeline with a scheduler of its own"


class Clock:
    """Wraps a scheduler's ``set_timesteps`` and ``step`` on the instance and keeps the time.

    Args:
        pipe: the pipeline; its scheduler must stay the same object while the clock is attached.
        on_start: called with a run when its first denoiser call begins.
        on_step: called before ``scheduler.step``, with the moment of the step's last denoiser call
            and the arguments ``model_output`` and ``sample``.
        on_finish: called with a run when it is over: when the pipeline has returned, before the
            scheduler is set for the next, or on detaching.
        on_announce: called when the scheduler was set for a run.
    """

    def __init__(
        self,
        pipe: Any,
        *,
        on_start: Callable[[Denoising], None],
        on_step: Callable[[Moment, Tensor, Tensor], None],
        on_finish: Callable[[Denoising], None],
        on_announce: Callable[[], None] = lambda: None,
    ) -> None:
        self._pipe, self._scheduler = pipe, pipe.scheduler
        self._on_start, self._on_step, self._on_finish = on_start, on_step, on_finish
        self._on_announce = on_announce
        self._taps = contextlib.ExitStack()
        self._announced: Owner | None = None  # of the run whose first call is to come
        self._call, self._rows_in_step = 0, 0
        self._shape: tuple[int, ...] = ()
        self._here = threading.local()  # a denoiser may be called from several threads
        self.run: Denoising | None = None
        self.runs: list[Denoising] = []
        self._count = 0
        self.levels_apart = False  # whether a step's tokens have noise levels of their own
        self.moment = Moment(0, 0, 0, 0)

    def attach(self) -> None:
        """Wrap the scheduler's two methods, and the pipeline's last act, which ends a run.

        Raises:
            RuntimeError: another ``Trace`` has wrapped the scheduler.
        """
        scheduler = self._scheduler
        if isinstance(scheduler.step, _Tap):
            raise RuntimeError(
                "the scheduler is in use by the Trace of another pipeline: give each pipeline a "
                "scheduler of its own, by scheduler.from_config(scheduler.config)"
            )
        self._step_signature = inspect.signature(scheduler.step)
        self._wrap(scheduler, "set_timesteps", self._set_timesteps)
        self._wrap(scheduler, "step", self._step)
        if hasattr(self._pipe, "maybe_free_model_hooks"):
            self._wrap(self._pipe, "maybe_free_model_hooks", self._returned)

    def _wrap(self, owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
        self._taps.enter_context(put_on(owner, name, _Tap(owner, getattr(owner, name), wrapper)))

    def detach(self) -> None:
        """Give the methods back and finish the run."""
        self._taps.close()
        self.finish()

    def enter_context(self, name: str | None) -> None:
        """Note the ``cache_context`` that the following denoiser calls belong to."""
        self._here.context = name

    @property
    def context(self) -> str | None:
        """The ``cache_context`` that this thread is in."""
        return getattr(self._here, "context", None)

    @property
    def is_elsewhere(self) -> bool:
        """Whether this thread is in a call of the denoiser that is none of the pipeline's."""
        return getattr(self._here, "elsewhere", False)

    @property
    def caller(self) -> str | int:
        """What tells the calls of a step apart: their ``cache_context``, or else their number."""
        return self.moment.call if self.context is None else self.context

    @property
    def is_last_step(self) -> bool:
        """Whether no step follows the present one, as far as the scheduler tells."""
        index = getattr(self._scheduler, "step_index", None)
        ended = index is not None and index + 1 >= len(self._scheduler.timesteps)
        return ended or (self.run is not None and self.moment.step + 1 >= self.run.steps)

    def begin_call(self, batch: int, shape: tuple[int, ...] = ()) -> Denoising | None:
        """A call of the denoiser begins, on a batch of so many rows.

        Args:
            batch: rows that the pipeline passed in.
            shape: of what it passed in first, ``[batch, ...]``; empty where that is no tensor.

        Returns:
            The run that the call belongs to; ``None`` if it is none of the pipeline's.

        Raises:
            RuntimeError: it belongs to no run, to no known step of it, or the scheduler is not the
                one that was wrapped.
        """
        who = who_calls()
        self._here.elsewhere = not self._is_ours(who)
        if self.is_elsewhere:
            return None
        if self._announced is not None:
            self._begin_run(self._announced, who)
        run = self.run
        if run is None or run.steps_done >= run.steps:
            raise RuntimeError(
                f"the denoiser was called outside of a denoising loop, by {who.where}, so its step "
                "is unknown: inside a Trace call the pipeline, or scheduler.set_timesteps first"
            )
        if not run.steps_done:
            run.owner.codes.add(who.code)
        elif who.pipe is None and self._call >= run.calls_per_step:
            raise RuntimeError(
                f"the denoiser is called more often at step {run.steps_done} than at the first, the "
                f"last time by {who.where}, so which call belongs to the step is unknown: {_REMEDY}"
            )
        self._shape = shape
        self.moment = self._moment(run, batch)
        run.note_call(self._call, self.context, batch)
        self._call += 1
        self._rows_in_step += batch
        return run

    def _is_ours(self, who: Caller) -> bool:
        """Whether a call belongs to the pipeline that is watched, or to a loop over its scheduler."""
        if who.pipe is not None:
            self._check_scheduler(who.pipe)
            if who.pipe.scheduler is not self._scheduler:
                return False
        run = self.run
        owner = self._announced if run is None else run.owner
        if owner is None:
            return True  # of no run, and refused for that
        if not owner.is_calling(who):
            if owner.is_at_work():
                return False
            self.finish()  # an exception has ended it, so the call is of no run
            self._announced = None
            return True
        if run is None or not run.steps_done or who.code in owner.codes:
            return True
        if run.pair is not None:  # diffusers' own code: a callback between two steps
            return False
        raise RuntimeError(
            f"the denoiser was called by {who.where} at step {run.steps_done}, which did not call it "
            f"at the first, so which call belongs to the step is unknown: {_REMEDY}"
        )

    def _check_scheduler(self, pipe: Any) -> None:
        """Refuse a scheduler that took the place of the one that is listened to."""
        if pipe is self._pipe and pipe.scheduler is not self._scheduler:
            raise RuntimeError(
                "the pipeline's scheduler was swapped inside a Trace: swap it before the block, or "
                "disable() the acceleration first"
            )
        tap = vars(pipe.scheduler).get("step")
        if pipe.scheduler is not self._scheduler and isinstance(tap, _Tap):
            raise RuntimeError(
                f"the scheduler of this {type(pipe).__name__} is a shallow copy of one that a Trace "
                "listens to: copy it by copy.deepcopy, or by from_config(scheduler.config)"
            )

    def _begin_run(self, owner: Owner, who: Caller) -> None:
        self._announced = None
        owner.begin(who)
        pair = halves_of(who.pipe) if who.ships else None
        triple = thirds_of(who.pipe) if who.ships else None
        self.run = Denoising(
            self._count, len(self._scheduler.timesteps), pair, owner, triple=triple
        )
        self._count += 1
        self.runs.append(self.run)
        self._on_start(self.run)

    def _moment(self, run: Denoising, batch: int) -> Moment:
        """The present moment; guidance that a pipeline has switched off leaves one branch."""
        whole = run.batch(self._call) if self._call < run.calls_per_step else batch
        if batch == run.samples and whole == 2 * batch:
            rows = run.rows_of("cond", whole)
            assert rows is not None, "the batch holds two branches"
            return Moment(run.steps_done, self._call, whole, batch, rows.start)
        return Moment(run.steps_done, self._call, batch, batch)

    def narrow(self, rows: slice) -> None:
        """The denoiser works on these rows of the batch only."""
        self._rows_in_step += (rows.stop - rows.start) - self.moment.rows
        self.moment = replace(self.moment, rows=rows.stop - rows.start, first=rows.start)

    def _set_timesteps(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        who, run = who_calls().pipe, self.run
        others = run is not None and who is not None and who is not run.started_by
        if run is not None and others and run.owner.is_at_work():
            raise RuntimeError(
                f"a {type(who).__name__} sets the scheduler that a {type(run.started_by).__name__} "
                "is denoising with: give each pipeline a scheduler of its own, by "
                "scheduler.from_config(scheduler.config)"
            )
        # First, since observers read noise levels off the scheduler when a run is over.
        self.finish()
        result = original(*args, **kwargs)
        self._announced = Owner(who)
        self._call, self._rows_in_step = 0, 0
        self._on_announce()
        return result

    def _step(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        run = self.run
        if run is None or self._call == 0:  # no denoiser call belongs to it
            return original(*args, **kwargs)
        if run.pair is None and self.context is None and 0 < self._call < run.calls_per_step:
            raise RuntimeError(
                f"the denoiser was called less often at step {run.steps_done} than at the first, so "
                "which of the calls, and of the guidance branches, was left out is unknown: "
                + _REMEDY
            )
        bound = self._step_signature.bind(*args, **kwargs).arguments
        output, sample = (self._one_row_each(run, bound[n]) for n in ("model_output", "sample"))
        run.samples = run.samples or len(sample)
        if self.moment.batch % run.samples:
            raise RuntimeError(
                f"the denoiser ran on {self.moment.batch} rows for {run.samples} samples: "
                "this guidance layout is not supported"
            )
        run.guided_steps += self._rows_in_step > run.samples
        self.levels_apart = bound.get("per_token_timesteps") is not None
        self._on_step(self.moment, output, sample)
        result = original(*args, **kwargs)
        run._stamps.append(bound["timestep"])
        self._call, self._rows_in_step = 0, 0
        return result

    def _one_row_each(self, run: Denoising, stepped: Tensor) -> Tensor:
        """What the scheduler is given, with one row a sample.

        Some video pipelines fold frames into the batch for the scheduler, and DiT hands it both
        halves of the batch, which hold the same latents.
        """
        frames = self._shape[2] if len(self._shape) == 5 and stepped.ndim == 4 else 1
        if frames > 1 and self._shape[-2:] == stepped.shape[-2:] and len(stepped) % frames == 0:
            return stepped.reshape(-1, frames, *stepped.shape[1:]).transpose(1, 2)
        if of_pipeline(run.started_by).steps_both and len(stepped) % 2 == 0:
            first, second = stepped.chunk(2)
            if run.samples is None:  # without guidance the halves are images of their own
                run.samples = len(first) if torch.equal(first, second) else len(stepped)
            return first if run.samples == len(first) else stepped
        return stepped

    def _returned(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.run is not None:
            self.run.returned = True
        self.finish()
        return original(*args, **kwargs)

    def finish(self) -> None:
        """End the run, if there is one."""
        if self.run is not None:
            run, self.run = self.run, None
            self._on_finish(run)


class _Tap:
    """A wrapped method of one object. Keeps its signature, which pipelines inspect."""

    def __init__(
        self, owner: Any, original: Callable[..., Any], wrapper: Callable[..., Any]
    ) -> None:
        functools.update_wrapper(self, original)
        self._owner, self._original, self._wrapper = owner, original, wrapper

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._wrapper(self._original, *args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """The plain method of the owner's copy; where only its attributes are copied, the tap."""
        copied = memo.get(id(self._owner))
        if copied is None:
            return self
        if isinstance(self._original, MethodType):
            return MethodType(self._original.__func__, copied)
        return copy.deepcopy(self._original, memo)
