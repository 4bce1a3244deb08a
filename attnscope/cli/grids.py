"""``attnscope generate --plans``: several plans in one run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from attnscope.cli import options as o

if TYPE_CHECKING:
    from attnscope.cli.several import Job, Way


def generate_plans(
    plans: str | None,
    planned: o.PlanOptions,
    compare: bool,
    each_step: bool,
    sampling: o.SeveralBatchedRuns,
    shown: o.CaptionOptions,
    output: o.OutputOptions,
    workers: o.WorkerOptions,
    typed: Sequence[str],
) -> None:
    """Make the same images by every plan, and say what each costs.

    Several steps, schedulers and seeds are runs of their own.

    Raises:
        InputError: the options do not go together, or a plan does not fit the model.
    """
    from attnscope.analyses.checks import check_plan_ahead
    from attnscope.analyses.grid.run import carry_out
    from attnscope.analyses.grid.settings import COMMAND, GridSettings
    from attnscope.cli import crews, parsing, reading, several
    from attnscope.cli.console import quiet_libraries
    from attnscope.cli.plan_lists import check_alone, plan_list
    from attnscope.cli.reports.grid import document, report
    from attnscope.errors import InputError
    from attnscope.runs.prompts import digest_of
    from attnscope.runs.sampling import settled

    if plans is None:
        raise InputError(
            '--each-step shows plans beside each other: give --plans "baseline;m=1", too'
        )
    check_alone(planned, compare=compare)
    listed = plan_list(plans)
    parsing.check_sampling(sampling)
    size = parsing.batch_size(sampling.batch_size)
    ways = several.ways(sampling)
    team = crews.team(workers, output)
    models, inputs = several.Models(output, team), reading.Inputs(shown, typed)

    def job(way: Way) -> Job:
        chosen = models.of(way.sampling)
        prompts, given, source = inputs.of(chosen.described, way.sampling)
        settings = GridSettings(
            **settled(chosen, vars(way.sampling)),
            captions=source,
            prompts_digest=digest_of(prompts, given),
            plans=tuple(map(str, listed)),
            stages=each_step or None,
        )
        for plan in listed:
            check_plan_ahead(chosen, plan, settings.steps)
        start = partial(
            carry_out, chosen=chosen, settings=settings, prompts=prompts, given=given,
            batch_size=size, crew=team.crew, progress=team.progress,
        )  # fmt: skip
        return several.Job(COMMAND, way, chosen, settings, start)

    with quiet_libraries():
        runs = several.carry_out([job(way) for way in ways], output.out, team)
    several.tell(runs, output, report, document)
