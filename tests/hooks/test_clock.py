"""The step clock, driven by schedulers and pipelines of a few lines: no model, nothing computed."""

from __future__ import annotations

import copy
import inspect
import threading
from dataclasses import FrozenInstanceError
from types import FunctionType

import numpy as np
import pytest
import torch

from attnscope.hooks.clock import Clock
from attnscope.hooks.encodings import TextsRead
from attnscope.hooks.moments import Denoising, Moment

COND, UNCOND, OTHER = torch.full((1, 3), 1.0), torch.full((1, 3), 2.0), torch.full((1, 3), 3.0)
"""Encodings of a prompt, of a negative prompt, and of something else."""


class Scheduler:
    """Counts its steps as those of diffusers do, from the first on."""

    def __init__(self, *, counts=True):
        self.timesteps = torch.empty(0)
        if counts:
            self.step_index = None

    def set_timesteps(self, steps):
        """Set the timesteps."""
        self.timesteps = torch.linspace(900, 100, steps)
        if hasattr(self, "step_index"):
            self.step_index = None
        return "set"

    def step(self, model_output, timestep, sample, eta=0.0, per_token_timesteps=None):
        """Take a step."""
        if hasattr(self, "step_index"):
            self.step_index = (self.step_index or 0) + 1
        return "stepped", timestep


PIPELINE = """
class {name}:
    def __init__(self, scheduler):
        self.scheduler = scheduler

    def __call__(self, denoise, batches=(4,), *, samples=2, steps=3, each=None, prepare=None):
        assert self.scheduler.set_timesteps(steps) == "set"
        if prepare is not None:
            prepare()
        latents = torch.zeros(samples, 4, 8, 8)
        for step, t in enumerate(self.scheduler.timesteps):
            for batch in batches:
                denoise(batch)
            assert self.scheduler.step(latents, t, latents) == ("stepped", t)
            if each is not None:
                each(step)
        return self.free()

    def run(self, call, *args):
        return call(*args)

    def free(self):
        return self.maybe_free_model_hooks() if hasattr(self, "maybe_free_model_hooks") else None
"""
FREES = """
    def maybe_free_model_hooks(self):
        return "freed"
"""


def pipeline_class(name="StableDiffusionPipeline", *, ships=True, frees=True):
    """A class of diffusers, or of a user's own."""
    module = "diffusers.pipelines.toy" if ships else "server.pipelines"
    namespace = {"__name__": module, "torch": torch}
    exec(PIPELINE.format(name=name) + FREES * frees, namespace)
    return namespace[name]


def between(function):
    """A function as one of torch, which stands between a pipeline and the denoiser that it calls."""
    named = {**function.__globals__, "__name__": "torch.toy"}
    return FunctionType(function.__code__, named, closure=function.__closure__)


class Heard:
    """A clock on a pipeline, and what it told."""

    def __init__(self, pipe):
        self.pipe, self.told, self.stepped, self.last = pipe, [], [], []
        self.clock = Clock(
            pipe,
            on_start=lambda run: self.told.append(("start", run.index)),
            on_step=self.step,
            on_finish=lambda run: self.told.append(("finish", run.index)),
            on_announce=lambda: self.told.append("announce"),
        )

    def step(self, moment, output, sample):
        self.stepped.append((moment, output, sample))
        self.last.append(self.clock.is_last_step)

    def call(self, *args, **kwargs):
        """Run the pipeline on a denoiser that has no frame of its own on the stack."""
        return self.pipe(self.clock.begin_call, *args, **kwargs)

    def __enter__(self):
        self.clock.attach()
        return self

    def __exit__(self, *error):
        self.clock.detach()


def heard(name="StableDiffusionPipeline", *, ships=True, frees=True, counts=True):
    return Heard(pipeline_class(name, ships=ships, frees=frees)(Scheduler(counts=counts)))


# Moments


def test_a_moment_knows_which_rows_it_holds():
    assert Moment(3, 0, 6, 2, first=4).held == slice(4, 6)
    assert Moment(3, 0, 6, 6).held == slice(0, 6)
    with pytest.raises(FrozenInstanceError):
        Moment(0, 0, 1, 1).step = 1


# Runs


def run_of(*calls, samples=2, pair=("uncond", "cond"), reads=()):
    """A run whose first step has made calls of so many rows, or of a context and rows."""
    run = Denoising(0, 5, pair, samples=samples, reading=TextsRead(COND, UNCOND))
    for number, call in enumerate(calls):
        run.note_call(number, *(call if isinstance(call, tuple) else (None, call)))
    for number, states in enumerate(reads):
        if states:
            run.reading.see(number, torch.cat(states))
    return run


def labels(run, call, batch):
    samples, names = run.label(call, batch)
    return list(zip(samples.tolist(), names.tolist(), strict=True))


@pytest.mark.parametrize(
    ("run", "call", "names"),
    [
        (run_of(4, reads=[[UNCOND, COND]]), 0, ["uncond", "cond"]),
        (run_of(4, reads=[[COND, UNCOND]]), 0, ["cond", "uncond"]),  # whatever the pair says
        (run_of(4, pair=None, reads=[[OTHER, UNCOND]]), 0, ["cond", "uncond"]),
        (run_of(4, pair=None), 0, ["branch0", "branch1"]),
        (run_of(6, reads=[[UNCOND, COND]]), 0, ["branch0", "branch1", "branch2"]),
        (run_of(2), 0, ["cond"]),
        (run_of(2, reads=[[UNCOND]]), 0, ["uncond"]),
        (run_of(2, 2), 0, ["cond"]),
        (run_of(2, 2), 1, ["uncond"]),
        (run_of(2, 2, reads=[[UNCOND], [COND]]), 0, ["uncond"]),
        (run_of(2, 2, reads=[[UNCOND], [COND]]), 1, ["cond"]),
        (run_of(2, 2, pair=None, reads=[[OTHER], [COND]]), 0, ["uncond"]),
        (run_of(2, 2, pair=None, reads=[[OTHER], [COND]]), 1, ["cond"]),
        (run_of(2, 2, reads=[[OTHER], [COND]]), 0, ["uncond"]),
        (run_of(2, 2, pair=None, reads=[[UNCOND], [OTHER]]), 1, ["cond"]),
        (run_of(2, 2, reads=[[UNCOND], [OTHER]]), 1, ["cond"]),
        # Both read the same, so the text tells nothing.
        (run_of(2, 2, reads=[[COND], [COND]]), 1, ["uncond"]),
        (run_of(2, 2, pair=None, reads=[[COND], [COND]]), 1, ["branch1"]),
        (run_of(2, 2, pair=None), 0, ["branch0"]),
        (run_of(2, 2, 2), 0, ["extra0"]),
        (run_of(2, 2, 2), 2, ["extra2"]),
        (run_of(4, 2, reads=[[UNCOND, COND], [COND]]), 1, ["extra1"]),
        (run_of(("pred_uncond", 2), ("pred_cond", 2)), 0, ["uncond"]),
        (run_of(("pred_uncond", 2), ("pred_cond", 2)), 1, ["cond"]),
        (run_of(("pred_uncond_skip", 2)), 0, ["uncond_skip"]),
        (run_of(("cond_uncond", 4)), 0, ["uncond", "cond"]),
        (run_of(("cond_uncond", 2)), 0, ["cond"]),
    ],
)  # fmt: skip
def test_branches_are_named_by_text_context_or_habit(run, call, names):
    expected = [(sample, name) for name in names for sample in range(2)]
    assert labels(run, call, run.batch(call)) == expected


def test_samples_of_an_unguided_loop_may_read_either():
    run = run_of(4, samples=4, reads=[[UNCOND, COND]])
    assert labels(run, 0, 4) == [(0, "uncond"), (1, "uncond"), (2, "cond"), (3, "cond")]
    run = run_of(3, samples=3, reads=[[UNCOND, OTHER, COND]])
    assert labels(run, 0, 3) == [(sample, "cond") for sample in range(3)]


def test_the_branch_that_stays_is_not_named_by_what_both_read():
    assert labels(run_of(4, reads=[[UNCOND, COND]]), 0, 2) == [(0, "cond"), (1, "cond")]


def test_samples_that_are_not_known_yet_are_as_many_as_the_rows():
    assert labels(run_of(3, samples=None), 0, 3) == [(sample, "cond") for sample in range(3)]


def test_the_halves_of_a_call_are_those_of_its_text_or_else_of_the_pipeline():
    run = run_of(4, 4, reads=[[COND, UNCOND], [UNCOND, COND]])
    assert (run.halves(), run.halves(0), run.halves(1)) == (
        ("cond", "uncond"), ("cond", "uncond"), ("uncond", "cond"),
    )  # fmt: skip
    assert run_of(4).halves() == ("uncond", "cond")
    assert run_of(4, pair=None).halves() is None


def test_a_call_is_remembered_as_it_was_in_the_first_step():
    run = run_of(4, ("pred_cond", 2))
    for number, rows in ((0, 1), (1, 1)):
        run.note_call(number, "later", rows)
    assert (run.calls_per_step, run.batch(0), run.batch(1)) == (2, 4, 2)


@pytest.mark.parametrize(
    ("run", "branch", "batch", "rows"),
    [
        (run_of(6, samples=3), "uncond", 6, slice(0, 3)),
        (run_of(6, samples=3), "cond", 6, slice(3, 6)),
        (run_of(6, samples=3, pair=("cond", "uncond")), "uncond", 6, slice(3, 6)),
        (run_of(6, samples=3, pair=None, reads=[[UNCOND, COND]]), "cond", 6, slice(3, 6)),
        (run_of(6, samples=3, reads=[[COND, UNCOND]]), "cond", 6, slice(3, 6)),  # the class first
        (run_of(3, samples=3), "cond", 3, None),
        (run_of(6, samples=None), "cond", 6, None),
    ],
)
def test_a_branch_stands_in_its_half_of_the_batch(run, branch, batch, rows):
    assert run.rows_of(branch, batch) == rows


def test_samples_may_be_known_before_the_first_step_has_ended():
    run = run_of(6, samples=None)
    assert run.rows_of("cond", 6, samples=3) == slice(3, 6)
    assert run_of(6, samples=6).rows_of("cond", 6, samples=3) == slice(3, 6)


@pytest.mark.parametrize(
    ("run", "batch"),
    [
        (run_of(4, pair=None), 4),
        (run_of(6), 6),
        (run_of(3), 3),
        (run_of(1), 1),
        (run_of(4, pair=("branch0", "branch1")), 4),
        (run_of(4, 4, pair=None, reads=[None, [UNCOND, COND]]), 4),  # of another call
    ],
)
def test_a_branch_whose_rows_are_not_known_is_an_error(run, batch):
    message = f"holds {batch} rows for 2 samples, and which is the branch 'cond' is not known"
    with pytest.raises(RuntimeError, match=message):
        run.rows_of("cond", batch)


def test_a_run_begins_with_nothing_done_and_is_nobodys_equal():
    run = Denoising(0, 5)
    assert (run.guided_steps, run.steps_done, run.returned) == (0, 0, False)
    assert (run.samples, run.pair, run.started_by) == (None, ("uncond", "cond"), None)
    assert len(run.timesteps()) == 0
    assert run != Denoising(0, 5)
    assert run in {run}


def test_a_run_is_shown_without_what_it_holds():
    assert not {"started_by", "reading", "owner"} & set(
        repr(Denoising(0, 5)).replace("=", " ").split()
    )


def stamped(*timesteps):
    """A run whose steps ended at timesteps."""
    scheduler = Scheduler()
    pipe = pipeline_class()(scheduler)
    ear = Heard(pipe)
    with ear:
        scheduler.set_timesteps(len(timesteps))
        for timestep in timesteps:
            ear.clock.begin_call(1)
            scheduler.step(torch.zeros(1, 1), timestep, torch.zeros(1, 1))
    return ear.clock.runs[0]


def test_the_timesteps_of_a_run_are_those_it_stepped_at():
    run = stamped(torch.tensor(900), torch.tensor([500.0, 500.0]), 100, 7.5)
    found = run.timesteps()
    np.testing.assert_array_equal(found, [900, 500, 100, 7.5])
    assert found.dtype == np.float64
    assert run.timesteps() is found, "it is read from the device once"


def test_no_timesteps_are_as_wide_as_any():
    assert Denoising(0, 5).timesteps().dtype == np.float64


def test_timesteps_that_were_asked_for_in_between_are_not_the_last():
    lengths = []
    with heard() as ear:
        ear.call(each=lambda step: lengths.append(len(ear.clock.run.timesteps())))
    assert lengths == [1, 2, 3]
    np.testing.assert_array_equal(ear.clock.runs[0].timesteps(), [900, 500, 100])


# The clock


@pytest.mark.parametrize("counts", [True, False])
def test_a_run_is_told_from_its_first_call_to_its_last_step(counts):
    ear = heard(counts=counts)
    with ear:
        assert ear.call() == "freed"
        assert ear.told == ["announce", ("start", 0), ("finish", 0)]
        assert ear.clock.run is None
        ear.call(steps=2)
    assert ear.told[3:] == ["announce", ("start", 1), ("finish", 1)]
    assert [moment for moment, _, _ in ear.stepped] == [
        Moment(step, 0, 4, 4) for step in (0, 1, 2, 0, 1)
    ]
    assert ear.last == [False, False, True, False, True]
    runs = ear.clock.runs
    assert [(run.index, run.steps, run.steps_done) for run in runs] == [(0, 3, 3), (1, 2, 2)]
    assert [(run.samples, run.guided_steps, run.returned) for run in runs] == [
        (2, 3, True), (2, 2, True),
    ]  # fmt: skip
    assert all(run.started_by is ear.pipe for run in runs)


def test_a_run_that_starts_late_ends_where_the_scheduler_does():
    """Image-to-image, which counts from a later step on."""
    with heard() as ear:
        ear.pipe.scheduler.set_timesteps(4)
        ear.pipe.scheduler.step_index = 2
        by_hand(ear, [1, 1], sets=False)
    assert ear.last == [False, True]
    assert (ear.clock.runs[0].steps, ear.clock.runs[0].steps_done) == (4, 2)


@pytest.mark.parametrize("counts", [True, False])
def test_a_clock_stands_at_no_step_before_a_run(counts):
    """Hooks ask for it at every call, and there may be calls before a run."""
    clock = heard(counts=counts).clock
    assert clock.moment == Moment(0, 0, 0, 0)
    assert not clock.is_last_step
    assert (clock.run, clock.runs, clock.context, clock.caller) == (None, [], None, 0)


def by_hand(ear, batches, *, sets=True, contexts=(None,), each=lambda step: None):
    """A loop of a user's own: at every step a call for every context."""
    scheduler = ear.pipe.scheduler
    if sets:
        scheduler.set_timesteps(len(batches))
    for step, (batch, t) in enumerate(zip(batches, scheduler.timesteps, strict=False)):
        for context in contexts[step] if isinstance(contexts, list) else contexts:
            ear.clock.enter_context(context)
            ear.clock.begin_call(batch)
        scheduler.step(torch.zeros(1, 4), t, torch.zeros(1, 4))
        each(step)


def test_a_loop_by_hand_is_a_run_of_nobodys_whose_branches_have_no_habit():
    with heard() as ear:
        by_hand(ear, [2, 2, 2])
        assert ear.told == ["announce", ("start", 0)]
    assert ear.told[-1] == ("finish", 0)
    (run,) = ear.clock.runs
    assert (run.started_by, run.pair, run.returned) == (None, None, False)
    assert (run.steps_done, run.samples, run.guided_steps) == (3, 1, 3)
    assert ear.last == [False, False, True]


@pytest.mark.parametrize("samples", [1, 2])
def test_steps_without_guidance_are_not_guided(samples):
    with heard() as ear:
        ear.call([samples], samples=samples)
        ear.call([2 * samples], samples=samples)
    assert [run.guided_steps for run in ear.clock.runs] == [0, 3]
    assert [run.samples for run in ear.clock.runs] == [samples, samples]


def test_calls_of_a_step_are_numbered_and_those_of_guidance_make_it_guided():
    with heard() as ear:
        ear.call([2, 2])
    assert [moment for moment, _, _ in ear.stepped] == [Moment(step, 1, 2, 2) for step in range(3)]
    (run,) = ear.clock.runs
    assert (run.calls_per_step, run.guided_steps) == (2, 3)


def test_a_call_is_told_apart_by_its_context_or_its_number():
    seen, elsewhere = [], []
    ear = heard()

    @between
    def denoise(batch):
        ear.clock.enter_context("pred_cond" if batch == 2 else None)
        assert ear.clock.begin_call(batch) is ear.clock.run
        seen.append((ear.clock.context, ear.clock.caller))

    with ear:
        ear.pipe(denoise, [2, 4, 4], steps=1)
    assert seen == [("pred_cond", "pred_cond"), (None, 1), (None, 2)]
    ear.clock.enter_context("pred_cond")
    thread = threading.Thread(target=lambda: elsewhere.append(ear.clock.context))
    thread.start()
    thread.join()
    assert elsewhere == [None]


def changing(ear, batches):
    """A denoiser that is given another batch at every step."""
    seen = []

    @between
    def denoise(batch):
        ear.clock.begin_call(batches[len(seen)])
        seen.append(ear.clock.moment)

    return denoise, seen


@pytest.mark.parametrize(
    ("name", "batches", "late"),
    [
        ("StableDiffusionPipeline", [4, 4, 2], Moment(2, 0, 4, 2, 2)),
        ("LuminaPipeline", [4, 4, 2], Moment(2, 0, 4, 2, 0)),
        # Other numbers of branches: nothing is known of them.
        ("StableDiffusionPipeline", [6, 6, 2], Moment(2, 0, 2, 2)),
        ("StableDiffusionPipeline", [8, 8, 4], Moment(2, 0, 4, 4)),
    ],
)
def test_guidance_that_a_pipeline_switches_off_leaves_the_conditional_rows(name, batches, late):
    ear = heard(name)
    denoise, seen = changing(ear, batches)
    with ear:
        ear.pipe(denoise)
    assert seen == [
        Moment(0, 0, batches[0], batches[0]),
        Moment(1, 0, batches[0], batches[0]),
        late,
    ]


def test_a_branch_that_is_dropped_is_not_counted_as_guidance():
    ear = heard()

    @between
    def denoise(batch):
        run = ear.clock.begin_call(batch)
        if run.steps_done:
            ear.clock.narrow(slice(3, 6))

    with ear:
        ear.pipe(denoise, [6], samples=3)
    assert ear.clock.runs[0].guided_steps == 1
    assert [moment for moment, _, _ in ear.stepped] == [
        Moment(0, 0, 6, 6), Moment(1, 0, 6, 3, 3), Moment(2, 0, 6, 3, 3),
    ]  # fmt: skip


@pytest.mark.parametrize(("batches", "rows"), [([3], 3), ([2, 1], 1)])
def test_rows_that_are_no_multiple_of_the_samples_are_an_error(batches, rows):
    ear = heard()
    denoise, _ = changing(ear, batches)
    message = f"ran on {rows} rows for 2 samples: this guidance layout is not supported"
    with ear, pytest.raises(RuntimeError, match=message):
        ear.pipe(denoise)


def test_a_step_is_shown_before_it_is_taken_with_what_the_scheduler_is_given():
    with heard() as ear:
        ear.pipe.scheduler.set_timesteps(1)
        ear.clock.begin_call(1)
        output, sample = torch.ones(1, 3), torch.zeros(1, 3)
        ear.pipe.scheduler.step(output, timestep=5.0, sample=sample)
    ((moment, given, latents),) = ear.stepped
    assert moment == Moment(0, 0, 1, 1)
    assert given is output
    assert latents is sample
    assert ear.clock.levels_apart is False


def test_levels_of_single_tokens_are_noticed():
    with heard() as ear:
        ear.pipe.scheduler.set_timesteps(1)
        ear.clock.begin_call(1)
        ear.pipe.scheduler.step(torch.ones(1), 5.0, torch.ones(1), per_token_timesteps=[5.0])
    assert ear.clock.levels_apart is True


def test_steps_that_no_call_of_the_denoiser_belongs_to_are_not_counted():
    scheduler = (ear := heard()).pipe.scheduler

    def again(step):
        assert scheduler.step(torch.zeros(1, 4), 1.0, torch.zeros(1, 4)) == ("stepped", 1.0)

    with ear:
        again(None)  # before any run
        by_hand(ear, [1, 1, 1], each=again)
    assert ear.clock.runs[0].steps_done == 3
    assert len(ear.stepped) == 3


# Whose a call is


def other_pipeline(scheduler=None, name="StableDiffusionPipeline"):
    return pipeline_class(name)(scheduler or Scheduler())


def in_a_thread(call, *args):
    """What a call gives in another thread."""
    given = []
    thread = threading.Thread(target=lambda: given.append(call(*args)))
    thread.start()
    thread.join()
    return given[0]


OUTSIDE = pytest.raises(RuntimeError, match="outside of a denoising loop, by ")


def test_calls_of_a_pipeline_with_a_scheduler_of_its_own_are_elsewhere():
    other, seen = other_pipeline(), []
    ear = heard()
    assert not ear.clock.is_elsewhere

    def beside(step=None):
        seen.append(other.run(ear.clock.begin_call, 4))
        assert ear.clock.is_elsewhere

    with ear:
        beside()
        ear.call(prepare=beside, each=beside)
        beside()
        assert not in_a_thread(lambda: ear.clock.is_elsewhere)
    assert seen == [None] * 6
    assert ear.clock.runs[0].steps_done == 3
    assert ear.told == ["announce", ("start", 0), ("finish", 0)]


def test_a_call_of_no_run_is_an_error():
    with heard() as ear:
        with OUTSIDE:
            ear.clock.begin_call(1)
        with OUTSIDE:
            ear.pipe.run(ear.clock.begin_call, 1)
        assert not ear.clock.is_elsewhere
        ear.call()
        with OUTSIDE:
            ear.clock.begin_call(1)
    assert ear.told == ["announce", ("start", 0), ("finish", 0)]


def test_a_call_after_the_last_step_is_an_error():
    with heard() as ear:
        ear.pipe.scheduler.set_timesteps(2)
        with OUTSIDE:
            for t in (3, 2, 1):
                ear.clock.begin_call(1)
                ear.pipe.scheduler.step(torch.zeros(1, 4), t, torch.zeros(1, 4))
    assert ear.clock.runs[0].steps_done == 2


def test_calls_of_a_callback_are_elsewhere_in_a_pipeline_of_diffusers():
    seen = []
    with heard() as ear:
        ear.call(each=lambda step: seen.append(ear.clock.begin_call(1)))
    assert seen == [None] * 3
    assert [run.steps_done for run in ear.clock.runs] == [3]


def test_calls_of_a_callback_in_a_pipeline_of_ones_own_are_an_error():
    with heard(ships=False) as ear:
        ear.call()
        assert ear.clock.runs[0].pair is None
        assert ear.clock.runs[0].started_by is ear.pipe
        with pytest.raises(RuntimeError, match=r"at step 1, which did not call it at the first"):
            ear.call(each=lambda step: ear.clock.begin_call(1))


def test_a_loop_by_hand_that_calls_more_often_than_at_first_is_an_error():
    more = [(None,), (None, None)]
    message = "called more often at step 1 than at the first, the last time by by_hand "
    with heard() as ear, pytest.raises(RuntimeError, match=message):
        by_hand(ear, [1, 1], contexts=more)


def test_a_loop_by_hand_that_calls_less_often_than_at_first_is_an_error():
    less = [(None, None), (None,)]
    message = "called less often at step 1 than at the first"
    with heard() as ear, pytest.raises(RuntimeError, match=message):
        by_hand(ear, [1, 1], contexts=less)


def test_a_loop_by_hand_may_leave_out_a_call_that_has_a_context():
    with heard() as ear:
        by_hand(ear, [1, 1], contexts=[("pred_cond", "pred_uncond"), ("pred_cond",)])
    assert (ear.clock.runs[0].steps_done, ear.clock.runs[0].guided_steps) == (2, 1)


@pytest.mark.parametrize("calls", [[1, 2, 2], [2, 1, 1]])
def test_a_pipeline_may_call_more_or_less_often_than_at_first(calls):
    ear = heard()

    @between
    def denoise(batch):
        for _ in range(calls[ear.clock.run.steps_done if ear.clock.run else 0]):
            ear.clock.begin_call(batch)

    with ear:
        ear.pipe(denoise, [2])
    assert ear.clock.runs[0].calls_per_step == max(calls)
    assert [moment.call + 1 for moment, _, _ in ear.stepped] == calls


def test_nobody_but_the_pipeline_begins_the_run_that_it_announced():
    ear = heard()
    twin, seen = other_pipeline(ear.pipe.scheduler), []

    def prepare():
        seen.append(in_a_thread(ear.clock.begin_call, 1))
        seen.append(twin.run(ear.clock.begin_call, 1))
        assert ear.clock.is_elsewhere

    with ear:
        ear.call(prepare=prepare)
    assert seen == [None, None]
    assert [(run.started_by, run.steps_done) for run in ear.clock.runs] == [(ear.pipe, 3)]


def test_a_pipeline_begins_the_run_that_was_announced_by_hand_in_its_thread():
    """Whichever thread has the greater number."""
    with heard() as ear:
        ear.pipe.scheduler.set_timesteps(2)
        assert in_a_thread(ear.pipe.run, ear.clock.begin_call, 1) is None
        assert ear.pipe.run(ear.clock.begin_call, 1) is ear.clock.runs[0]
        in_a_thread(ear.pipe.scheduler.set_timesteps, 2)
        assert ear.pipe.run(ear.clock.begin_call, 1) is None
    assert [(run.started_by, run.pair) for run in ear.clock.runs] == [
        (ear.pipe, ("uncond", "cond"))
    ]


def test_no_other_thread_begins_the_run_that_a_loop_by_hand_announced():
    with heard() as ear:
        ear.pipe.scheduler.set_timesteps(2)
        assert in_a_thread(ear.clock.begin_call, 1) is None
        assert ear.clock.begin_call(1) is ear.clock.runs[0]


class CancelledError(Exception):
    pass


def cancel(*_):
    raise CancelledError


def test_a_run_that_was_cancelled_before_it_began_is_not_begun_by_others():
    with heard() as ear:
        with pytest.raises(CancelledError):
            ear.call(prepare=cancel)
        with OUTSIDE:
            ear.clock.begin_call(1)
        ear.call()
    assert ear.told == ["announce", "announce", ("start", 0), ("finish", 0)]


def test_a_run_that_was_cancelled_is_not_gone_on_with():
    ear = heard()
    twin = other_pipeline(ear.pipe.scheduler)
    calls = (ear.clock.begin_call, lambda batch: twin.run(ear.clock.begin_call, batch))
    with ear:
        for number, call in enumerate(calls):
            with pytest.raises(CancelledError):
                ear.call(each=cancel)
            with OUTSIDE:
                call(1)
            assert ear.told[-1] == ("finish", number)
    assert [run.returned for run in ear.clock.runs] == [False, False]


def test_a_run_by_hand_is_over_when_a_pipeline_calls():
    ear = heard()
    with ear:
        by_hand(ear, [1, 1, 1], each=lambda step: None)
        with OUTSIDE:
            ear.pipe.run(ear.clock.begin_call, 1)
        assert ear.told[-1] == ("finish", 0)


def test_calls_of_other_threads_leave_a_run_that_goes_on():
    seen = []
    with heard() as ear:
        ear.call(each=lambda step: seen.append(in_a_thread(ear.clock.begin_call, 1)))
    assert seen == [None] * 3
    assert ear.told == ["announce", ("start", 0), ("finish", 0)]


def test_a_run_that_was_cancelled_in_the_midst_of_a_step_leaves_nothing_to_the_next():
    ear = heard()

    @between
    def denoise(batch):
        ear.clock.begin_call(batch)
        raise CancelledError

    with ear:
        with pytest.raises(CancelledError):
            ear.pipe(denoise, [4])
        ear.call([2])
    assert ear.told == [
        "announce", ("start", 0), ("finish", 0), "announce", ("start", 1), ("finish", 1),
    ]  # fmt: skip
    run = ear.clock.runs[1]
    assert (run.guided_steps, run.calls_per_step, run.index) == (0, 1, 1)


def test_a_run_is_over_before_the_scheduler_is_set_for_the_next():
    """Observers read noise levels off the scheduler when it is."""
    scheduler = Scheduler()
    pipe, lengths = pipeline_class(frees=False)(scheduler), []
    clock = Clock(
        pipe,
        on_start=lambda run: None,
        on_step=lambda *step: None,
        on_finish=lambda run: lengths.append(len(scheduler.timesteps)),
    )
    clock.attach()
    pipe(clock.begin_call, steps=3)
    pipe(clock.begin_call, steps=2)
    assert lengths == [3]
    clock.detach()
    assert lengths == [3, 2]
    assert [run.returned for run in clock.runs] == [False, False], "that it returned is not known"


def test_a_pipeline_that_sets_the_scheduler_of_a_run_is_an_error():
    ear = heard()
    twin = other_pipeline(ear.pipe.scheduler, "PixArtAlphaPipeline")
    message = "a PixArtAlphaPipeline sets the scheduler that a StableDiffusionPipeline is denoising"
    with ear:
        twin(ear.clock.begin_call, steps=2)
        ear.call()
        with pytest.raises(RuntimeError, match=message):
            ear.call(each=lambda step: twin(ear.clock.begin_call))
        twin(ear.clock.begin_call, steps=2)  # which was cancelled by that
    assert [run.steps_done for run in ear.clock.runs] == [2, 3, 1, 2]


def test_a_pipeline_may_run_after_a_loop_by_hand():
    with heard() as ear:
        by_hand(ear, [1, 1])
        ear.call()
    assert [run.steps_done for run in ear.clock.runs] == [2, 3]


def test_a_pipeline_may_set_its_scheduler_again_in_the_midst_of_a_run():
    with heard() as ear:
        ear.call(each=lambda step: ear.pipe.scheduler.set_timesteps(3) if step == 2 else None)
    assert ear.told == ["announce", ("start", 0), ("finish", 0), "announce"]


def test_a_scheduler_that_was_swapped_is_an_error():
    with heard() as ear:
        ear.pipe.scheduler = Scheduler()
        with pytest.raises(RuntimeError, match="was swapped inside a Trace"):
            ear.call()


def test_a_shallow_copy_of_the_scheduler_is_an_error():
    with heard() as ear:
        other = other_pipeline(copy.copy(ear.pipe.scheduler))
        message = "of this StableDiffusionPipeline is a shallow copy of one that a Trace listens to"
        with pytest.raises(RuntimeError, match=message):
            other.run(ear.clock.begin_call, 1)


# What a scheduler is given


@pytest.mark.parametrize("frames", [2, 3])
def test_frames_that_stand_in_the_batch_are_put_back_into_their_videos(frames):
    videos = torch.randn(2, 4, frames, 8, 6, generator=torch.Generator().manual_seed(0))
    folded = torch.stack([videos[v, :, f] for v in range(2) for f in range(frames)])
    with heard() as ear:
        ear.pipe.scheduler.set_timesteps(1)
        ear.clock.begin_call(4, (4, 4, frames, 8, 6))
        ear.pipe.scheduler.step(2 * folded, 1.0, folded)
    ((_, output, sample),) = ear.stepped
    assert torch.equal(output, 2 * videos)
    assert torch.equal(sample, videos)
    assert ear.clock.runs[0].samples == 2


@pytest.mark.parametrize(
    ("given", "stepped"),
    [
        ((), (4, 4, 4, 4)),
        ((4, 4, 4, 4), (4, 4, 4, 4)),
        ((12, 4, 3, 8, 8), (6, 4, 3, 8, 8)),
        ((2, 4, 1, 8, 8), (2, 4, 8, 8)),
        ((4, 4, 3, 8, 8), (4, 4, 8, 8)),  # rows that are no number of videos
        ((6, 4, 3, 8, 8), (6, 4, 16, 16)),  # another size
        ((6, 4, 3, 8, 8), (6, 4, 4, 4)),
        ((6, 4, 3, 8, 8), (6, 8, 8)),
        ((6, 4, 3, 1, 8, 8), (6, 4, 8, 8)),
    ],
)
def test_latents_that_hold_no_folded_frames_are_shown_as_they_are(given, stepped):
    latents = torch.zeros(stepped)
    with heard() as ear:
        ear.pipe.scheduler.set_timesteps(1)
        ear.clock.begin_call(len(latents), given)
        ear.pipe.scheduler.step(latents, 1.0, latents)
    ((_, _, sample),) = ear.stepped
    assert sample is latents


def stepping_both(images, name="DiTPipeline"):
    """A run of two steps whose scheduler is given the whole batch of images."""
    ear = heard(name)
    with ear:
        ear.pipe.run(ear.pipe.scheduler.set_timesteps, 2)
        for t in ear.pipe.scheduler.timesteps:
            ear.pipe.run(ear.clock.begin_call, len(images))
            ear.pipe.scheduler.step(images, t, images)
    return ear


@pytest.mark.parametrize("samples", [1, 3])
def test_one_half_stands_for_both_where_a_pipeline_steps_both(samples):
    half = torch.arange(float(samples)).reshape(-1, 1)
    images = torch.cat([half, half])
    ear = stepping_both(images)
    for _, output, sample in ear.stepped:
        assert torch.equal(output, half)
        assert torch.equal(sample, half)
    (run,) = ear.clock.runs
    assert (run.samples, run.guided_steps) == (samples, 2)


@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_images_that_differ_are_images_of_their_own(samples):
    images = torch.arange(float(samples)).reshape(-1, 1)
    ear = stepping_both(images)
    assert all(sample is images for _, _, sample in ear.stepped)
    (run,) = ear.clock.runs
    assert (run.samples, run.guided_steps) == (samples, 0)


def test_other_pipelines_may_step_images_that_are_equal():
    images = torch.ones(2, 1)
    ear = stepping_both(images, "StableDiffusionPipeline")
    assert ear.clock.runs[0].samples == 2


# Habits of pipelines


class Server(pipeline_class("LuminaPipeline")):
    """A user's own, over one of diffusers."""


class LuminaPipeline(pipeline_class("StableDiffusionPipeline")):
    """A user's own that bears a name of diffusers."""


def pag(guided):
    kind = pipeline_class("StableDiffusionPAGPipeline")
    kind.do_perturbed_attention_guidance = True
    kind.do_classifier_free_guidance = guided
    return kind


def plain(guided):
    kind = pipeline_class()
    kind.do_classifier_free_guidance = guided
    return kind


@pytest.mark.parametrize(
    ("kind", "pair"),
    [
        (pipeline_class(), ("uncond", "cond")),
        (pipeline_class("LuminaPipeline"), ("cond", "uncond")),
        (pipeline_class("ZImageInpaintPipeline"), ("cond", "uncond")),
        (Server, ("cond", "uncond")),
        (LuminaPipeline, ("uncond", "cond")),
        (pipeline_class("LuminaPipeline", ships=False), None),
        (plain(False), ("uncond", "cond")),
        (pag(True), ("uncond", "cond")),
        (pag(False), ("cond", "perturbed")),
    ],
)
def test_a_batch_of_two_branches_is_laid_out_as_the_class_does_it(kind, pair):
    with Heard(kind(Scheduler())) as ear:
        ear.call()
    assert ear.clock.runs[0].pair == pair


# Attaching


def test_methods_are_given_back():
    ear = heard()
    scheduler, before = ear.pipe.scheduler, inspect.signature(ear.pipe.scheduler.step)
    with ear:
        assert {"step", "set_timesteps"} <= set(vars(scheduler))
        assert "maybe_free_model_hooks" in vars(ear.pipe)
        assert inspect.signature(scheduler.step) == before, "pipelines ask for it"
        assert scheduler.step.__doc__ == "Take a step."
    assert not {"step", "set_timesteps"} & set(vars(scheduler))
    assert "maybe_free_model_hooks" not in vars(ear.pipe)


def test_methods_of_an_instances_own_are_given_back():
    ear = heard()

    def step(model_output, timestep, sample):
        return "own", timestep

    ear.pipe.scheduler.step = step
    with ear:
        assert ear.pipe.scheduler.step(0, 1, 2) == ("own", 1)
    assert vars(ear.pipe.scheduler)["step"] is step
    assert "set_timesteps" not in vars(ear.pipe.scheduler)


def test_two_clocks_on_one_scheduler_are_one_too_many():
    ear = heard()
    second = Heard(other_pipeline(ear.pipe.scheduler))
    with ear, pytest.raises(RuntimeError, match="is in use by the Trace of another pipeline"):
        second.clock.attach()
    second.clock.attach()
    second.clock.detach()


def test_a_pipeline_without_a_last_act_is_watched_as_well():
    ear = heard(frees=False)
    with ear:
        ear.call()
        assert ear.clock.run is ear.clock.runs[0]
        assert set(vars(ear.pipe)) == {"scheduler"}
    assert ear.clock.run is None
    assert ear.told[-1] == ("finish", 0)


def test_a_deep_copy_of_the_scheduler_is_a_plain_one():
    with heard() as ear:
        copied = copy.deepcopy(ear.pipe.scheduler)
        assert inspect.ismethod(copied.step)
        assert copied.step.__self__ is copied
        copied.set_timesteps(2)
        assert copied.step(0, 1, 2) == ("stepped", 1)
        assert (copied.step_index, ear.pipe.scheduler.step_index) == (1, None)
    assert ear.told == []


def test_a_deep_copy_keeps_a_step_of_the_schedulers_own():
    ear = heard()

    def step(model_output, timestep, sample):
        return "own", timestep

    ear.pipe.scheduler.step = step
    with ear:
        assert copy.deepcopy(ear.pipe.scheduler).step is step


def test_attributes_that_were_copied_deeply_and_put_back_are_still_heard():
    with heard() as ear:
        vars(ear.pipe.scheduler).update(copy.deepcopy(vars(ear.pipe.scheduler)))
        ear.call()
    assert ear.clock.runs[0].steps_done == 3
