"""The ``attnscope`` command: collects the commands and turns errors into one line."""

from __future__ import annotations

import errno
import signal
import sys
from typing import Annotated, Any

import typer

from attnscope.cli.grouping import Commands
from attnscope.cli.listed import Listed
from attnscope.errors import InputError
from attnscope.plain import one_line


class _All(Commands):
    """``attnscope`` itself: names, what help says of them, and what may follow them."""

    listed = (
        Listed(
            "convergence",
            "Measure when attention converges, and draw the paper's Figures 2 and A3.",
            "--model sd21 --captions coco.txt --limit 200",
        ),
        Listed(
            "ablate",
            "Take attention away, early or late, and measure what that does to the images.",
            "--attention self --gates 5,10 --intervals 3,5 --seeds 0,1,2",
        ),
        Listed(
            "maps",
            "Show where in the image every word is attended to, step by step, and how much.",
            '"a large red circle left of a small blue star on a beige background"',
        ),
        Listed(
            "generate",
            "Make images, by T-GATE or another plan, and say what was computed, reused and gained.",
            '"a large blue star" --tgate m=10,k=5 --compare',
        ),
        Listed(
            "plan",
            "Show what a plan does at every step, as a picture in the terminal.",
            "--plan cross-reuse:m=10+guidance-cutoff:m=10",
        ),
        Listed(
            "cost",
            "Tell what a model's attention costs and what a plan saves, in MACs, without any weights.",
            "--model sdxl --tgate m=10,k=5 --height 1024",
        ),
        Listed(
            "bench",
            "Measure how much faster a plan is, what earned it, and what else there is to pick.",
            "--model pixart --random-weights --height 256 --steps 8 --tgate m=3,k=2,w=0",
        ),
        Listed(
            "tune",
            "Find the plan that saves most within a budget of quality, or the best one at a speed.",
            '--model shapes --budget "ssim>=0.98"',
        ),
        Listed(
            "paper",
            "List the figures and tables of the paper, or make one beside its values, by its name.",
            "table2 --limit 24",
        ),
        Listed(
            "plot",
            "Draw all figures of a run again, from its tables alone. Needs no model and no torch.",
            "runs/convergence-shapes-1a2b3c4d --threshold 0.1",
        ),
        Listed(
            "report",
            "Turn runs into one HTML file to explore in a browser: charts, tables, images side by "
            "side.",
            "runs/convergence-shapes-1a2b3c4d",
        ),
        Listed(
            "runs",
            "List the runs in a folder, the newest first, and whether they came to their end.",
            "--json",
        ),
        Listed(
            "compare",
            "Set runs beside each other: where their settings differ, and what came out, with "
            "intervals.",
            "runs/ablate-shapes-1a2b3c4d runs/ablate-sd21-5e6f7a8b",
        ),
        Listed(
            "merge",
            "Join the shards of a run, made by --shard, to the run that one worker would have made.",
            "runs/shard-1 runs/shard-2 --out runs/whole",
        ),
        Listed(
            "models",
            "List the models that have a short name, and which of them are on this machine.",
            "--json",
        ),
        Listed("shapes", "The embedded world: train its models, judge them."),
    )


app = typer.Typer(
    cls=_All,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog='Example: attnscope generate "a large blue star" --tgate m=10,k=5 --compare',
)
_debug = False
_MENDABLE = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
)
"""What the system says of places that are full, not ours, or of another kind; whose name stands beside."""


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
    """Entry point. Exit code 2 for what the user can mend, 1 for what only we can, 130 for what was stopped."""
    signal.signal(signal.SIGTERM, _stop)  # of a cluster whose time is over
    try:
        sys.exit(app(prog_name="attnscope", standalone_mode=False))
    except InputError as error:
        from attnscope.cli.flags import as_typed

        _fail(as_typed(str(error)), error, code=2)
    except typer.Abort as error:
        _fail("stopped", error, code=1)
    except ModuleNotFoundError as error:
        package = (error.name or "attnscope").partition(".")[0]
        _fail(f"this needs {package!r}, which is not installed: install it beside attnscope, or all "
              "that attnscope needs by 'pip install attnscope'", error, code=2)  # fmt: skip
    except OSError as error:
        if error.errno not in _MENDABLE or error.filename is None:
            _fail_unexpected(error)
        _fail(f"{str(error.filename)!r} cannot be used: {error.strerror}", error, code=2)
    except Exception as error:
        if hasattr(error, "format_message"):  # of the parser, which has classes of its own for it
            _fail_usage(error)
        _fail_unexpected(error)


def _stop(number: int, frame: object) -> None:
    """End as Ctrl-C does: say what is kept, and stop who works for this process."""
    raise KeyboardInterrupt


def _fail_unexpected(error: Exception) -> None:
    place = "" if _debug else " (attnscope --debug … shows where; please report it)"
    _fail(f"unexpected {type(error).__name__}: {error}{place}", error, code=1)


def _fail_usage(error: Any) -> None:
    """What was typed cannot be read: say what is wrong with it, and where help is."""
    message = error.format_message()
    if not message:  # nothing was typed, and the help is there already
        sys.exit(2)
    context = getattr(error, "ctx", None)
    more = f" ('{context.command_path} --help' lists what there is)" if context else ""
    _fail(f"{message.rstrip('.')}{more}", error, code=2)


def _fail(message: str, error: Exception, code: int) -> None:
    if _debug:
        import traceback

        traceback.print_exception(error)
    typer.echo("error: " + one_line(message), err=True)
    sys.exit(code)
