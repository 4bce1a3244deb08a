"""``attnscope generate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnscope.cli import options as o
from attnscope.cli.reports.generation import report

_DEFAULT_LIMIT = 8


def generate(
    typed: Annotated[list[str] | None, typer.Argument(metavar="[PROMPT]...", help="What to draw.")] = None,
    tgate: o.TGate = None,
    other: o.OtherPlan = None,
    compare: Annotated[bool, typer.Option("--compare", help="Make the same images without the plan too.")] = False,
    model: o.Model = "shapes",
    captions: o.Captions = None,
    images: o.Images = None,
    column: o.Column = None,
    limit: o.Limit = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps; default: the model's.")] = None,
    scheduler: o.Scheduler = None,
    guidance: o.Guidance = None,
    seed: o.Seed = 0,
    batch_size: o.BatchSize = "auto",
    height: o.Height = None,
    width: o.Width = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    out: Annotated[Path | None, typer.Option(help="Run directory; default: runs/generate-…")] = None,
    offline: o.Offline = False,
    allow_pickle: o.AllowPickle = False,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
) -> None:  # fmt: skip
    """Make images, by T-GATE or another plan, and say what was computed, reused and gained.

    Without prompts: the embedded model on 8 held-out captions. It knows coloured shapes and nothing
    else; words that a model does not know are named.
    """
    from attnscope.analyses.generation import Settings, carry_out
    from attnscope.cli import parsing, reading
    from attnscope.cli.console import Bars, quiet_libraries
    from attnscope.errors import InputError
    from attnscope.models.chosen import ChosenModel
    from attnscope.plans.base import Baseline
    from attnscope.runs.folder import default_path
    from attnscope.runs.prompts import digest_of

    plan = parsing.chosen_plan(tgate, other) or Baseline()
    if compare and plan == Baseline():
        raise InputError("--compare needs a plan to compare with: give --tgate or --plan")
    chosen = ChosenModel(
        model, scheduler=scheduler, device=device, dtype=dtype, offline=offline,
        allow_pickle=allow_pickle,
    )  # fmt: skip
    described = chosen.described
    parsing.check_size(height, width)
    parsing.check_guidance(guidance)
    size = parsing.batch_size(batch_size)
    if limit is None and captions is None and not typed and model == "shapes":
        limit = _DEFAULT_LIMIT
    prompts, given, source = reading.read(
        described,
        captions,
        images,
        column,
        limit,
        seed,
        (height, width),
        typed or (),
    )
    reading.warn_of_world([described], prompts)
    with quiet_libraries():
        weights = chosen.weights
        tall, wide = chosen.size(height, width)
        settings = Settings(
            model=model,
            weights=weights,
            captions=source,
            prompts_digest=digest_of(prompts, given),
            plan=str(plan),
            compare=compare,
            steps=steps or described.steps,
            scheduler=chosen.scheduler,
            guidance=described.guidance if guidance is None else guidance,
            seed=seed,
            height=tall,
            width=wide,
            dtype=chosen.dtype,
        )
        path = out or default_path("generate", model, settings)
        run = carry_out(
            path, chosen, settings, prompts, given, batch_size=size,
            progress=Bars(quiet=quiet or as_json),
        )  # fmt: skip
    report(run, quiet=quiet, as_json=as_json)
