"""``attnscope shapes``: the embedded world."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from attnscope.cli.choices import choice, one_of
from attnscope.cli.grouping import Command, Commands
from attnscope.cli.places import PICTURES, check_file
from attnscope.models.names import MODELS, READER, describe, is_of_shapes, reader_folder
from attnscope.shapes.recipes import NAMES as TRAINED

OF_SHAPES = tuple(name for name, model in MODELS.items() if is_of_shapes(model))

shapes = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    help="The embedded world: train its models, judge them.",
    epilog="Example: attnscope shapes score --limit 100",
)


@shapes.command(
    cls=Command,
    epilog="Example: attnscope shapes train --model shapes-dit --out training --minutes 60",
)
def train(
    out: Annotated[Path, typer.Option(help="Training folder; the model lands in OUT/model.")],
    device: Annotated[str, choice(("cpu", "cuda"), help="Where to train.")] = "cpu",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="On a CPU: processes of one thread.",
            show_default="1, 2 or 4, as there are cores",
        ),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Stop after this long; the same command goes on.")
    ] = None,
    model: Annotated[
        str,
        choice(
            TRAINED,
            help="What to train: a U-Net, a transformer, a U-Net of few steps, or the reader that "
            "judges them all.",
        ),
    ] = "shapes",
    start: Annotated[
        str,
        typer.Option(
            help="Go on from 'shapes', another trained folder or the OUT/state of a training; "
            "'nothing' trains the U-Net, its autoencoder and the reader from nothing."
        ),
    ] = "shapes",
    teacher: Annotated[
        str | None,
        typer.Option(
            help="OUT/state or OUT/model of a U-Net: shapes-dit learns from it, too; shapes-lcm is "
            "distilled from it.",
            show_default="none; of shapes-lcm 'shapes'",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps of the last stage.", show_default="its own"),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Images in a step of the last stage.", show_default="its own"),
    ] = None,
    scenes: Annotated[
        int, typer.Option(min=1, help="How many scenes are rendered beforehand.")
    ] = 50_000,
    noise_shift: Annotated[
        float | None,
        typer.Option(
            min=0.1, help="Noise levels are Stable Diffusion's divided by this.", show_default="4"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of scenes, weights and noise.")] = 0,
) -> None:
    """Train an embedded model. Stopped or killed, the same command goes on."""
    import os
    from dataclasses import replace

    from attnscope.cli.console import messages, quiet_libraries
    from attnscope.errors import InputError
    from attnscope.models.loading import choose_device

    with quiet_libraries():
        from attnscope.shapes.recipes import choose
        from attnscope.shapes.recipes.dit import TransformerRecipe
        from attnscope.shapes.recipes.lcm import ConsistencyRecipe
        from attnscope.shapes.train import train

        place = choose_device(device)
        kind = choose(model, from_nothing=start == "nothing")
        trained = None if start == "nothing" else start_folder(start)
        if model == "reader" and noise_shift is not None:
            raise InputError("--noise-shift is of denoisers: the reader is trained without noise")
        if workers is not None and place != "cpu":
            raise InputError(
                f"--workers are processes on a CPU: leave it out with --device {place}"
            )
        recipe = kind(scenes=scenes, noise_shift=noise_shift or 4.0, seed=seed)
        if teacher is not None:
            if not isinstance(recipe, TransformerRecipe | ConsistencyRecipe):
                raise InputError(
                    f"--teacher is for --model shapes-dit or shapes-lcm, not for {model!r}"
                )
            recipe = replace(recipe, teacher=start_folder(teacher))
        given = {"steps": steps, "batch": batch}
        changes = {name: value for name, value in given.items() if value is not None}
        recipe = replace(recipe, denoiser=replace(recipe.denoiser, **changes))
        cores = os.cpu_count() or 1
        count = (workers or max(n for n in (1, 2, 4) if n <= cores)) if place == "cpu" else 1
        done = train(out, recipe, workers=count, device=place, minutes=minutes, start=trained)
    logs = [str(path) for path in (out / "log.csv", out / "drawing" / "log.csv") if path.exists()]
    told = (
        f"done: the model is in {out / 'model'}" if done else "time is up: the same command goes on"
    )
    messages.print("; the log is ".join([told, *logs[:1]]), soft_wrap=True)


def start_folder(name: str) -> Path:
    """The folder that a training starts from: of a model with a reader, or a training's state."""
    folder = Path(name)
    states = [part for part in ("unet", "transformer") if (folder / part).is_dir()]
    if states and (folder / "text_encoder").is_dir() and not (folder / "vae").is_dir():
        return folder
    _reader_of(name)
    return Path(describe(name).source)


def _reader_of(model: str) -> Path:
    """The folder with the reader of a model of the shapes world."""
    from attnscope.errors import InputError

    folder = reader_folder(describe(model))
    if folder is None:
        raise InputError(
            f"{model!r} has no reader: choose {', '.join(OF_SHAPES)} or a folder that 'shapes train' made"
        )
    return folder


@shapes.command(
    cls=Command,
    epilog="Example: attnscope shapes score --model shapes,shapes-dit --limit 100 --sheet seen.png",
)
def score(
    models: Annotated[
        str,
        typer.Option(
            "--model",
            "--models",
            metavar="<name,…>",
            help=f"One or several of {', '.join(OF_SHAPES)}, and folders with a reader.",
            autocompletion=one_of(*OF_SHAPES),
        ),
    ] = "shapes",
    limit: Annotated[int, typer.Option(min=1, help="How many held-out captions.")] = 1000,
    steps: Annotated[
        str | None,
        typer.Option(
            metavar="<int,…>",
            help="Denoising steps, one or several: 2,4,8.",
            show_default="the model's",
        ),
    ] = None,
    guidance: Annotated[
        str | None,
        typer.Option(
            help="Guidance scale, or several: 2,4,7.5.",
            metavar="<float,…>",
            show_default="the model's",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of captions and noise.")] = 0,
    sheet: Annotated[
        Path | None,
        typer.Option(
            help="Write the first 48 samples as a PNG or PDF; of several columns the first 5 of each."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Sample held-out captions and let the reader say how many came out as asked.

    Size, fill, color and shape: the part of the things that has them as asked, whichever stands where;
    attributes: all four. Relation: whether two things stand where the caption puts them. All: everything.
    """
    import math

    import pandas as pd

    from attnscope.analyses.alignment import AlignmentSettings, Result, measure
    from attnscope.cli.console import Bars, quiet_libraries, show_json, show_table
    from attnscope.cli.parsing import check_guidance, names, whole_numbers
    from attnscope.errors import InputError
    from attnscope.figures import samples
    from attnscope.figures.saving import save
    from attnscope.models.calling import check_steps
    from attnscope.models.loading import load
    from attnscope.runs.columns import READ

    chosen = names("--model", models)
    reader = _one_reader(chosen)
    if sheet is not None:
        check_file("--sheet", sheet, PICTURES)
    try:
        scales = (
            [float(part) for part in names("--guidance", guidance)]
            if guidance is not None
            else None
        )
    except ValueError as error:
        raise InputError(f"--guidance {guidance!r} is not numbers with commas") from error
    for scale in scales or ():
        check_guidance(scale)
    counts = None if steps is None else whole_numbers("--steps", steps)
    rows: list[dict[str, Any]] = []
    results: list[Result] = []
    with quiet_libraries():
        pipes = {name: load(name) for name in chosen}
        arms = [
            (name, count, scale)
            for name in chosen
            for scale in scales or [describe(name).guidance]
            for count in counts or [describe(name).steps]
        ]
        for name, count, _ in arms:
            check_steps(pipes[name], count)
        progress = Bars(quiet=as_json)
        with progress.stretch("images", limit * len(arms)):
            for name, count, scale in arms:
                settings = AlignmentSettings(limit=limit, steps=count, guidance=scale, seed=seed)
                found = measure(
                    pipes[name], reader, settings, progress=progress, **describe(name).options
                )
                about = {"model": name, "steps": count, "guidance": scale}
                known = {k: None if math.isnan(v) else v for k, v in found.scores.items()}
                rows.append({**about, "n": limit, "n_relation": found.n_relation, **known})
                results.append(found)
    titles = _columns(rows)
    if as_json:
        show_json(rows)
    else:
        of_two = {"relation": results[0].n_relation}
        shown = {"seen as asked": list(READ), "n": [of_two.get(name, limit) for name in READ]}
        scored = {
            title: [row[name] for name in READ] for title, row in zip(titles, rows, strict=True)
        }
        title = "Part of what the captions ask for that the reader sees (relation: of two things)"
        show_table(pd.DataFrame(shown | scored), title, dict.fromkeys(scored, ".3f"))
    if sheet is not None:
        first = results[0]
        if len(results) == 1:
            save(lambda: samples.sheet(list(first.images[:48]), first.captions[:48]), sheet)
        else:
            made = {t: list(r.images[:5]) for t, r in zip(titles, results, strict=True)}
            save(lambda: samples.rows(made, first.captions[:5]), sheet)


def _one_reader(models: Sequence[str]) -> Path:
    """The folder with the reader of all models; what other readers see stands not beside it."""
    from attnscope.errors import InputError

    folders = [_reader_of(model) for model in models]
    for model, folder in zip(models, folders, strict=True):
        if (folder / READER).read_bytes() != (folders[0] / READER).read_bytes():
            raise InputError(
                f"{model!r} has another reader than {models[0]!r}, so their scores cannot stand side "
                "by side: score them apart"
            )
    return folders[0]


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    """What each was made by, as far as they differ; the guidance of one alone."""
    written = {"model": "{}", "steps": "{} steps", "guidance": "guidance {:g}"}
    differ = [name for name in written if len({row[name] for row in rows}) > 1] or ["guidance"]
    return [", ".join(written[name].format(row[name]) for name in differ) for row in rows]
