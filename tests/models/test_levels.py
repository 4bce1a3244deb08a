"""Noise levels that are known before a model is loaded are those of its runs."""

import pytest

from attnscope.analyses.checks import check_plan_ahead
from attnscope.errors import InputError
from attnscope.models import architectures
from attnscope.models.chosen import ChosenModel, RandomModel
from attnscope.models.schedulers import SCHEDULERS, levels_of
from attnscope.plans.options import Nats
from attnscope.plans.reuse import TGate
from attnscope.plans.timetable import Timetable


def chosen(name, scheduler=None):
    return ChosenModel(
        name, scheduler=scheduler, device="cpu", dtype="auto", offline=True, allow_pickle=False
    )


@pytest.mark.parametrize("scheduler", [None, *SCHEDULERS])
def test_levels_are_those_that_the_loaded_pipeline_runs_at(folder, scheduler):
    model = chosen(str(folder), scheduler)
    found = model.levels(6)
    assert "pipe" not in vars(model)
    model.pipe.scheduler.set_timesteps(6)
    assert found == levels_of(model.pipe.scheduler)
    assert len(found) == model.steps_made(6)
    assert found == tuple(sorted(found))


def test_levels_of_a_model_that_is_not_here_are_not_known():
    assert chosen("nobody/nothing").levels(6) is None


def test_random_weights_have_the_levels_of_the_pipeline_that_is_built():
    model = RandomModel(architectures.find("pixart"), device="cpu", dtype="float32")
    levels = model.levels(8)
    assert len(levels) == 8
    assert levels == tuple(sorted(levels))
    assert RandomModel(architectures.find("svd"), device="cpu", dtype="auto").levels(8) is None


def test_what_goes_by_levels_is_refused_ahead_where_they_are_known_and_waits_where_not(folder):
    table = Timetable((-5.0, 0.0, 5.0), (), "bbb")
    here, away = chosen(str(folder)), chosen("nobody/nothing")
    for plan in (table, TGate(Nats(-1.0))):
        check_plan_ahead(here, plan, 6)
        check_plan_ahead(away, plan, 6)
    with pytest.raises(InputError, match="lies before the first"):
        check_plan_ahead(here, TGate(Nats(-99.0)), 6)
    for model in (here, away):
        with pytest.raises(InputError, match="beyond the last step"):
            check_plan_ahead(model, TGate(7), 6)
