"""``attnscope convergence``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from attnscope.analyses.convergence import THRESHOLD
from attnscope.cli import options as o
from attnscope.cli.choices import choice
from attnscope.cli.grouping import grouped
from attnscope.cli.reports.convergence import document, report
from attnscope.kinds import KINDS

if TYPE_CHECKING:
    from attnscope.cli.several import Job, Way

_LEAST_STEPS = 2
"""Of one step nothing can converge."""


@grouped
def convergence(
    sampling: o.SeveralBatchedRuns,
    shown: o.CaptionOptions,
    workers: o.WorkerOptions,
    output: o.OutputOptions,
    kinds: Annotated[str, choice(KINDS, several=True, help="Kinds of attention.")] = "cross,self",
    sites: Annotated[str | None, typer.Option(help="Pattern of site names, such as 'up_blocks.1*'.", metavar="<pattern>", show_default="all")] = None,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Part of the first change that counts as converged.")] = THRESHOLD,
    controls: Annotated[bool, typer.Option("--controls", help="Measure also what Figure 2 needs beside it; takes seven times as long.")] = False,
) -> None:  # fmt: skip
    """Measure when attention converges, and draw the paper's Figures 2 and A3.

    Without arguments: the embedded U-Net, shapes, on 64 held-out captions.
    """
    from attnscope.analyses.convergence.measure import ConvergenceSettings
    from attnscope.analyses.convergence.run import carry_out
    from attnscope.cli import crews, parsing, reading, several
    from attnscope.cli.console import quiet_libraries
    from attnscope.runs.prompts import digest_of
    from attnscope.runs.sampling import settled

    parsing.check_sampling(sampling)
    size, chosen_kinds = parsing.batch_size(sampling.batch_size), parsing.kinds(kinds)
    ways = several.ways(sampling, least=_LEAST_STEPS)
    team = crews.team(workers, output)
    models, inputs = several.Models(output, team), reading.Inputs(shown)

    def job(way: Way) -> Job:
        chosen = models.of(way.sampling)
        prompts, given, source = inputs.of(chosen.described, way.sampling)
        settings = ConvergenceSettings(
            **settled(chosen, vars(way.sampling)),
            captions=source,
            prompts_digest=digest_of(prompts, given),
            limit=len(prompts),
            kinds=chosen_kinds,
            sites=sites,
        )
        start = partial(
            carry_out, chosen=chosen, settings=settings, prompts=prompts, given=given,
            batch_size=size, controls=controls, crew=team.crew, progress=team.progress,
        )  # fmt: skip
        return several.Job("convergence", way, chosen, settings, start)

    with quiet_libraries():
        runs = several.carry_out([job(way) for way in ways], output.out, team)
    several.tell(
        runs, output, partial(report, threshold=threshold), partial(document, threshold=threshold)
    )
