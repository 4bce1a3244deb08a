"""``attnscope bench``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnscope.cli import options as o
from attnscope.cli.reports.bench import report

if TYPE_CHECKING:
    from attnscope.models.names import Model

_PROMPT = "a photograph of an orange cat on a windowsill"
_FRONTIER_LIMIT = 100


def bench(
    model: o.Model = "shapes",
    tgate: o.TGate = None,
    other: o.OtherPlan = None,
    random_weights: Annotated[bool, typer.Option("--random-weights", help="The true architecture without a checkpoint: time does not depend on values.")] = False,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps; default: the model's.")] = None,
    height: o.Height = None,
    width: o.Width = None,
    batch: Annotated[int, typer.Option("--batch", "--batch-size", min=1, help="Images at a time.")] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds of all arms, after one to warm up.")] = 5,
    rivals: Annotated[str, typer.Option(help="all, none, or some of tgate, deepcache, tome, tgate+deepcache, tgate+tome, pab, fastercache, firstblock.")] = "all",
    watched: Annotated[bool, typer.Option("--watched", help="Also what an idle Trace and StepDistance on all sites cost.")] = False,
    latents: Annotated[bool, typer.Option("--latents", help="Stop at the latents: leave the autoencoder out.")] = False,
    frontier: Annotated[bool, typer.Option("--frontier", help="Also images of every arm, and how good they are.")] = False,
    captions: o.Captions = None,
    images: o.Images = None,
    column: o.Column = None,
    limit: o.Limit = None,
    features: Annotated[str, typer.Option(help="For FID and KID: auto, none, inception, efficientnet-lite0, reader.")] = "auto",
    features_weights: Annotated[Path | None, typer.Option(help="Weights of the features, where none are installed.")] = None,
    reference: Annotated[Path | None, typer.Option(help="Folder of images, or statistics (.npz), for FID and KID; shapes renders its own.")] = None,
    clip: Annotated[str | None, typer.Option(help="A CLIP for the CLIP score: hub id or folder.")] = None,
    scheduler: o.Scheduler = None,
    guidance: o.Guidance = None,
    seed: o.Seed = 0,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    out: Annotated[Path | None, typer.Option(help="Run directory; default: runs/bench-…")] = None,
    offline: o.Offline = False,
    allow_pickle: o.AllowPickle = False,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
) -> None:  # fmt: skip
    """Measure how much faster a plan is, what earned it, and what else there is to pick.

    The plan, its parts alone and its rivals take turns with the baseline; ratios are taken within a
    round. Without arguments: the embedded model with the paper's plan.
    """
    from attnscope.analyses.bench.arms import Settings, default_plan
    from attnscope.analyses.bench.run import Pictured, carry_out, is_timed, machine_of
    from attnscope.cli import parsing, reading
    from attnscope.cli.console import Bars, messages, quiet_libraries
    from attnscope.metrics.choosing import Quality, embedded_world
    from attnscope.models import architectures
    from attnscope.models.chosen import ChosenModel, RandomModel
    from attnscope.runs.folder import default_path

    wanted = _chosen_rivals(rivals)
    judging = {"--captions": captions, "--column": column, "--limit": limit, "--reference": reference,
               "--clip": clip, "--features-weights": features_weights,
               "--features": None if features == "auto" else features}  # fmt: skip
    _check_options(frontier, random_weights, scheduler, judging)
    parsing.check_guidance(guidance)
    with quiet_libraries():
        found = architectures.find(model, offline=offline).resized(height, width)
        chosen = (
            RandomModel(found, device=device, dtype=dtype)
            if random_weights
            else ChosenModel(
                model, scheduler=scheduler, device=device, dtype=dtype, offline=offline,
                allow_pickle=allow_pickle,
            )
        )  # fmt: skip
        described, size = chosen.described, (found.width, found.height)
        number = steps or described.steps
        expected = chosen.steps_made(number)
        plan = parsing.chosen_plan(tgate, other) or default_plan(expected)
        plan.over(expected)
        given = [] if random_weights else _given(described, images, batch, seed, size)
        settings = Settings(
            model=model,
            weights=chosen.weights,
            plan=str(plan),
            steps=number,
            guidance=described.guidance if guidance is None else guidance,
            height=found.height,
            width=found.width,
            batch=batch,
            repeats=repeats,
            rivals=wanted,
            watched=watched,
            decoded=not (latents or random_weights),
            scheduler=chosen.scheduler,
            dtype=chosen.dtype,
            seed=seed,
            **machine_of(chosen.device),
        )
        path = out or default_path("bench", model, settings)
        if is_timed(path, settings):
            messages.print("timed before: choose another --out to time again")
        progress = Bars(quiet=quiet or as_json)
        quality = pictured = None
        if frontier:
            count = _FRONTIER_LIMIT if limit is None and captions is None else limit
            prompts, inputs, _ = reading.read(
                described, captions, images, column, count, seed, size
            )
            pictured = Pictured(prompts, inputs)
            reading.warn_of_world([described], prompts)
            world = embedded_world([model], prompts, (found.height, found.width), progress)
            quality = Quality(
                features, features_weights, reference, clip, False, chosen.device, world,
                len(prompts), offline, pictured.digest,
            )  # fmt: skip
        run = carry_out(
            path, chosen, found, settings, given, pictured=pictured, quality=quality,
            progress=progress,
        )  # fmt: skip
    report(run, quiet=quiet, as_json=as_json)


def _chosen_rivals(text: str) -> tuple[tuple[str, str | None], ...]:
    """What ``--rivals`` says, with the version of each.

    Raises:
        InputError: there is no such rival.
    """
    from attnscope.analyses.bench.rivals import RIVALS
    from attnscope.cli.parsing import names
    from attnscope.errors import InputError

    chosen: Sequence[str] = ()
    if text != "none":
        chosen = list(RIVALS) if text == "all" else names("--rivals", text)
    unknown = [name for name in chosen if name not in RIVALS]
    if unknown:
        raise InputError(f"no such rival: {unknown[0]!r} (choose all, none, {', '.join(RIVALS)})")
    return tuple((name, RIVALS[name].version()) for name in chosen)


def _check_options(
    frontier: bool, random_weights: bool, scheduler: str | None, judging: dict[str, Any]
) -> None:
    """Refuse what does not go together."""
    from attnscope.errors import InputError

    if frontier and random_weights:
        raise InputError("--frontier judges images of trained weights: leave --random-weights out")
    idle = [name for name, value in judging.items() if value is not None]
    if idle and not frontier:
        raise InputError(f"{' and '.join(idle)}: for --frontier only, so add it")
    if random_weights and scheduler:
        raise InputError("--random-weights brings its own scheduler: leave --scheduler out")


def _given(
    described: Model, images: Path | None, batch: int, seed: int, size: tuple[int, int]
) -> Sequence[Any]:
    """What the pipeline is given while it is timed: any prompt does."""
    from attnscope.cli import reading

    if described.task == "image" or described.name == "shapes":
        count = None if described.task == "image" else batch
        return reading.read(described, None, images, None, count, seed, size)[1]
    if images is not None:
        reading.read(described, None, images, None, None, seed, size)  # says that it takes none
    return [_PROMPT]
