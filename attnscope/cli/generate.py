"""``attnscope generate``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from attnscope.cli import options as o
from attnscope.cli.grouping import grouped
from attnscope.cli.reports.generation import document, report

if TYPE_CHECKING:
    from attnscope.cli.several import Job, Way


@dataclass(frozen=True, kw_only=True)
class _Captions(o.CaptionOptions):
    """As many as a figure shows side by side."""

    embedded: ClassVar[int] = 8
    limit: Annotated[int | None, o.limit(8)] = None


@grouped
def generate(
    sampling: o.SeveralBatchedRuns,
    shown: _Captions,
    judged: o.QualityOptions,
    planned: o.PlanOptions,
    workers: o.WorkerOptions,
    output: o.OutputOptions,
    typed: Annotated[list[str] | None, typer.Argument(metavar="PROMPT", help="What to draw.", show_default="captions")] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Make the same images without the plan too.")] = False,
    plans: o.Plans = None,
    each_step: Annotated[bool, typer.Option("--each-step", help="With --plans: also the image after every step, of the first prompts.")] = False,
    judge: Annotated[bool, typer.Option("--judge", help="Also measure how good the images are.")] = False,
) -> None:  # fmt: skip
    """Make images, by T-GATE or another plan, and say what was computed, reused and gained.

    Without prompts: the embedded U-Net on 8 held-out captions. It knows coloured shapes and nothing
    else; words that a model does not know are named.
    """
    from attnscope.analyses.checks import check_plan_ahead
    from attnscope.analyses.generation import GenerationSettings, carry_out
    from attnscope.cli import crews, parsing, reading, several
    from attnscope.cli.console import quiet_libraries
    from attnscope.cli.flags import flag
    from attnscope.errors import InputError
    from attnscope.plans.base import Baseline
    from attnscope.runs.prompts import digest_of
    from attnscope.runs.sampling import settled

    if plans is not None or each_step:
        from attnscope.cli.grids import generate_plans

        if judge or judged.given():
            asked = " and ".join(map(flag, [*(["judge"] if judge else []), *judged.given()]))
            raise InputError(
                f"{asked}: images of one plan are judged here; 'attnscope bench --plans … --frontier' judges "
                "those of several"
            )
        generate_plans(
            plans, planned, compare, each_step, sampling, shown, output, workers, typed or ()
        )
        return
    chosen_plans = several.chosen_plans(planned)
    if compare and {*chosen_plans.values()} <= {None, Baseline()}:
        raise InputError("--compare needs a plan to compare with: give --tgate or --plan")
    if judged.given() and not judge:
        idle = " and ".join(flag(name) for name in judged.given())
        raise InputError(f"{idle}: for --judge only, so add it")
    parsing.check_sampling(sampling)
    size = parsing.batch_size(sampling.batch_size)
    ways = several.ways(sampling, chosen_plans)
    team = crews.team(workers, output)
    progress = team.progress
    models, inputs = (
        several.Models(output, team),
        reading.Inputs(shown, typed or (), parsing.chosen_questions(judged)),
    )

    def job(way: Way) -> Job:
        chosen, plan = models.of(way.sampling), way.plan or Baseline()
        prompts, given, source = inputs.of(chosen.described, way.sampling)
        settings = GenerationSettings(
            **settled(chosen, vars(way.sampling)),
            captions=source,
            prompts_digest=digest_of(prompts, given),
            plan=str(plan),
            compare=compare,
        )
        check_plan_ahead(chosen, plan, settings.steps)
        quality = None
        if judge:
            quality = parsing.chosen_quality(
                judged, [chosen.name], prompts, (settings.height, settings.width),
                device=chosen.here, output=output, progress=progress,
            )  # fmt: skip
        start = partial(
            carry_out, chosen=chosen, settings=settings, prompts=prompts, given=given, quality=quality,
            batch_size=size, crew=team.crew, progress=progress,
        )  # fmt: skip
        return several.Job("generate", way, chosen, settings, start)

    with quiet_libraries():
        runs = several.carry_out([job(way) for way in ways], output.out, team)
    several.tell(
        runs, output, partial(report, adjust=judged.adjust), document, adjust=judged.adjust
    )
