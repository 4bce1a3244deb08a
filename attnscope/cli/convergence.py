"""``attnscope convergence``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnscope.cli import options as o
from attnscope.cli.reports.convergence import report


def convergence(
    model: o.Model = "shapes",
    captions: o.Captions = None,
    images: o.Images = None,
    column: o.Column = None,
    limit: o.Limit = None,
    steps: Annotated[int | None, typer.Option(min=2, help="Denoising steps; default: the model's.")] = None,
    scheduler: o.Scheduler = None,
    guidance: o.Guidance = None,
    seed: o.Seed = 0,
    batch_size: o.BatchSize = "auto",
    kinds: Annotated[str, typer.Option(help="Kinds of attention: cross, self, joint.")] = "cross,self",
    sites: Annotated[str | None, typer.Option(help="Pattern of site names, such as 'up_blocks.1*'.")] = None,
    height: o.Height = None,
    width: o.Width = None,
    threshold: o.Threshold = 0.05,
    controls: Annotated[bool, typer.Option("--controls", help="Measure also what Figure 2 needs beside it; takes seven times as long.")] = False,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    out: Annotated[Path | None, typer.Option(help="Run directory; default: runs/convergence-…")] = None,
    offline: o.Offline = False,
    allow_pickle: o.AllowPickle = False,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
) -> None:  # fmt: skip
    """Measure when attention converges, and draw the paper's Figures 2 and A4.

    Without arguments: the embedded model on 64 held-out captions.
    """
    from attnscope.analyses.convergence.measure import Settings
    from attnscope.analyses.convergence.run import carry_out
    from attnscope.cli import parsing, reading
    from attnscope.cli.console import Bars, quiet_libraries
    from attnscope.models.chosen import ChosenModel
    from attnscope.runs.folder import default_path
    from attnscope.runs.prompts import digest_of

    chosen = ChosenModel(
        model, scheduler=scheduler, device=device, dtype=dtype, offline=offline,
        allow_pickle=allow_pickle,
    )  # fmt: skip
    described = chosen.described
    chosen_kinds = parsing.kinds(kinds)
    parsing.check_size(height, width)
    parsing.check_guidance(guidance)
    size = parsing.batch_size(batch_size)
    prompts, given, source = reading.read(
        described, captions, images, column, limit, seed, (height, width)
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
            limit=len(prompts),
            steps=steps or described.steps,
            scheduler=chosen.scheduler,
            guidance=described.guidance if guidance is None else guidance,
            seed=seed,
            kinds=chosen_kinds,
            sites=sites,
            height=tall,
            width=wide,
            dtype=chosen.dtype,
        )
        path = out or default_path("convergence", model, settings)
        run = carry_out(
            path, chosen, settings, prompts, given, batch_size=size, controls=controls,
            progress=Bars(quiet=quiet or as_json),
        )  # fmt: skip
    report(run, threshold=threshold, quiet=quiet, as_json=as_json)
