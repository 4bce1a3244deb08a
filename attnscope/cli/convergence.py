"""``attnscope convergence``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnscope.cli import options as o
from attnscope.cli.reports.convergence import report

if TYPE_CHECKING:
    from attnscope.runs.folder import Run


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
    from attnscope.analyses.convergence.measure import Settings, measure
    from attnscope.cli import parsing, reading
    from attnscope.cli.console import messages, progress, quiet_libraries
    from attnscope.cli.controls import measure_controls
    from attnscope.models.calling import default_batch_size
    from attnscope.models.chosen import ChosenModel
    from attnscope.runs.folder import Run, default_path
    from attnscope.runs.prompts import digest_of, table_of

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
        if not Run.check(path, "convergence", settings) or not Run(path).has_table("records"):
            pipe = chosen.pipe
            parsing.check_sites(pipe, chosen_kinds, sites)
            parsing.check_steps(pipe, settings.steps)
            reading.warn_of_text(pipe, prompts)
            size = min(size or default_batch_size(pipe, chosen.device), len(prompts))

            def opened() -> Run:
                return Run.open(
                    path, "convergence", settings,
                    device=chosen.device, batch_size=size, scheduler=type(pipe.scheduler).__name__,
                )  # fmt: skip

            def halved(count: int) -> None:
                nonlocal size
                size = count
                messages.print(f"out of memory: going on with batches of {count}")

            done = Run(path).read_parts("records") if (path / "run.json").exists() else []
            with progress(f"{model}: prompts", len(prompts), quiet=quiet or as_json) as advance:
                records = measure(
                    pipe, settings, prompts, given, batch_size=size, done=done,
                    on_part=lambda part: opened().write_part("records", part), on_batch=advance,
                    on_halving=halved,
                    **described.options,
                )  # fmt: skip
            opened().write_table("prompts", table_of(prompts))
            opened().finish_table("records", records)
        if controls:
            measure_controls(
                Run(path), chosen, settings, prompts, given, size=size, quiet=quiet or as_json
            )
    report(Run(path), threshold=threshold, quiet=quiet, as_json=as_json)
