"""``attnscope convergence``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from attnscope.cli import options as o
from attnscope.cli.grouping import grouped
from attnscope.cli.reports.convergence import report


@dataclass(frozen=True, kw_only=True)
class _Sampling(o.BatchedSampling):
    """Of one step nothing can converge."""

    steps: Annotated[int | None, typer.Option(min=2, help=o.STEPS_HELP)] = None


@grouped
def convergence(
    sampling: _Sampling,
    shown: o.CaptionOptions,
    output: o.OutputOptions,
    kinds: Annotated[str, typer.Option(help="Kinds of attention: cross, self, joint.", autocompletion=o.one_of("cross", "self", "joint"))] = "cross,self",
    sites: Annotated[str | None, typer.Option(help="Pattern of site names, such as 'up_blocks.1*'.")] = None,
    threshold: o.Threshold = o.THRESHOLD,
    controls: Annotated[bool, typer.Option("--controls", help="Measure also what Figure 2 needs beside it; takes seven times as long.")] = False,
) -> None:  # fmt: skip
    """Measure when attention converges, and draw the paper's Figures 2 and A4.

    Without arguments: the embedded model on 64 held-out captions.
    """
    from attnscope.analyses.convergence.measure import ConvergenceSettings
    from attnscope.analyses.convergence.run import carry_out
    from attnscope.cli import parsing, reading
    from attnscope.cli.console import Bars, quiet_libraries
    from attnscope.runs.folder import default_path
    from attnscope.runs.prompts import digest_of
    from attnscope.runs.sampling import settled

    chosen = parsing.chosen_model(sampling, output)
    chosen_kinds = parsing.kinds(kinds)
    parsing.check_sampling(sampling)
    size = parsing.batch_size(sampling.batch_size)
    prompts, given, source = reading.read(
        chosen.described, shown, sampling.seed, (sampling.height, sampling.width)
    )
    reading.warn_of_world([chosen.described], prompts)
    with quiet_libraries():
        settings = ConvergenceSettings(
            **settled(chosen, vars(sampling)),
            captions=source,
            prompts_digest=digest_of(prompts, given),
            limit=len(prompts),
            kinds=chosen_kinds,
            sites=sites,
        )
        path = output.out or default_path("convergence", chosen.name, settings)
        run = carry_out(
            path, chosen, settings, prompts, given, batch_size=size, controls=controls,
            progress=Bars(quiet=output.silent),
        )  # fmt: skip
    report(run, threshold=threshold, quiet=output.quiet, as_json=output.as_json)
