"""A gate that is said as a noise level, in nats of log-SNR."""

import random

import diffusers
import numpy as np
import pytest
import toys

from attnscope import CrossReuse, GuidanceCutoff, TGate, Trace
from attnscope.cost.counts import Counts, SiteCost
from attnscope.cost.plans import cost_of
from attnscope.errors import InputError
from attnscope.models.predictions import log_snr
from attnscope.models.schedulers import SCHEDULERS, levels_of, set_scheduler
from attnscope.plans.options import Nats
from attnscope.plans.parts import Alone
from attnscope.plans.text_form import Combined, parse
from attnscope.plans.trajectory import made

COUNTS = Counts((SiteCost("attn", "cross", "", 0, 50, 20, 3, 10),), {"rest": 100}, 9, {})


def scheduler(name, steps):
    class_name, settings = SCHEDULERS[name]
    found = getattr(diffusers, class_name)(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", **settings
    )
    found.set_timesteps(steps)
    return found


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("m=-1nat", TGate(Nats(-1))),
        ("m=-1nats,k=5", TGate(Nats(-1), 5)),
        ("m=0.5 nat", TGate(Nats(0.5))),
        ("gate=-.25nat", TGate(Nats(-0.25))),
        ("guidance-cutoff:m=2nat", GuidanceCutoff(Nats(2))),
        ("cross-reuse:m=-1nat+guidance-cutoff:m=0nat",
         Combined((CrossReuse(Nats(-1)), GuidanceCutoff(Nats(0))))),
    ],
)  # fmt: skip
def test_a_noise_level_is_read_and_written_and_read_again(text, plan):
    assert parse(text) == plan
    assert "nat" in str(plan)
    assert parse(str(plan)) == plan
    assert str(parse(str(plan))) == str(plan)


def test_every_noise_level_reads_back_as_it_is():
    numbers = random.Random(0)
    levels = [0.0, -0.0, 100.0, 1e6, 1e-7, -1.2345678901234567, 1 / 3]
    levels += [numbers.uniform(-9, 9) * 10 ** numbers.randint(-6, 3) for _ in range(200)]
    for level in levels:
        plan = TGate(Nats(level))
        assert parse(str(plan)).gate == level, str(plan)
        assert isinstance(parse(str(plan)).gate, Nats)
    assert str(TGate(Nats(-1))) == "tgate:m=-1nat,k=1,w=2,f=1"
    assert str(Nats(100)) == "100nat"


@pytest.mark.parametrize("value", ["-1", "1.5", "nat", "-1nit", "--1nat", "1e3nat", "-1 0nat"])
def test_what_is_neither_steps_nor_a_noise_level_is_refused(value):
    with pytest.raises(InputError, match="is no whole number"):
        parse(f"m={value}")


def test_intervals_are_counted_in_steps_alone():
    with pytest.raises(InputError, match=r"'2nat' is no whole number"):
        parse("m=3,k=2nat")
    with pytest.raises(InputError, match=r"k \(interval\)=2nat|k \(interval\)=2\.0"):
        TGate(3, Nats(2))
    for level in (float("nan"), float("inf")):
        with pytest.raises(InputError, match="is no whole number"):
            TGate(Nats(level))


@pytest.mark.parametrize("name", ["dpm", "euler", "ddim", "pndm", "heun"])
@pytest.mark.parametrize("steps", [15, 25, 50])
@pytest.mark.parametrize("level", [-3.0, -1.0, 0.0, 2.5])
def test_it_is_placed_at_the_first_step_of_at_least_that_level(name, steps, level):
    one = scheduler(name, steps)
    levels = levels_of(one)
    snr = log_snr(one, one.timesteps)
    assert list(levels) == list(snr)
    assert np.all(np.diff(levels) >= 0)
    first = int(np.argmax(snr >= level)) if (snr >= level).any() else len(snr)
    plan = parse(f"m={level:g}nat,k=3")
    trajectory = made(plan, len(snr), levels=levels)
    assert trajectory.plan == TGate(first, 3)
    assert trajectory.guided_steps == first
    assert plan.placed(levels) == TGate(first, 3)


def test_it_is_the_same_noise_at_any_number_of_steps():
    for steps in (10, 25, 50, 200):
        levels = levels_of(scheduler("dpm", steps))
        gate = parse("m=-1nat").placed(levels).gate
        assert levels[gate - 1] < -1 <= levels[gate]


def test_steps_stay_steps():
    levels = levels_of(scheduler("dpm", 25))
    plan = parse("m=10,k=5")
    assert plan.placed(levels) is plan
    assert plan.placed(None) is plan


LEVELS = (-4.0, -2.0, 0.0, 2.0)


def test_a_combined_plan_and_a_part_of_one_are_placed():
    both = parse("cross-reuse:m=-1nat+guidance-cutoff:m=1nat")
    assert both.placed(LEVELS) == parse("cross-reuse:m=2+guidance-cutoff:m=3")
    part = Alone("m=-1nat", "cross")
    assert part.placed(LEVELS) == Alone("m=2", "cross")
    trajectory = made(part, 4, levels=LEVELS)
    assert trajectory.guided_steps == 4
    assert cost_of(COUNTS, part, 4, levels=LEVELS).macs() < 8 * 170
    assert cost_of(COUNTS, "m=-1nat", 4, levels=LEVELS).macs() == (cost_of(COUNTS, "m=2", 4).macs())


@pytest.mark.parametrize(
    "plan", ["m=-1nat", "m=-1nat+null-text-late:m=2", Alone("m=-1nat", "cross")], ids=str
)
def test_levels_that_are_not_known_refuse_it(plan):
    with pytest.raises(InputError, match=r"m \(gate\)=-1nat is a noise level, and those of the"):
        made(parse(plan), 4)
    with pytest.raises(InputError, match="say it in steps"):
        cost_of(COUNTS, plan, 4)


def test_a_level_before_the_first_step_is_refused():
    with pytest.raises(InputError, match=r"-5nat lies before the first .*-4nat and ends at 2nat"):
        made(parse("m=-5nat"), 4, levels=LEVELS)
    assert made(parse("m=9nat"), 4, levels=LEVELS).plan.gate == 4  # the plan has nothing to do


def test_levels_are_as_many_as_steps():
    with pytest.raises(InputError, match="4 noise levels do not fit 5 steps"):
        made(parse("m=2"), 5, levels=LEVELS)


@pytest.mark.parametrize("name", ["dpm", "euler", "ddim"])
def test_a_pipeline_carries_it_out_at_its_own_levels(name, sd):
    set_scheduler(sd, name)
    with Trace(sd, plan="m=-1nat,k=2,w=0") as trace:
        ours = toys.call(sd, steps=8)
        gate = int((log_snr(sd.scheduler, sd.scheduler.timesteps) < -1).sum())
        assert trace.runs[-1].guided_steps == gate
        toys.call(sd, steps=12)
        assert trace.runs[-1].guided_steps > gate
    with Trace(sd, plan=f"m={gate},k=2,w=0"):
        assert (toys.call(sd, steps=8) == ours).all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # diffusers' of numpy
def test_a_pipeline_whose_scheduler_does_not_tell_is_refused(sd):
    sd.scheduler = diffusers.KDPM2DiscreteScheduler.from_config(sd.scheduler.config)
    with pytest.raises(InputError, match="is a noise level, and"), Trace(sd, plan="m=-1nat"):
        toys.call(sd, steps=4)
