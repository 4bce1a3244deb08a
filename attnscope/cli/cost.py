"""``attnscope cost``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnscope.cli import options as o
from attnscope.cli.grouping import MODEL, OUTPUT, grouped
from attnscope.cli.reports import published
from attnscope.cli.reports.cost import files_of, show, show_files
from attnscope.cli.reports.cost_files import document

if TYPE_CHECKING:
    from attnscope.plans.options import Levels


@grouped
def cost(
    context: typer.Context,
    tables: Annotated[str | None, typer.Argument(metavar="[paper]", help="'paper' is the paper's cost tables beside what they come to here.")] = None,
    model: Annotated[str, typer.Option(help="Short name (see 'attnscope models'), opensora, hub id or folder.", rich_help_panel=MODEL)] = "shapes",
    tgate: o.TGate = None,
    other: o.OtherPlan = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps; default: those of a plan's file, or the model's.")] = None,
    height: Annotated[int | None, typer.Option(min=1, help="Of the images, in pixels.")] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Of the images, in pixels.")] = None,
    tokens: Annotated[int | None, typer.Option(help="Of the text.")] = None,
    frames: Annotated[int | None, typer.Option(help="Of the latents of a video.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 1,
    scaling: Annotated[bool, typer.Option("--scaling", help="Also at other resolutions and lengths of the text (Table A6).")] = False,
    out: Annotated[Path | None, typer.Option(help="Run directory, for tables as CSV and figures as PNG and PDF.", rich_help_panel=OUTPUT)] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the folder only.", rich_help_panel=OUTPUT)] = False,
    as_json: o.AsJson = False,
) -> None:  # fmt: skip
    """Tell what a model's attention costs and what a plan saves, in MACs, without any weights."""
    from attnscope.cli.console import quiet_libraries, show_json

    _check_out(out, quiet)
    if tables is not None:
        _check_paper(context, tables)
        with quiet_libraries():
            published.show_paper(out, quiet=quiet, as_json=as_json)
        return

    from dataclasses import asdict

    from attnscope.analyses.cost import settings_of, tables_of, write
    from attnscope.cli.parsing import chosen_plan
    from attnscope.cost import counting
    from attnscope.cost.plans import cost_of
    from attnscope.cost.resolutions import scaling as scaled
    from attnscope.figures.saving import save_figures
    from attnscope.models import architectures
    from attnscope.plans.base import Baseline

    plan = chosen_plan(tgate, other)
    with_plan = plan is not None
    with quiet_libraries():
        found = architectures.find(model).resized(height, width, tokens, frames)
        plan = plan or Baseline()
        number = steps or plan.own_steps or found.steps
        counts = counting.count_architecture(found)
        run = cost_of(
            counts, plan, number, guided=found.guided, batch=batch, levels=_levels(model, number)
        )
        grid = scaled(found) if scaling else None
    settings = settings_of(found, run, with_plan=with_plan)
    told = tables_of(run, grid, with_plan=with_plan)
    files: list[Path] = []
    if out is not None:
        kept = write(out, settings, told)
        files = files_of(kept, save_figures(kept))
    if as_json:
        show_json(document(found, run, grid, files))
    elif quiet:
        print(out)
    else:
        show(asdict(settings), told)
        show_files(files)


def _levels(model: str, steps: int) -> Levels:
    """Log-SNR at every step, where the model's scheduler is on this machine and makes so many."""
    from attnscope.errors import InputError
    from attnscope.models.loading import scheduler_ahead
    from attnscope.models.names import describe
    from attnscope.models.schedulers import levels_ahead

    try:
        scheduler = scheduler_ahead(describe(model))
        levels = None if scheduler is None else levels_ahead(scheduler, steps)
    except InputError:  # what is counted may be sampled otherwise
        return None
    return levels if levels is not None and len(levels) == steps else None


def _check_out(out: Path | None, quiet: bool) -> None:
    from attnscope.errors import InputError

    if out is None and quiet:
        raise InputError("--quiet prints the folder only: give --out FOLDER")
    if out is not None and (out.is_file() or not out.absolute().parent.is_dir()):
        raise InputError(f"--out {str(out)!r} is not a folder, or one in a folder that exists")


def _check_paper(context: typer.Context, tables: str) -> None:
    from attnscope.errors import InputError

    if tables != "paper":
        raise InputError(
            f"there are no tables {tables!r}: 'attnscope cost paper' has those of the paper, and a model "
            f"is chosen by --model {tables}"
        )
    taken = {"tables", "out", "quiet", "as_json"}
    given = [
        option.opts[0]
        for option in context.command.params
        if option.name not in taken and _was_given(context, str(option.name))
    ]
    if given:
        raise InputError(
            "'cost paper' goes without --tgate, --plan and --scaling and all else that chooses a model or a "
            f"run: leave out {', '.join(given)} (it takes --out, --quiet and --json)"
        )


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"
