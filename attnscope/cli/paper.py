"""``attnscope paper``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from attnscope.cli import options as o
from attnscope.cli.choices import choice, one_of
from attnscope.cli.grouping import CAPTIONS, MEASURE, MODEL, OUTPUT, Group, grouped
from attnscope.metrics.networks import FEATURES
from attnscope.models.loading import DTYPES
from attnscope.models.names import MODELS

if TYPE_CHECKING:
    from attnscope.analyses.paper.items import Item
    from attnscope.analyses.paper.parts import Data
    from attnscope.analyses.paper.run import Recipe

# fmt: off


@dataclass(frozen=True, kw_only=True)
class _Made(Group):
    """How a figure or table is made."""

    panel: ClassVar[str] = MEASURE

    model: Annotated[str | None, typer.Option(help="Stands for all of the paper's models.", metavar="<name>", show_default="the paper's, or those in the box", rich_help_panel=MODEL, autocompletion=one_of(*MODELS))] = None
    own: Annotated[bool, typer.Option("--own", help="The paper's own models, also those that have to be fetched.", rich_help_panel=MODEL)] = False
    dtype: Annotated[str, choice(("auto", *DTYPES), help="Of the weights.", rich_help_panel=MODEL)] = "auto"
    coco: Annotated[Path | None, typer.Option(help="MS-COCO, unpacked: annotations/captions_val2014.json and val2014/.", rich_help_panel=CAPTIONS)] = None
    captions: Annotated[Path | None, typer.Option(help="Another file of captions, for the paper's models.", rich_help_panel=CAPTIONS)] = None
    reference: Annotated[Path | None, typer.Option(help="Another folder of images to compare with.", rich_help_panel=CAPTIONS)] = None
    limit: Annotated[int | None, typer.Option(min=1, help="Captions.", show_default="the paper's, or a few", rich_help_panel=CAPTIONS)] = None
    features: Annotated[str, typer.Option(help=f"For FID on the paper's models: {', '.join(FEATURES)}.", autocompletion=one_of(*FEATURES), rich_help_panel=CAPTIONS)] = "inception"


@grouped
def paper(
    made: _Made,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Such as figure3c or tableA5.", show_default="list them all")] = None,
    gpu_plan: Annotated[bool, typer.Option("--gpu-plan", help="Print the lines that make it on the paper's models, with images and MACs; make nothing.")] = False,
    out: Annotated[Path | None, typer.Option(help="Run directory.", show_default="runs/paper-NAME-…", rich_help_panel=OUTPUT)] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Use only what is on this machine.", rich_help_panel=OUTPUT)] = False,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
) -> None:
    """List the figures and tables of the paper, or make one beside its values, by its name.

    On the paper's own models where they are on this machine, else on those in the box, which is said.
    Each leaves ordinary runs with their figures. Names are those of arXiv:2404.02747v3.
    """
    # fmt: on
    from attnscope.analyses.paper.items import find
    from attnscope.cli.reports.paper import show_gpu_plan, show_list, show_prompts
    from attnscope.errors import InputError

    if quiet and as_json:
        raise InputError("--quiet prints the run directory only and --json the result: give one")
    if made.features not in FEATURES:
        raise InputError(f"--features {made.features!r} is none of {', '.join(FEATURES)}")
    if name is None:
        extra = [*made.given(), *(["out"] if out else [])]
        if gpu_plan or extra or quiet:
            raise InputError("name a figure or table, such as table2; without one they are listed")
        show_list(as_json=as_json)
        return
    item, data = find(name), _data(made)
    if not item.parts:
        show_prompts(item, as_json=as_json)
    elif gpu_plan:
        show_gpu_plan(item, data, made.limit, as_json=as_json)
    else:
        _make(item, made, data, out, offline=offline, quiet=quiet, as_json=as_json)


def _data(made: _Made) -> Data:
    """Where captions and images are."""
    from attnscope.analyses.paper.parts import Data
    from attnscope.errors import InputError

    if made.coco is not None and (made.captions is not None or made.reference is not None):
        raise InputError("--coco says where captions and images are: leave --captions and --reference out")
    if made.coco is not None:
        return Data.coco(made.coco)
    if made.reference is not None and made.captions is None:
        raise InputError("--reference is of captions: give --captions, too")
    return Data(made.captions, made.reference)


def _make(
    item: Item, made: _Made, data: Data, out: Path | None, *, offline: bool, quiet: bool, as_json: bool
) -> None:
    """Make what is missing of it, and tell what came out."""
    from attnscope.analyses.paper.run import carry_out
    from attnscope.cli.reports.paper import report
    from attnscope.runs.folder import default_path

    chosen = _chosen(item, made, data, offline)
    path = out or default_path("paper", item.name, chosen.settings)
    run = carry_out(path, chosen, _Carrier(len(chosen.settings.lines), silent=quiet or as_json))
    report(run, quiet=quiet, as_json=as_json)


def _chosen(item: Item, made: _Made, data: Data, offline: bool) -> Recipe:
    """The models and commands; of the paper's models, once they can be run."""
    from attnscope.analyses.paper.here import missing_models
    from attnscope.analyses.paper.run import recipe
    from attnscope.cli.console import messages
    from attnscope.errors import InputError

    missing = missing_models(item.parts)
    own = made.model is None and (made.own or not missing)
    if made.own and made.model is not None:
        raise InputError("--own takes the paper's models and --model another one: give one")
    if made.own and missing and offline:
        raise InputError(f"not on this machine: {', '.join(missing)}; leave --offline or --own out")
    sets = {part.dataset for part in item.parts if part.dataset}
    if own and sets and data.captions is None:
        raise InputError(
            f"{item.title} is made of captions: give --coco FOLDER, or --captions FILE (and --reference "
            "FOLDER for FID)"
        )
    if not own and made.model is None and data.captions is not None:
        raise InputError(
            "--coco and --captions are for the paper's models, of which "
            f"{', '.join(missing) or 'none was chosen'} {'are' if len(missing) > 1 else 'is'} not here: "
            "add --own to fetch them, --model for another one, or leave them out"
        )
    extra = [] if made.dtype == "auto" else ["--dtype", made.dtype]
    extra += ["--offline"] if offline else []
    found = recipe(
        item, model=made.model, own=own, limit=made.limit, data=data, features=made.features,
        extra=extra,
    )  # fmt: skip
    if not found.settings.lines:
        raise InputError(
            f"{item.title} needs {' and '.join(missing)}, which are not here, and no model in the box "
            f"makes videos: 'attnscope paper {item.name} --gpu-plan' prints what to run elsewhere"
        )
    if not found.settings.own:
        left = [name for name in item.models if name not in found.models]
        stands = f"on {found.settings.model} for {', '.join(n for n in item.models if n in found.models)}"
        if item.models:
            messages.print(f"note: {item.title} {stands}" + (
                f"; without {', '.join(left)}" if left else ""), soft_wrap=True)  # fmt: skip
    return found


class _Carrier:
    """Carries out the commands of a figure or table, one after the other."""

    def __init__(self, count: int, *, silent: bool) -> None:
        self._count, self._number, self._silent = count, 0, silent

    def __call__(self, line: tuple[str, ...], path: Path) -> None:
        """Carry one out; what it prints is told by the end of all."""
        import contextlib
        import io

        from attnscope.analyses.paper.estimate import line_of
        from attnscope.cli.app import app
        from attnscope.cli.console import messages

        self._number += 1
        if not self._silent:
            messages.print(f"{self._number} of {self._count}: {line_of(line)}", soft_wrap=True)
        command: Any = typer.main.get_command(app)
        with contextlib.redirect_stdout(io.StringIO()):
            command.main(
                args=[*line, *_placed(line, path)], prog_name="attnscope", standalone_mode=False
            )


def _placed(line: tuple[str, ...], path: Path) -> list[str]:
    """Where a command is to leave its result, and that it is not to print it."""
    from attnscope.analyses.paper.run import PICTURE

    if line[0] == "plan":
        path.mkdir(parents=True, exist_ok=True)
        return ["--out", str(path / PICTURE)]
    return ["--out", str(path), "--quiet"]
