"""``attnscope bench``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from attnscope.analyses.bench.rivals import RIVALS
from attnscope.cli import options as o
from attnscope.cli.grouping import MODEL, SAMPLING, grouped
from attnscope.cli.reports.bench import document, report

if TYPE_CHECKING:
    from attnscope.cli.several import Job, Way
    from attnscope.models.names import Model
    from attnscope.plans.base import Plan
    from attnscope.runs.folder import Run

_PROMPT = "a photograph of an orange cat on a windowsill"


@dataclass(frozen=True, kw_only=True)
class _Captions(o.CaptionOptions):
    """For ``--frontier``: so many that differences show."""

    embedded: ClassVar[int] = 100
    limit: Annotated[int | None, o.limit(100)] = None


@dataclass(frozen=True, kw_only=True)
class _Batches(o.Batches):
    """What is timed has its own number."""

    batch_size: Annotated[str, o.batch_size("Images of --frontier made at once")] = "auto"


@grouped
def bench(
    sampling: o.SeveralRuns,
    shown: _Captions,
    judged: o.QualityOptions,
    planned: o.PlanOptions,
    batches: _Batches,
    workers: o.WorkerOptions,
    output: o.OutputOptions,
    random_weights: Annotated[bool, typer.Option("--random-weights", help="The true architecture without a checkpoint: time does not depend on values.", rich_help_panel=MODEL)] = False,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images at a time that are timed.", rich_help_panel=SAMPLING)] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds of all arms, after one to warm up.")] = 5,
    rivals: Annotated[str, typer.Option(help=f"all, none, or some of {', '.join(RIVALS)}; with --plans those that are named.", autocompletion=o.one_of("all", "none", *RIVALS))] = "all",
    plans: o.Plans = None,
    against: Annotated[str | None, typer.Option(help="Further plans, and steps=15 for fewer steps; several with blanks between them, in quotes.", metavar="<plan> <plan>…")] = None,
    watched: Annotated[bool, typer.Option("--watched", help="Also what an idle Trace and StepDistance on all sites cost.")] = False,
    latents: Annotated[bool, typer.Option("--latents", help="Stop at the latents: leave the autoencoder out.")] = False,
    frontier: Annotated[bool, typer.Option("--frontier", help="Also images of every arm, and how good they are.")] = False,
) -> None:  # fmt: skip
    """Measure how much faster a plan is, what earned it, and what else there is to pick.

    The plan, its parts alone and its rivals take turns with the baseline; ratios are taken within a
    round. Without arguments: the embedded U-Net with the paper's plan.
    """
    from attnscope.analyses.bench.arms import BenchSettings
    from attnscope.analyses.bench.run import Pictured, carry_out, is_timed, machine_of
    from attnscope.analyses.checks import check_plan_ahead
    from attnscope.cli import crews, parsing, reading, several
    from attnscope.cli.console import messages, quiet_libraries
    from attnscope.cli.flags import flag
    from attnscope.errors import InputError
    from attnscope.models import architectures
    from attnscope.models.chosen import RandomModel
    from attnscope.plans.base import Baseline
    from attnscope.plans.reuse import paper_plan
    from attnscope.plans.text_form import parse
    from attnscope.runs.sampling import settled

    listed = _listed(plans, planned, against)
    others = listed or (tuple(against.split()) if against else None)
    wanted = parsing.chosen_rivals("none" if listed and rivals == "all" else rivals)
    chosen_plans: Mapping[str, Plan | None] = several.chosen_plans(planned)
    if listed:
        chosen_plans = {"": Baseline()}
    _check_options(frontier, random_weights, latents, sampling, batches, shown, judged, output)
    if not frontier and (asked := [name for name in workers.given() if name != "events"]):
        raise InputError(
            f"{flag(asked[0])}: for the images of --frontier only, so add it; times are taken in one process"
        )
    parsing.check_guidance(sampling.guidance)
    size_at_once = parsing.batch_size(batches.batch_size)
    ways = several.ways(sampling, chosen_plans)
    inputs = reading.Inputs(shown, offered=parsing.chosen_questions(judged))
    team = crews.team(workers, output)
    progress = team.progress

    def job(way: Way) -> Job:
        chosen = random or models.of(way.sampling)
        described = chosen.described
        steps = way.sampling.steps or described.steps
        plan = way.plan or paper_plan(chosen.steps_made(steps))
        for other in (plan, *map(parse, listed)):
            check_plan_ahead(chosen, other, steps)
        given = [] if random_weights else _given(described, shown, batch, way.sampling.seed, size)
        settings = BenchSettings(
            **settled(chosen, vars(way.sampling), size=size) | {"model": sampling.model},
            plan=str(plan),
            batch=batch,
            repeats=repeats,
            rivals=wanted,
            watched=watched,
            against=others,
            decoded=not (latents or random_weights),
            **machine_of(chosen.device),
        )

        quality = pictured = None
        if frontier:
            prompts, read, _ = inputs.of(described, way.sampling, size)
            pictured = Pictured(prompts, read)
            given = read if plan.ever_weighs() and given else given  # they have its words
            quality = parsing.chosen_quality(
                judged, [sampling.model], prompts, size, device=chosen.device,
                output=output, progress=progress, digest=pictured.digest,
            )  # fmt: skip

        def start(path: Path) -> Run:
            if is_timed(path, settings, team.crew.share):
                messages.print("timed before: choose another --out to time again")
            return carry_out(
                path, chosen, found, settings, given, pictured=pictured, quality=quality,
                batch_size=size_at_once, crew=team.crew, progress=progress,
            )  # fmt: skip

        return several.Job("bench", way, chosen, settings, start)

    with quiet_libraries():
        found = architectures.find(sampling.model, offline=output.offline)
        found = found.resized(sampling.height, sampling.width)
        size = found.height, found.width
        models, random = several.Models(output), None
        if team.crew.elsewhere:
            team.device(sampling.device)  # so that workers have GPUs if this process does
        if random_weights:
            random = RandomModel(found, device=sampling.device, dtype=sampling.dtype)
        runs = several.carry_out([job(way) for way in ways], output.out, team)
    several.tell(
        runs, output, partial(report, adjust=judged.adjust), document, adjust=judged.adjust
    )


def _listed(plans: str | None, planned: o.PlanOptions, against: str | None) -> tuple[str, ...]:
    """The plans of ``--plans`` besides the baseline, which is an arm of every benchmark."""
    from attnscope.cli.plan_lists import check_alone, plan_list

    if plans is None:
        return ()
    check_alone(planned, against=against)
    return tuple(name for name in map(str, plan_list(plans)) if name != "baseline")


def _check_options(
    frontier: bool,
    random_weights: bool,
    latents: bool,
    sampling: o.SeveralRuns,
    batches: _Batches,
    shown: o.CaptionOptions,
    judged: o.QualityOptions,
    output: o.OutputOptions,
) -> None:
    """Refuse what does not go together."""
    from attnscope.cli.flags import flag
    from attnscope.errors import InputError

    if frontier and random_weights:
        raise InputError("--frontier judges images of trained weights: leave --random-weights out")
    if not frontier and batches.given():
        raise InputError(
            "--batch-size: for the images of --frontier only, where it changes a result by rounding alone; "
            "how many images at a time are timed is --batch"
        )
    idle = [flag(name) for name in (*shown.given(), *judged.given()) if name != "images"]
    if idle and not frontier:
        raise InputError(f"{' and '.join(idle)}: for --frontier only, so add it")
    if not random_weights:
        return
    if sampling.schedulers:
        raise InputError("--random-weights brings its own scheduler: leave --scheduler out")
    if latents:
        raise InputError("--random-weights has no autoencoder to leave out: leave --latents out")
    if output.allow_pickle:
        raise InputError("--random-weights loads no weights: leave --allow-pickle out")


def _given(
    described: Model, shown: o.CaptionOptions, batch: int, seed: int, size: tuple[int, int]
) -> Sequence[Any]:
    """What the pipeline is given while it is timed: any prompt does."""
    from attnscope.cli import reading
    from attnscope.models.names import is_of_shapes

    images = o.CaptionOptions(images=shown.images)
    if described.task == "image" or is_of_shapes(described):
        count = None if described.task == "image" else batch
        return reading.read(described, replace(images, limit=count), seed, size)[1]
    if images.images is not None:
        reading.read(described, images, seed, size)  # says that it takes none
    return [_PROMPT]
