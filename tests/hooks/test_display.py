"""What a Trace, an acceleration and an observer show of themselves, and what stands in for them."""

import pytest
import toys

import attnscope
from attnscope import (
    Baseline,
    BranchDistance,
    CaptionDistance,
    FeatureMaps,
    NoiseMean,
    StepDistance,
    TGate,
    Trace,
    accelerate,
)
from attnscope.errors import InputError

PLAN = "tgate:m=2,k=1,w=2,f=1"


def test_a_trace_shows_its_plan_its_observers_and_whether_it_is_on(sd):
    trace = Trace(sd, plan="m=2", observers=[StepDistance(), NoiseMean()])
    told = (
        f"<Trace of StableDiffusionPipeline: plan {PLAN}; observers StepDistance, NoiseMean; "
        "now {}; runs {}>"
    )
    assert repr(trace) == told.format("off", 0)
    with trace:
        assert repr(trace) == told.format("on", 0)
        assert trace.is_on
        toys.call(sd)
        toys.call(sd)
        assert repr(trace) == told.format("on", 2)
    assert repr(trace) == told.format("off", 2)
    assert not trace.is_on


def test_a_trace_of_a_pipeline_that_another_trace_took_over_is_off(sd):
    first = accelerate(sd, "m=2")
    attnscope.disable(sd)
    second = accelerate(sd, "m=3")
    assert (first.is_on, second.is_on) == (False, True)
    second.disable()
    assert not second.is_on


def test_an_acceleration_shows_its_plan_and_counts_the_runs_that_it_does_not_keep(sd):
    handle = accelerate(sd, TGate(2))
    for _ in range(3):
        toys.call(sd)
    told = f"<Acceleration of StableDiffusionPipeline: plan {PLAN}; now {{}}; runs 3>"
    assert repr(handle) == told.format("on")
    handle.disable()
    assert repr(handle) == told.format("off")


def test_notebooks_show_a_table(sd):
    with accelerate(sd, "m=2") as handle:
        shown = handle._repr_html_()
    for part in (
        "<caption>Acceleration of StableDiffusionPipeline</caption>",
        f"<tr><th>plan</th><td>{PLAN}</td></tr>",
        "<tr><th>now</th><td>on</td></tr>",
        "<tr><th>runs</th><td>0</td></tr>",
    ):
        assert part in shown
    assert "observers" not in shown, "it has none"
    shown = Trace(sd, observers=[StepDistance("cross")])._repr_html_()
    assert "<caption>Trace of StableDiffusionPipeline</caption>" in shown
    assert "<tr><th>observers</th><td>StepDistance</td></tr>" in shown


def test_a_table_holds_no_markup_of_a_plan(sd):
    class Marked(Baseline):
        name = "<script>"

    shown = Trace(sd, plan=Marked())._repr_html_()
    assert "<script>" not in shown
    assert "<td>&lt;script&gt;</td>" in shown


def test_an_observer_shows_how_it_was_made():
    shown = repr(StepDistance(("cross", "block"), "mid*"))
    assert shown == "StepDistance(kinds=('cross', 'block'), sites='mid*', store='device')"
    assert repr(NoiseMean()) == "NoiseMean()"
    assert repr(BranchDistance()) == "BranchDistance(kinds=('cross', 'self'), sites=None)"


def test_notebooks_show_a_table_of_an_observer_and_whether_it_served(sd):
    observer = StepDistance(("cross",))
    shown = observer._repr_html_()
    assert shown.startswith("<table><caption>StepDistance</caption>")
    assert "<tr><th>kinds</th><td>(&#x27;cross&#x27;,)</td></tr>" in shown
    assert "<tr><th>served a Trace</th><td>not yet</td></tr>" in shown
    with Trace(sd, observers=[observer]):
        toys.call(sd)
    assert "<tr><th>served a Trace</th><td>yes</td></tr>" in observer._repr_html_()


def test_the_class_of_an_observer_is_no_observer(sd):
    with pytest.raises(InputError, match=r"the class StepDistance, .*: write StepDistance\(\)$"):
        Trace(sd, observers=[StepDistance])
    with pytest.raises(InputError, match=r"write FeatureMaps\(sites=…, steps=…\)$"):
        Trace(sd, observers=[NoiseMean(), FeatureMaps])


def test_an_observer_alone_is_no_list(sd):
    with pytest.raises(InputError, match=r"write observers=\[StepDistance\(kinds=.*\)\]$"):
        Trace(sd, observers=StepDistance())
    with pytest.raises(InputError, match=r"write observers=\[CaptionDistance\(pairs=…\)\]$"):
        Trace(sd, observers=CaptionDistance)


@pytest.mark.parametrize("observers", [["steps"], [print], [None], "steps", 5, None])
def test_something_that_is_no_observer_is_refused(sd, observers):
    told = r"no (list of )?observers?: give objects of the classes in attnscope\.observers"
    with pytest.raises(InputError, match=told):
        Trace(sd, observers=observers)


def test_observers_may_come_one_by_one(sd):
    with Trace(sd, observers=(made() for made in (StepDistance, NoiseMean))) as trace:
        toys.call(sd)
    assert len(trace.observers) == 2


def test_what_is_on_a_pipeline_already_is_named_with_the_way_to_take_it_off(sd):
    accelerate(sd, "m=2")
    message = (
        rf"traced already, by <Trace of StableDiffusionPipeline: plan {PLAN}; now on; "
        r"runs 0>: attnscope\.disable\(pipe\) takes it off"
    )
    with pytest.raises(RuntimeError, match=message):
        accelerate(sd, "m=3")
    attnscope.disable(sd)
    with accelerate(sd, "m=3"):
        toys.call(sd)
    with Trace(sd, observers=[StepDistance()]) as trace:
        toys.call(sd)
        with pytest.raises(RuntimeError, match=r"by <Trace .* observers StepDistance; .* runs 1>"):
            accelerate(sd, "m=3")
    assert len(trace.records())
