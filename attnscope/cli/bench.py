"""``attnscope bench``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnscope.analyses.bench.rivals import RIVALS
from attnscope.cli import options as o
from attnscope.cli.grouping import MODEL, SAMPLING, Group, grouped
from attnscope.cli.reports.bench import report

if TYPE_CHECKING:
    from attnscope.models.names import Model

_PROMPT = "a photograph of an orange cat on a windowsill"
_FRONTIER_LIMIT = 100


@grouped
def bench(
    sampling: o.OneSampling,
    shown: o.CaptionOptions,
    judged: o.QualityOptions,
    output: o.OutputOptions,
    tgate: o.TGate = None,
    other: o.OtherPlan = None,
    random_weights: Annotated[bool, typer.Option("--random-weights", help="The true architecture without a checkpoint: time does not depend on values.", rich_help_panel=MODEL)] = False,
    batch: Annotated[int, typer.Option("--batch", "--batch-size", min=1, help="Images at a time.", rich_help_panel=SAMPLING)] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds of all arms, after one to warm up.")] = 5,
    rivals: Annotated[str, typer.Option(help=f"all, none, or some of {', '.join(RIVALS)}.", autocompletion=o.one_of("all", "none", *RIVALS))] = "all",
    watched: Annotated[bool, typer.Option("--watched", help="Also what an idle Trace and StepDistance on all sites cost.")] = False,
    latents: Annotated[bool, typer.Option("--latents", help="Stop at the latents: leave the autoencoder out.")] = False,
    frontier: Annotated[bool, typer.Option("--frontier", help="Also images of every arm, and how good they are.")] = False,
) -> None:  # fmt: skip
    """Measure how much faster a plan is, what earned it, and what else there is to pick.

    The plan, its parts alone and its rivals take turns with the baseline; ratios are taken within a
    round. Without arguments: the embedded model with the paper's plan.
    """
    from attnscope.analyses.bench.arms import BenchSettings
    from attnscope.analyses.bench.run import Pictured, carry_out, is_timed, machine_of
    from attnscope.cli import parsing, reading
    from attnscope.cli.console import Bars, messages, quiet_libraries
    from attnscope.models import architectures
    from attnscope.models.chosen import RandomModel
    from attnscope.plans.reuse import paper_plan
    from attnscope.plans.trajectory import made
    from attnscope.runs.folder import default_path
    from attnscope.runs.sampling import settled

    wanted = _chosen_rivals(rivals)
    _check_options(frontier, random_weights, sampling.scheduler, shown, judged)
    parsing.check_guidance(sampling.guidance)
    with quiet_libraries():
        found = architectures.find(sampling.model, offline=output.offline)
        found = found.resized(sampling.height, sampling.width)
        chosen = (
            RandomModel(found, device=sampling.device, dtype=sampling.dtype)
            if random_weights
            else parsing.chosen_model(sampling, output)
        )
        described, size = chosen.described, (found.height, found.width)
        expected = chosen.steps_made(sampling.steps or described.steps)
        plan = parsing.chosen_plan(tgate, other) or paper_plan(expected)
        made(plan, expected)
        given = [] if random_weights else _given(described, shown, batch, sampling.seed, size)
        settings = BenchSettings(
            **settled(chosen, vars(sampling), size=size) | {"model": sampling.model},
            plan=str(plan),
            batch=batch,
            repeats=repeats,
            rivals=wanted,
            watched=watched,
            decoded=not (latents or random_weights),
            **machine_of(chosen.device),
        )
        path = output.out or default_path("bench", sampling.model, settings)
        if is_timed(path, settings):
            messages.print("timed before: choose another --out to time again")
        progress = Bars(quiet=output.silent)
        quality = pictured = None
        if frontier:
            if shown.limit is None and shown.captions is None and shown.images is None:
                shown = replace(shown, limit=_FRONTIER_LIMIT)
            prompts, inputs, _ = reading.read(described, shown, sampling.seed, size)
            pictured = Pictured(prompts, inputs)
            reading.warn_of_world([described], prompts)
            quality = parsing.chosen_quality(
                judged, [sampling.model], prompts, size, device=chosen.device,
                offline=output.offline, progress=progress, digest=pictured.digest,
            )  # fmt: skip
        run = carry_out(
            path, chosen, found, settings, given, pictured=pictured, quality=quality,
            progress=progress,
        )  # fmt: skip
    report(run, quiet=output.quiet, as_json=output.as_json)


def _chosen_rivals(text: str) -> tuple[tuple[str, str | None], ...]:
    """What ``--rivals`` says, with the version of each.

    Raises:
        InputError: there is no such rival.
    """
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
    frontier: bool,
    random_weights: bool,
    scheduler: str | None,
    shown: o.CaptionOptions,
    judged: o.QualityOptions,
) -> None:
    """Refuse what does not go together."""
    from attnscope.cli.flags import flag
    from attnscope.errors import InputError

    if frontier and random_weights:
        raise InputError("--frontier judges images of trained weights: leave --random-weights out")
    idle = [flag(name) for name in (*_given_of(shown), *_given_of(judged)) if name != "images"]
    if idle and not frontier:
        raise InputError(f"{' and '.join(idle)}: for --frontier only, so add it")
    if random_weights and scheduler:
        raise InputError("--random-weights brings its own scheduler: leave --scheduler out")


def _given_of(group: Group) -> list[str]:
    """The options of a group that were not left as they are."""
    left = type(group)()
    return [name for name, value in vars(group).items() if value != getattr(left, name)]


def _given(
    described: Model, shown: o.CaptionOptions, batch: int, seed: int, size: tuple[int, int]
) -> Sequence[Any]:
    """What the pipeline is given while it is timed: any prompt does."""
    from attnscope.cli import reading

    images = o.CaptionOptions(images=shown.images)
    if described.task == "image" or described.name == "shapes":
        count = None if described.task == "image" else batch
        return reading.read(described, replace(images, limit=count), seed, size)[1]
    if images.images is not None:
        reading.read(described, images, seed, size)  # says that it takes none
    return [_PROMPT]
