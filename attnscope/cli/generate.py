"""``attnscope generate``."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from attnscope.cli import options as o
from attnscope.cli.grouping import grouped
from attnscope.cli.reports.generation import report

_DEFAULT_LIMIT = 8


@grouped
def generate(
    sampling: o.BatchedSampling,
    shown: o.CaptionOptions,
    output: o.OutputOptions,
    typed: Annotated[list[str] | None, typer.Argument(metavar="[PROMPT]...", help="What to draw.")] = None,
    tgate: o.TGate = None,
    other: o.OtherPlan = None,
    compare: Annotated[bool, typer.Option("--compare", help="Make the same images without the plan too.")] = False,
) -> None:  # fmt: skip
    """Make images, by T-GATE or another plan, and say what was computed, reused and gained.

    Without prompts: the embedded model on 8 held-out captions. It knows coloured shapes and nothing
    else; words that a model does not know are named.
    """
    from attnscope.analyses.generation import GenerationSettings, carry_out
    from attnscope.cli import parsing, reading
    from attnscope.cli.console import Bars, quiet_libraries
    from attnscope.errors import InputError
    from attnscope.models.names import is_of_shapes
    from attnscope.plans.base import Baseline
    from attnscope.runs.folder import default_path
    from attnscope.runs.prompts import digest_of
    from attnscope.runs.sampling import settled

    plan = parsing.chosen_plan(tgate, other) or Baseline()
    if compare and plan == Baseline():
        raise InputError("--compare needs a plan to compare with: give --tgate or --plan")
    chosen = parsing.chosen_model(sampling, output)
    parsing.check_sampling(sampling)
    size = parsing.batch_size(sampling.batch_size)
    if (
        shown.limit is None
        and shown.captions is None
        and not typed
        and is_of_shapes(chosen.described)
    ):
        shown = replace(shown, limit=_DEFAULT_LIMIT)
    prompts, given, source = reading.read(
        chosen.described, shown, sampling.seed, (sampling.height, sampling.width), typed or ()
    )
    reading.warn_of_world([chosen.described], prompts)
    with quiet_libraries():
        settings = GenerationSettings(
            **settled(chosen, vars(sampling)),
            captions=source,
            prompts_digest=digest_of(prompts, given),
            plan=str(plan),
            compare=compare,
        )
        path = output.out or default_path("generate", chosen.name, settings)
        run = carry_out(
            path, chosen, settings, prompts, given, batch_size=size,
            progress=Bars(quiet=output.silent),
        )  # fmt: skip
    report(run, quiet=output.quiet, as_json=output.as_json)
