"""``attnscope maps``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from attnscope.cli import options as o
from attnscope.cli.grouping import MEASURE, Group, grouped
from attnscope.cli.reports.maps import document, report

if TYPE_CHECKING:
    from attnscope.cli.several import Job, Way


@dataclass(frozen=True, kw_only=True)
class _Captions(o.CaptionOptions):
    """One, if none is asked for."""

    embedded: ClassVar[int] = 1
    limit: Annotated[int | None, o.limit(1)] = None


@dataclass(frozen=True, kw_only=True)
class _Looked(Group):
    """Which words, steps, sites and heads have maps, and what else is shown."""

    panel: ClassVar[str] = MEASURE

    # fmt: off
    words: Annotated[str | None, typer.Option(help="Words and phrases that have maps, with commas.", metavar="<word>,…", show_default="all")] = None
    at: Annotated[str | None, typer.Option("--at", help="Steps that are looked at, from 0, with commas.", metavar="<step>,…", show_default="all")] = None
    sites: Annotated[str | None, typer.Option(help="Pattern of site names, such as 'up_blocks.1*'.", metavar="<pattern>", show_default="all")] = None
    heads: Annotated[bool, typer.Option("--heads", help="Maps of every site and head, rather than their mean.")] = False
    features: Annotated[str | None, typer.Option(help="Sites whose outputs are shown by their principal components.", metavar="<pattern>", show_default="none")] = None
    points: Annotated[list[str] | None, typer.Option("--point", help="Point of the image, 0 to 1 of its width and height, and where it looks; repeatable.", metavar="<x>,<y>", show_default="none")] = None
    # fmt: on


@grouped
def maps(
    sampling: o.SeveralBatchedRuns,
    looked: _Looked,
    shown: _Captions,
    planned: o.PlanOptions,
    workers: o.WorkerOptions,
    output: o.OutputOptions,
    typed: Annotated[list[str] | None, typer.Argument(metavar="PROMPT", help="What to draw.", show_default="a held-out caption")] = None,
) -> None:  # fmt: skip
    """Show where in the image every word is attended to, step by step, and how much.

    Probabilities of cross-attention, and of joint attention, averaged over heads and sites; the image
    stays what it is. Maps are written as safetensors with named axes, numbers about them as a table.

    --features shows what sites return, as colours that mean the same at every step; --point where in the
    image one of its points looks.
    """
    from attnscope.analyses.checks import check_plan_ahead
    from attnscope.analyses.maps.run import MapsSettings, carry_out
    from attnscope.cli import crews, parsing, reading, several
    from attnscope.cli.console import quiet_libraries
    from attnscope.plans.base import Baseline
    from attnscope.runs.prompts import digest_of
    from attnscope.runs.sampling import settled

    plans = several.chosen_plans(planned)
    parsing.check_sampling(sampling)
    size = parsing.batch_size(sampling.batch_size)
    words = None if looked.words is None else parsing.names("--words", looked.words)
    steps = None if looked.at is None else parsing.whole_numbers("--at", looked.at, least=0)
    points = None if not looked.points else parsing.points("--point", looked.points)
    ways = several.ways(sampling, plans)
    team = crews.team(workers, output)
    models, inputs = several.Models(output, team), reading.Inputs(shown, typed or ())

    def job(way: Way) -> Job:
        chosen, plan = models.of(way.sampling), way.plan or Baseline()
        prompts, given, source = inputs.of(chosen.described, way.sampling)
        settings = MapsSettings(
            **settled(chosen, vars(way.sampling)),
            captions=source,
            prompts_digest=digest_of(prompts, given),
            plan=str(plan),
            words=words,
            looked_at=steps,
            sites=looked.sites,
            heads=looked.heads,
            features=looked.features,
            points=points,
        )
        check_plan_ahead(chosen, plan, settings.steps)
        start = partial(
            carry_out, chosen=chosen, settings=settings, prompts=prompts, given=given,
            batch_size=size, crew=team.crew, progress=team.progress,
        )  # fmt: skip
        return several.Job("maps", way, chosen, settings, start)

    with quiet_libraries():
        runs = several.carry_out([job(way) for way in ways], output.out, team)
    several.tell(runs, output, report, document)
