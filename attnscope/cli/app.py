"""The ``attnscope`` command: collects the commands and turns errors into one line."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from attnscope.cli import (
    ablate,
    bench,
    compare,
    convergence,
    cost,
    generate,
    models,
    plan,
    plot,
    runs,
    shapes,
)
from attnscope.errors import InputError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(convergence.convergence)
app.command()(ablate.ablate)
app.command()(generate.generate)
app.command()(plan.plan)
app.command()(cost.cost)
app.command()(bench.bench)
app.command()(plot.plot)
app.command()(runs.runs)
app.command()(compare.compare)
app.command()(models.models)
app.add_typer(shapes.app, name="shapes")

_debug = False


def _print_version(wanted: bool) -> None:
    if wanted:
        from attnscope import __version__

        typer.echo(f"attnscope {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error happened.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Watch the attention of diffusion models while they denoise, and act on it."""
    global _debug
    _debug = debug


def main() -> None:
    """Entry point. Exit code 2 for what the user can mend, 1 for what only we can."""
    try:
        app()
    except InputError as error:
        from attnscope.cli.flags import as_typed

        _fail(as_typed(str(error)), error, code=2)
    except Exception as error:
        place = "" if _debug else " (attnscope --debug … shows where; please report it)"
        _fail(f"unexpected {type(error).__name__}: {error}{place}", error, code=1)


def _fail(message: str, error: Exception, code: int) -> None:
    if _debug:
        import traceback

        traceback.print_exception(error)
    typer.echo("error: " + " ".join(message.split()), err=True)
    sys.exit(code)
