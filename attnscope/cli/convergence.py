"""``attnscope convergence``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnscope.cli import options as o

if TYPE_CHECKING:
    import pandas as pd

    from attnscope.runs import Run


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
    from attnscope.analyses.convergence import Settings, measure
    from attnscope.calling import default_batch_size
    from attnscope.cli import inputs
    from attnscope.cli.console import messages, progress, quiet_libraries
    from attnscope.cli.controls import measure_controls
    from attnscope.runs import Run, default_path

    chosen = inputs.ChosenModel(
        model, scheduler=scheduler, device=device, dtype=dtype, offline=offline,
        allow_pickle=allow_pickle,
    )  # fmt: skip
    described = chosen.described
    chosen_kinds = inputs.kinds(kinds)
    inputs.check_size(height, width)
    inputs.check_guidance(guidance)
    size = inputs.batch_size(batch_size)
    prompts, given, source = inputs.read(
        described, captions, images, column, limit, seed, (height, width)
    )
    inputs.warn_of_world([described], prompts)
    with quiet_libraries():
        weights = chosen.weights
        tall, wide = chosen.size(height, width)
        settings = Settings(
            model=model,
            weights=weights,
            captions=source,
            prompts_digest=inputs.digest(prompts, given),
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
            inputs.check_sites(pipe, chosen_kinds, sites)
            inputs.check_steps(pipe, settings.steps)
            inputs.warn_of_text(pipe, prompts)
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
            opened().write_table("prompts", inputs.table(prompts))
            opened().finish_table("records", records)
        if controls:
            measure_controls(
                Run(path), chosen, settings, prompts, given, size=size, quiet=quiet or as_json
            )
    report(Run(path), threshold=threshold, quiet=quiet, as_json=as_json)


def report(run: Run, *, threshold: float, quiet: bool, as_json: bool) -> None:
    """Draw a convergence run's figures and print when its sites converged."""
    from attnscope.analyses.convergence import converged_steps, still
    from attnscope.cli.console import messages, results, show_json, show_table
    from attnscope.cli.controls import report_controls
    from attnscope.figures.saving import save_figures

    records = run.read_table("records")
    figures = save_figures(run)
    table = converged_steps(records, threshold)
    run.write_csv("converged", table)
    if as_json:
        show_json(
            {
                "run": run.path,
                "figures": figures,
                "threshold": threshold,
                "still": [{"kind": kind, "branch": branch} for kind, branch in still(records)],
                "sites": table,
            }
        )
        return
    if quiet:
        print(run.path)
        return
    shown = _by_site(table) if len(table) <= 24 else _by_block(table)
    title = (
        f"{run.settings['model']}{_size(run)}, {run.settings['limit']} prompts, {_steps(run, records)}: "
        f"when is a site's relative change under {threshold:.0%} of its first?"
    )
    formats = dict.fromkeys(("first", "last", "first change", "last change"), ".3f")
    show_table(shown, title, formats)
    for kind, branch in still(records):
        messages.print(
            f"note: {kind}-attention of the branch '{branch}' does not change over the steps at all: "
            "all that it looks at is one value (a single token, or a text of zeros)"
        )
    if run.has_table("controls"):
        report_controls(run)
    results.print(f"every site: {run.path / 'converged.csv'}", soft_wrap=True)
    results.print(f"run directory: {run.path}", soft_wrap=True)
    for figure in figures:
        results.print(f"figure: {figure} and .pdf", soft_wrap=True)


def _size(run: Run) -> str:
    width, height = run.settings.get("width"), run.settings.get("height")
    return f" at {width}x{height}" if width and height else ""


def _steps(run: Run, records: pd.DataFrame) -> str:
    """The steps that were made: Heun and PNDM make more than they are asked for."""
    made, asked = int(records["step"].max()) + 1, run.settings["steps"]
    return f"{made} steps" + (f" ({asked} asked for)" if made != asked else "")


def _by_site(table: pd.DataFrame) -> pd.DataFrame:
    from attnscope.plots import short_site

    shown = table.drop(columns="block")
    shown["site"] = [short_site(name) for name in table["site"]]
    return shown.rename(columns={"first": "first change", "last": "last change"})


def _by_block(table: pd.DataFrame) -> pd.DataFrame:
    """Sites are many in large models: how many of a block have converged, and between which steps."""
    import pandas as pd

    rows = []
    for (block, kind), group in table.groupby(["block", "kind"], observed=True, sort=False):
        steps = group["step"].dropna()
        rows.append(
            {
                "block": block,
                "kind": kind,
                "converged": f"{len(steps)} of {len(group)}",
                "earliest": steps.min() if len(steps) else None,
                "latest": steps.max() if len(steps) else None,
                "first change": group["first"].mean(),
                "last change": group["last"].mean(),
            }
        )
    return pd.DataFrame(rows).astype({"earliest": "Int64", "latest": "Int64"})
