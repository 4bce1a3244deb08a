"""The hook on a denoiser: what a plan does to one call of it, and what observers see of it.

Here a guidance branch is dropped and the text is replaced; attention has a hook of its own
(:mod:`attnscope.hooks.site`). Torch's hooks are used, since one of diffusers' ``HookRegistry``
on the denoiser dies after its first call under ``enable_model_cpu_offload``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from attnscope.hooks import refusals
from attnscope.hooks.branches import first_tensor, narrowed, widened
from attnscope.hooks.clock import Clock
from attnscope.hooks.listening import contexts_heard, latents_heard
from attnscope.hooks.moments import Denoising, Moment
from attnscope.hooks.null_text import NullText
from attnscope.hooks.observer import Observer
from attnscope.hooks.site import left_out_of_graphs
from attnscope.models.predictions import check_step
from attnscope.plans.base import Baseline, Plan
from attnscope.plans.trajectory import Trajectory
from attnscope.sites.around import LATENTS, given_latents
from attnscope.sites.denoiser import Denoiser
from attnscope.sites.grids import Layout


class DenoiserHook:
    """The hook on a denoiser.

    What happens to one call, :meth:`before` it and :meth:`after` it:

    1. The clock says which run and step it belongs to. What belongs to none passes untouched.
    2. In the first step, what it reads is compared with the prompts' encodings, and from the
       second on a plan that acts refuses a batch of another size.
    3. Where the plan says so, the conditional branch is given the encoding of "" to read.
    4. Where the plan drops a guidance branch, its rows leave every argument that has them.
    5. The denoiser computes. Its output is kept until the step ends, for observers of the noise.
    6. The branch that stayed is returned in the place of both, so the pipeline gets its rows. Where
       the plan goes on with the last guidance, the other branch's place holds the prediction less the
       difference that both had when they last ran.

    When the scheduler ends the step, :meth:`end_step` shows observers the latents and the noise.

    Args:
        pipe: the pipeline.
        denoiser: of the pipeline, compiled or not.
        plan: what is carried out.
        observers: of the ``Trace``.
        clock: which is told of every call.
        attends: whether attention to words is watched or scaled, for which it must be known from the
            first step on how many images are made.

    Raises:
        InputError: the plan reads null text, which is not known for the pipeline.
    """

    def __init__(
        self,
        pipe: Any,
        denoiser: Denoiser,
        plan: Plan,
        observers: Sequence[Observer],
        clock: Clock,
        *,
        attends: bool = False,
    ) -> None:
        self._pipe, self._of, self._plan, self._clock = pipe, denoiser, plan, clock
        self._denoiser = denoiser.outer
        self._channels = getattr(getattr(denoiser.module, "config", None), "in_channels", None)
        self._null_text = NullText(pipe, denoiser) if plan.ever_reads_null() else None
        self._observers = tuple(observers)
        self._tells_branches = bool(observers) or plan != Baseline()
        self._attends = attends
        self._of_latents: tuple[Observer, ...] = ()
        self._trajectory: Trajectory | None = None
        self._prepared_samples: int | None = None
        self._control_rows: int | None = None
        self._times = 1  # that the output is to stand in what the pipeline gets
        self._given: Any = None
        self._latest: Tensor | None = None
        self._difference: Tensor | None = None
        self._predictions: list[tuple[Moment, Tensor]] = []

    @contextlib.contextmanager
    def hooked(self) -> Iterator[None]:
        """Hook the denoiser and listen to what the pipeline says around its calls; then undo it."""
        self._of_latents = tuple(
            observer for observer in self._observers if observer.wants(LATENTS)
        )
        with contextlib.ExitStack() as undo:
            undo.enter_context(contexts_heard(self._denoiser, self._clock.enter_context))
            if self._null_text is not None or self._plan.ever_drops() or self._attends:
                undo.enter_context(latents_heard(self._pipe, self._hear_latents))
            control = getattr(self._pipe, "controlnet", None)
            if isinstance(control, nn.Module) and self._plan.ever_drops():
                heard = control.register_forward_pre_hook(self._hear_control, with_kwargs=True)
                undo.callback(heard.remove)
            before = self._denoiser.register_forward_pre_hook(self.before, with_kwargs=True)
            undo.callback(before.remove)
            after = self._denoiser.register_forward_hook(self.after)
            undo.callback(after.remove)
            yield

    def __reduce__(self) -> Any:
        refusals.refuse_copy(self._of)

    def follow(self, trajectory: Trajectory) -> None:
        """Do from now on what a trajectory says."""
        self._trajectory = trajectory

    def forget(self) -> None:
        """Free what was kept for the step and for the run."""
        self._given = self._latest = self._difference = None
        self._predictions.clear()
        if self._null_text is not None:
            self._null_text.forget()

    @left_out_of_graphs
    def before(
        self, denoiser: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """The arguments that a call of the denoiser gets; ``None`` leaves them as they are.

        Raises:
            RuntimeError: the batch changed within the run, or the plan asks for a branch that
                cannot be told or dropped.
        """
        first = _first_argument(args, kwargs)
        batch = _batch_size(first)
        run = self._clock.begin_call(batch, tuple(getattr(first, "shape", ())))
        self._times = 1
        if run is None:
            return None
        moment = self._clock.moment
        if not run.steps_done and self._tells_branches:
            run.reading.see(moment.call, (args, kwargs))
        if not run.steps_done and moment.call == 0:
            run.layout = Layout.of(first, kwargs, self._channels)
            run.prepared = self._prepared_samples if self._attends else None
        if self._of_latents and moment.call == 0:
            self._given = first
        if self._plan == Baseline():
            return None
        if batch != run.batch(moment.call):
            raise RuntimeError(
                f"the denoiser's batch changed from {run.batch(moment.call)} to {batch} at step "
                f"{moment.step}: the guidance or the batch size changed within a run, which "
                f"{self._carried_out.plan} does not support"
            )
        if self._null_text is not None and self._carried_out.text(moment.step) == "null":
            kwargs = self._null_text.put(kwargs, self._reading_rows(run, batch))
        rows = self._rows_kept(run, batch, first)
        if rows is not None:
            self._clock.narrow(rows)
            self._times = batch // self._clock.moment.rows
            args, kwargs = narrowed(args, batch, rows), narrowed(kwargs, batch, rows)
        return args, kwargs

    @left_out_of_graphs
    def after(self, denoiser: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """The output that the pipeline gets; ``None`` leaves it as it is."""
        if self._clock.is_elsewhere:
            return None
        moment = self._clock.moment
        if any(observer.watches_noise for observer in self._observers):
            self._predictions.append((moment, first_tensor(output)))
        if self._times == 1:
            self._latest = first_tensor(output) if self._goes_on(moment) else None
            return None
        return self._guided_on(moment, widened(output, moment.rows, self._times))

    def _goes_on(self, moment: Moment) -> bool:
        """Whether a later step goes on with the guidance of this one."""
        carried_out = self._trajectory
        return carried_out is not None and any(carried_out.directions[moment.step :])

    def _keep_difference(self, run: Denoising, moment: Moment) -> None:
        """Keep what guidance adds, conditional less unconditional, where both branches ran.

        Where they stand is known when the step ends: how many samples there are, the first step's
        end tells.
        """
        prediction, self._latest = self._latest, None
        if prediction is None:
            return
        rows = [run.rows_of(branch, moment.batch) for branch in ("cond", "uncond")]
        if None not in rows:
            cond, uncond = (prediction[part] for part in rows)
            self._difference = cond - uncond

    def _guided_on(self, moment: Moment, output: Any) -> Any:
        """The output with the unconditional branch where the last difference would have it."""
        weight = self._carried_out.directions[moment.step]
        run = self._clock.run
        if not weight or self._difference is None or run is None:
            return output
        rows = run.rows_of("uncond", moment.batch)
        if rows is not None:
            prediction = first_tensor(output)  # its own memory, since it was just made of two
            prediction[rows] -= weight * self._difference
        return output

    def end_step(self, moment: Moment, guided: Tensor, sample: Tensor) -> None:
        """The scheduler is about to end the step.

        Args:
            moment: of the step's last call.
            guided: the guided prediction, ``[samples, ...]``.
            sample: the latents before the step, alike.

        Raises:
            RuntimeError: the first step has shown guidance that the plan cannot handle.
        """
        run = self._clock.run
        if run is not None and moment.step == 0:
            self._check_layout(run, moment)
            self._prepared_samples = None
            run.reading.drop_encodings()
        if run is not None:
            self._keep_difference(run, moment)
        for observer in self._of_latents:
            there = Moment(moment.step, 0, len(sample), len(sample))
            observer.see(LATENTS, there, given_latents(self._given, sample))
        for observer in self._observers:
            if observer.watches_noise:
                check_step(self._clock.levels_apart)
                observer.end_step(moment.step, self._predictions, guided, sample)
        self._given = None
        self._predictions.clear()

    def check_images(self, run: Denoising) -> None:
        """Refuse images that lost the wrong branch, should the text say so now that it is asked.

        Raises:
            RuntimeError: the branches stood the other way round than the pipeline's habit is.
        """
        acted = self._trajectory is not None and (self._trajectory.drops or self._null_text)
        if not acted or run.pair is None or run.calls_per_step != 1:
            return
        told = run.reading.halves(0)
        if told is not None and run.batch(0) == 2 * (run.samples or 0) and told != run.pair:
            raise RuntimeError(
                f"{type(self._pipe).__name__} puts the branch {told[0]!r} first into its batch, "
                f"where {self._plan} took {run.pair[0]!r} for the first: what was made is wrong"
            )

    @property
    def _carried_out(self) -> Trajectory:
        assert self._trajectory is not None, "a run starts before its denoiser is called"
        return self._trajectory

    def _rows_kept(self, run: Denoising, batch: int, first: Any) -> slice | None:
        """The rows of the branch that stays; ``None`` if none is dropped."""
        trajectory, moment = self._carried_out, self._clock.moment
        if trajectory.drops and not isinstance(first, Tensor):
            raise RuntimeError(
                f"{type(self._pipe).__name__} passes its latents one by one, so {self._plan} cannot "
                "drop a guidance branch from the batch"
            )
        branches = trajectory.branches(moment.step)
        rows = None
        if len(branches) == 1:
            rows = run.rows_of(branches[0], batch, self._samples_of(run))
        seen_by_control = self._control_rows or batch
        if rows is not None and branches[0] == "uncond" and seen_by_control < batch:
            raise RuntimeError(
                "guess_mode shows the ControlNet to the conditional branch alone, and "
                f"{self._plan} keeps the unconditional one: leave guess_mode out, or use "
                "guidance-cutoff, which keeps the conditional one"
            )
        return rows

    def _reading_rows(self, run: Denoising, batch: int) -> slice:
        """Rows of the conditional branch; at the first step from what the pipeline prepared."""
        samples = self._samples_of(run)
        return run.rows_of("cond", batch, samples) or slice(0, batch)

    def _samples_of(self, run: Denoising) -> int:
        """How many images are made; at the first step, what the pipeline prepared tells.

        Raises:
            RuntimeError: nothing tells.
        """
        samples = run.samples or self._prepared_samples
        if samples is None:
            raise RuntimeError(
                "how many images are made is not known at the first step, and so where the "
                f"conditional branch stands: call {type(self._pipe).__name__} itself, or a plan that "
                "leaves the text and the guidance of the first step alone"
            )
        return samples

    def _hear_latents(self, latents: Any) -> None:
        first = latents[0] if isinstance(latents, tuple) else latents
        self._prepared_samples = first.shape[0]

    def _hear_control(
        self, control: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._control_rows = _batch_size(_first_argument(args, kwargs))

    def _check_layout(self, run: Denoising, moment: Moment) -> None:
        """Refuse guidance that the plan cannot handle, now that the first step has shown it."""
        if not (self._carried_out.drops or self._carried_out.reads_null):
            return
        if run.calls_per_step > 1:
            raise RuntimeError(
                f"{type(self._pipe).__name__} calls its denoiser {run.calls_per_step} times a step, "
                f"so no batch holds both guidance branches, which {self._plan} needs"
            )
        for branch in ("uncond", "cond"):
            run.rows_of(branch, moment.batch)


def _first_argument(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args[0] if args else kwargs.get("sample", kwargs.get("hidden_states"))


def _batch_size(first: Any) -> int:
    if isinstance(first, (list, tuple)):  # Z-Image passes one tensor per sample
        return len(first)
    if not isinstance(first, Tensor):
        raise RuntimeError(
            "the denoiser's first argument is not a batch of latents: unknown call layout"
        )
    return first.shape[0]
