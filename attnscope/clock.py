"""The step clock: which run, which denoising step and which guidance branch a call belongs to.

A *run* is one call of a pipeline. ``scheduler.set_timesteps`` announces it, the first call of the
denoiser after that starts it, and every ``scheduler.step`` ends a step: 25 steps with
DPM-Solver++ or Euler, 26 with PNDM, and 2n - 1 with Heun, which calls the denoiser twice.

The device is never read to learn the step. Timesteps are kept as they come and read at the end.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Pipelines that put the conditional branch first where one batch holds both.
_COND_FIRST = ("LuminaPipeline", "ZImage", "StableCascade", "AceStep")


@dataclass(frozen=True)
class Moment:
    """Where in a run a call of the denoiser stands.

    Args:
        step: 0-based denoising step.
        call: 0-based call of the denoiser within the step; a pipeline that calls it once per
            guidance branch has several.
        batch: rows that the pipeline passed in: guidance branches times samples.
        rows: how many of them the denoiser works on; fewer where a plan drops a branch.
        first: the first of them.
    """

    step: int
    call: int
    batch: int
    rows: int
    first: int = 0

    @property
    def held(self) -> slice:
        """The rows of the batch that the denoiser works on."""
        return slice(self.first, self.first + self.rows)


@dataclass(eq=False)
class Run:
    """One call of a pipeline: what is known of it beforehand, and what became known.

    Args:
        index: 0-based number of the run within its ``Trace``.
        steps: how many steps the scheduler was set to. Image-to-image and inpainting run fewer.
        pair: names of the halves of a batch that holds two guidance branches.
        samples: images or videos that are made; known after the first step.
        guided_steps: steps at which more than one guidance branch ran.
        returned: whether the pipeline came to its end.
    """

    index: int
    steps: int
    pair: tuple[str, str] = ("uncond", "cond")
    samples: int | None = None
    guided_steps: int = 0
    returned: bool = False
    _calls: list[tuple[str | None, int]] = field(default_factory=list)
    _stamps: list[Any] = field(default_factory=list)
    _timesteps: NDArray[np.float64] | None = None

    @property
    def steps_done(self) -> int:
        """Steps that ended."""
        return len(self._stamps)

    def timesteps(self) -> NDArray[np.float64]:
        """The timestep of every step that ended: float64 ``[steps_done]``."""
        if self._timesteps is None or len(self._timesteps) != len(self._stamps):
            stamps = [torch.as_tensor(stamp).detach().reshape(-1)[:1] for stamp in self._stamps]
            on_host = torch.cat(stamps).cpu().double() if stamps else torch.empty(0)
            self._timesteps = on_host.numpy()
        return self._timesteps

    def label(self, call: int, batch: int) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
        """Sample number and branch name of every row of a call of the denoiser.

        Without guidance the only branch is ``cond``. What cannot be known is numbered: more than
        two branches in one batch, and calls beyond those of guidance.

        Args:
            call: 0-based call within the step.
            batch: rows that the pipeline passed in.
        """
        samples = self.samples or batch
        count = batch // samples
        if count == 1:
            names = [self._call_name(call)]
        else:
            names = list(self.pair) if count == 2 else [f"branch{index}" for index in range(count)]
        return np.tile(np.arange(samples), count), np.repeat(np.array(names), samples)

    def note_call(self, call: int, context: str | None, batch: int) -> None:
        """Remember the calls that a step consists of."""
        if call == len(self._calls):
            self._calls.append((context, batch))

    def batch(self, call: int) -> int:
        """Rows that the pipeline passed in when it first made a call: guidance times samples."""
        return self._calls[call][1]

    @property
    def calls_per_step(self) -> int:
        """Calls of the denoiser that a step consists of."""
        return len(self._calls)

    def rows_of(self, branch: str, batch: int, samples: int | None = None) -> slice | None:
        """Where a guidance branch stands in a batch; ``None`` if the batch holds only one.

        Args:
            branch: ``uncond`` or ``cond``.
            batch: rows of the call.
            samples: how many there are, where it is known before the first step has ended.

        Raises:
            RuntimeError: there are branches, but which is which is not known.
        """
        samples = samples or self.samples
        if samples is None or batch == samples:
            return None
        if batch != 2 * samples or branch not in self.pair:
            raise RuntimeError(
                f"the denoiser's batch holds {batch} rows for {samples} samples, and which is the "
                f"branch {branch!r} is not known: this guidance layout is not supported"
            )
        first = self.pair.index(branch) * samples
        return slice(first, first + samples)

    def _call_name(self, call: int) -> str:
        """Branch of a call that holds one: by its ``cache_context``, else by its place."""
        context = self._calls[call][0]
        if context is not None:
            return context.removeprefix("pred_")
        if len(self._calls) == 1:
            return "cond"
        alone = all(batch == self.samples for _, batch in self._calls)
        return ("cond", "uncond")[call] if alone and len(self._calls) == 2 else f"extra{call}"


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
        on_start: Callable[[Run], None],
        on_step: Callable[[Moment, Tensor, Tensor], None],
        on_finish: Callable[[Run], None],
        on_announce: Callable[[], None] = lambda: None,
    ) -> None:
        self._pipe, self._scheduler = pipe, pipe.scheduler
        self._on_start, self._on_step, self._on_finish = on_start, on_step, on_finish
        self._on_announce = on_announce
        self._announced = False
        self._context: str | None = None
        self._call, self._rows_in_step = 0, 0
        self.run: Run | None = None
        self.runs: list[Run] = []
        self._count = 0
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
        self._owners = [
            (scheduler, "set_timesteps", self._set_timesteps),
            (scheduler, "step", self._step),
        ]
        if hasattr(self._pipe, "maybe_free_model_hooks"):
            self._owners.append((self._pipe, "maybe_free_model_hooks", self._returned))
        self._own = [vars(owner).get(name) for owner, name, _ in self._owners]
        for owner, name, wrapper in self._owners:
            vars(owner)[name] = _Tap(getattr(owner, name), wrapper)

    def detach(self) -> None:
        """Give the methods back and finish the run."""
        for (owner, name, _), own in zip(self._owners, self._own, strict=True):
            if own is None:
                del vars(owner)[name]
            else:
                vars(owner)[name] = own
        self.finish()

    def enter_context(self, name: str | None) -> None:
        """Note the ``cache_context`` that the following denoiser calls belong to."""
        self._context = name

    @property
    def caller(self) -> str | int:
        """What tells the calls of a step apart: their ``cache_context``, or else their number."""
        return self.moment.call if self._context is None else self._context

    @property
    def is_last_step(self) -> bool:
        """Whether no step follows the present one, as far as the scheduler tells."""
        index = getattr(self._scheduler, "step_index", None)
        ended = index is not None and index + 1 >= len(self._scheduler.timesteps)
        return ended or (self.run is not None and self.moment.step + 1 >= self.run.steps)

    def begin_call(self, batch: int) -> Run:
        """A call of the denoiser begins, on a batch of so many rows.

        Raises:
            RuntimeError: it belongs to no run, or the scheduler is not the one that was wrapped.
        """
        if self._pipe.scheduler is not self._scheduler:
            raise RuntimeError(
                "the pipeline's scheduler was swapped inside a Trace: swap it before the block, or "
                "disable() the acceleration first"
            )
        if self._announced:
            self._announced = False
            self.run = Run(self._count, len(self._scheduler.timesteps), _pair(self._pipe))
            self._count += 1
            self.runs.append(self.run)
            self._on_start(self.run)
        if self.run is None or self.run.steps_done >= self.run.steps:
            raise RuntimeError(
                "the denoiser was called outside of a denoising loop, so its step is unknown: "
                "inside a Trace call the pipeline, or scheduler.set_timesteps first"
            )
        self.moment = Moment(self.run.steps_done, self._call, batch, batch)
        self.run.note_call(self._call, self._context, batch)
        self._call += 1
        self._rows_in_step += batch
        return self.run

    def narrow(self, rows: slice) -> None:
        """The denoiser works on these rows of the batch only."""
        self._rows_in_step += (rows.stop - rows.start) - self.moment.rows
        self.moment = replace(self.moment, rows=rows.stop - rows.start, first=rows.start)

    def _set_timesteps(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        # First, since observers read noise levels off the scheduler when a run is over.
        self.finish()
        result = original(*args, **kwargs)
        self._announced, self._call, self._rows_in_step = True, 0, 0
        self._on_announce()
        return result

    def _step(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        run = self.run
        if run is None or self._call == 0:  # no denoiser call belongs to it
            return original(*args, **kwargs)
        bound = self._step_signature.bind(*args, **kwargs).arguments
        sample = bound["sample"]
        run.samples = run.samples or sample.shape[0]
        if self.moment.batch % run.samples:
            raise RuntimeError(
                f"the denoiser ran on {self.moment.batch} rows for {run.samples} samples: "
                "this guidance layout is not supported"
            )
        run.guided_steps += self._rows_in_step > run.samples
        self.levels_apart = bound.get("per_token_timesteps") is not None
        self._on_step(self.moment, bound["model_output"], sample)
        result = original(*args, **kwargs)
        run._stamps.append(bound["timestep"])
        self._call, self._rows_in_step = 0, 0
        return result

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


def _pair(pipe: Any) -> tuple[str, str]:
    """Names of the two halves of a batch that holds two guidance branches."""
    perturbed = hasattr(type(pipe), "do_perturbed_attention_guidance")
    if perturbed and getattr(pipe, "do_classifier_free_guidance", None) is False:
        return "branch0", "branch1"
    first = type(pipe).__name__.startswith(_COND_FIRST)
    return ("cond", "uncond") if first else ("uncond", "cond")


class _Tap:
    """A wrapped method of one scheduler. Keeps its signature, which pipelines inspect."""

    def __init__(self, original: Callable[..., Any], wrapper: Callable[..., Any]) -> None:
        functools.update_wrapper(self, original)
        self._original, self._wrapper = original, wrapper

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._wrapper(self._original, *args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> NoReturn:
        raise RuntimeError(
            "the scheduler cannot be copied inside a Trace: copy it before the block"
        )
