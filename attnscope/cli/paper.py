"""``attnscope paper``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from attnscope.cli import options as o
from attnscope.cli.choices import choice, one_of
from attnscope.cli.grouping import CAPTIONS, MEASURE, MODEL, OUTPUT, QUALITY, Group, grouped
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
    images: Annotated[Path | None, typer.Option(help="Folder of images that svd is to make videos of.", rich_help_panel=CAPTIONS)] = None
    limit: Annotated[int | None, typer.Option(min=1, help="Captions.", show_default="the paper's, or a few", rich_help_panel=CAPTIONS)] = None
    features: Annotated[str | None, typer.Option(help=f"For FID and KID: {', '.join(FEATURES)}.", show_default="inception, or the box's own", autocompletion=one_of(*FEATURES), rich_help_panel=QUALITY)] = None
    clip: Annotated[str | None, typer.Option(help="A CLIP for the CLIP score: hub id or folder.", rich_help_panel=QUALITY)] = None
    questions: Annotated[str | None, typer.Option(help="For tableA9 and tableA10: DPG-Bench's .csv, or T2I-CompBench's folder.", show_default="made of the scenes in the box", rich_help_panel=QUALITY)] = None
    vqa: Annotated[str | None, typer.Option(help="Who answers --questions: reader on the embedded world, or a model as hub id or folder.", metavar="<name>", rich_help_panel=QUALITY)] = None


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
    if made.features not in (None, *FEATURES):
        raise InputError(f"--features {made.features!r} is none of {', '.join(FEATURES)}")
    if name is None:
        extra = [*made.given(), *(["out"] if out else [])]
        if gpu_plan or extra or quiet:
            raise InputError("name a figure or table, such as table2; without one they are listed")
        show_list(as_json=as_json)
        return
    item, data = find(name), _data(made)
    _check_judged(item, made)
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
    if made.reference is not None and made.captions is None:
        raise InputError("--reference is of captions: give --captions, too")
    if made.questions is not None and made.vqa is None:
        raise InputError("--questions needs somebody who answers: give --vqa MODEL")
    if made.vqa is not None and made.questions is None:
        raise InputError("--vqa answers questions: give --questions, too")
    where = Data(made.captions, made.reference) if made.coco is None else Data.coco(made.coco)
    return replace(
        where, images=made.images, questions=made.questions, vqa=made.vqa, clip=made.clip,
        features=made.features,
    )  # fmt: skip


def _check_judged(item: Item, made: _Made) -> None:
    """Refuse what an item is not judged by."""
    from attnscope.errors import InputError

    judging = [name for name in ("features", "clip") if getattr(made, name) is not None]
    if judging and not item.judges:
        raise InputError(f"--{judging[0]}: {item.title} judges no images, leave it out")
    if made.questions is not None and not item.asks:
        raise InputError(
            f"--questions: {item.title} asks nothing about its images (tableA9 and tableA10 do), leave it out"
        )


def _make(
    item: Item, made: _Made, data: Data, out: Path | None, *, offline: bool, quiet: bool, as_json: bool
) -> None:
    """Make what is missing of it, and tell what came out."""
    from contextlib import nullcontext

    from attnscope.analyses.paper.run import carry_out
    from attnscope.cli.console import quiet_libraries
    from attnscope.cli.reports.paper import report
    from attnscope.runs.folder import default_path

    chosen = _chosen(item, made, data, offline)
    path = out or default_path("paper", item.name, chosen.settings)
    carrier = _Carrier(len(chosen.settings.lines), silent=quiet or as_json)
    with quiet_libraries() if item.models else nullcontext():
        run = carry_out(path, chosen, carrier)
    report(run, quiet=quiet, as_json=as_json)


def _chosen(item: Item, made: _Made, data: Data, offline: bool) -> Recipe:
    """The models and commands; of the paper's models, once they can be run."""
    from attnscope.analyses.paper.here import missing_models
    from attnscope.analyses.paper.run import recipe
    from attnscope.errors import InputError

    missing = missing_models(item.parts)
    own = made.model is None and (made.own or not set(missing) & set(MODELS))
    if made.own and made.model is not None:
        raise InputError("--own takes the paper's models and --model another one: give one")
    if made.own and missing and offline:
        raise InputError(f"not on this machine: {', '.join(missing)}; leave --offline or --own out")
    _check_data(item, made.model, data, missing, own=own)
    if own and data.images is None:
        item = _without_videos_of_images(item)
    extra = [] if made.dtype == "auto" else ["--dtype", made.dtype]
    extra += ["--offline"] if offline else []
    found = recipe(
        item, model=made.model, own=own, limit=made.limit, data=data, extra=extra,
    )  # fmt: skip
    if found.settings.own:
        _tell_without_clip(item, data)
    else:
        _tell_stand_ins(item, found)
    return found


def _tell_without_clip(item: Item, data: Data) -> None:
    """Say whose CLIP score will be missing."""
    from attnscope.analyses.paper.published import models_of
    from attnscope.cli.console import messages

    clipped = [name for name in models_of(item.name, "clip") if name in item.models]
    if clipped and data.clip is None:
        messages.print(
            f"note: the CLIP score of {' and '.join(clipped)} is left out: --clip MODEL takes it",
            soft_wrap=True,
        )


def _tell_stand_ins(item: Item, found: Recipe) -> None:
    """Say on what an item is made, and of which of its models nothing can be said."""
    from attnscope.analyses.paper.stand_ins import RANDOM
    from attnscope.cli.console import messages

    if not item.models:
        return
    stands = f"on {found.settings.model} for {', '.join(item.models)}"
    messages.print(f"note: {item.title} {stands}", soft_wrap=True)
    if random := [name for name in item.models if found.models[name] in RANDOM]:
        messages.print(
            f"note: images of random weights say nothing of quality: of {' and '.join(random)} times, "
            "multiply-accumulates and memory alone are tested",
            soft_wrap=True,
        )


def _check_data(
    item: Item, model: str | None, data: Data, missing: Sequence[str], *, own: bool
) -> None:
    """Refuse captions and questions that fit no model that is run, and models without any."""
    from attnscope.errors import InputError
    from attnscope.metrics.questions.choosing import OF_CAPTIONS
    from attnscope.models.names import describe, is_of_shapes

    boxed = not own and model is None
    unasked = item.asks and data.questions is None and not boxed
    if unasked and (own or not is_of_shapes(describe(str(model)))):
        raise InputError(
            f"{item.title} is made of answers to questions: give --questions FILE and --vqa MODEL"
        )
    captioned = any(
        part.dataset and part.model in MODELS and not (part.asks or part.begins_with_images)
        for part in item.parts
    )
    if own and captioned and data.captions is None:
        raise InputError(
            f"{item.title} is made of captions: give --coco FOLDER, or --captions FILE (and --reference "
            "FOLDER for FID)"
        )
    if data.images is not None and model is not None:
        raise InputError("--images is for svd of the paper's models, not for --model: leave one out")
    given = {
        "--coco and --captions": data.captions is not None,
        "--questions of a file": data.questions is not None and data.questions not in OF_CAPTIONS,
        "--images": data.images is not None,
    }
    if boxed and any(given.values()):
        raise InputError(
            f"{', '.join(name for name, is_given in given.items() if is_given)}: for the paper's models, of "
            f"which {', '.join(missing) or 'none was chosen'} {'are' if len(missing) > 1 else 'is'} not here: "
            "add --own to fetch them, --model for another one, or leave them out"
        )


def _without_videos_of_images(item: Item) -> Item:
    """What of it is not made of images to begin with, where there are none; said in a line."""
    from attnscope.cli.console import messages
    from attnscope.errors import InputError

    left = tuple(part for part in item.parts if not part.begins_with_images)
    if len(left) == len(item.parts):
        return item
    if not any(part.model in MODELS for part in left):
        raise InputError(f"{item.title} is made of images to begin with: give --images FOLDER")
    messages.print(f"note: {item.title} without svd, which takes --images FOLDER", soft_wrap=True)
    return replace(item, parts=left)


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
