"""``attnscope tune``."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from attnscope.analyses.bench.rivals import RIVALS
from attnscope.analyses.tuning.budget import WAYS
from attnscope.cli import options as o
from attnscope.cli.choices import choice
from attnscope.cli.grouping import MEASURE, Group, grouped
from attnscope.cli.reports.tuning import document, report

if TYPE_CHECKING:
    from attnscope.analyses.bench.run import Pictured
    from attnscope.cli.several import Job, Way
    from attnscope.metrics.choosing import Quality
    from attnscope.metrics.questions.choosing import Questions
    from attnscope.models.chosen import ChosenModel
    from attnscope.runs.folder import Run


@dataclass(frozen=True, kw_only=True)
class _Captions(o.CaptionOptions):
    """Those to calibrate on, and those that plans are measured on."""

    limit: ClassVar[int | None] = None  # type: ignore[misc]


@dataclass(frozen=True, kw_only=True)
class _Workers(o.WorkerOptions):
    """Who measures; a shard is one of the calibration, since plans are searched one after the other."""

    # fmt: off
    shard: Annotated[str | None, typer.Option(help="Of the calibration make every n-th batch only, from the i-th on; attnscope merge joins the runs, and the command goes on.", metavar="<i/n>", show_default="all")] = None
    # fmt: on


@dataclass(frozen=True, kw_only=True)
class _Wanted(Group):
    """What the plan is to keep to, and how long it is looked for."""

    panel: ClassVar[str] = MEASURE

    # fmt: off
    budget: Annotated[str | None, typer.Option(help="What the images have to keep to, compared with those of the pipeline as it is: ssim>=…, psnr>=… or damage<=…, of the final latents; several with commas.", metavar="<measure>=<bound>,…", show_default="ssim>=0.98")] = None
    speedup: Annotated[float | None, typer.Option(help="Instead: the best plan that is so much faster, by what --by says.", metavar="<float>")] = None
    frontier: Annotated[bool, typer.Option("--frontier", help="Instead: six plans, from one that changes hardly anything to a fast one.")] = False
    by: Annotated[str, choice(WAYS, help="What modules and steps are worth: multiply-accumulates, the same everywhere, or the time that they take on this machine, measured before the search.")] = "macs"
    calibrate: Annotated[int, typer.Option(min=1, help="Captions on which it is measured what staleness does.")] = 8
    measure: Annotated[int, typer.Option(min=2, help="Captions on which plans are measured.")] = 16
    confirm: Annotated[int, typer.Option(min=0, help="Further captions: a plan is taken if it keeps to the budget on these, too, since the fastest of many that do on the same captions is so by luck as well; with --speedup it is told how good it is there; 0 leaves it out.")] = 32
    most: Annotated[int, typer.Option(min=0, help="Plans that are measured for a budget, before the search settles for what it has; bisection may measure some more.")] = 40
    modules: Annotated[bool, typer.Option("--modules", help="Calibrate every kind of module by itself, too, stage by stage: which matters when.")] = False
    prove: Annotated[int, typer.Option(min=0, help="Captions, none of which it was searched on, to prove the plans on: quality and speed against T-GATE, fewer steps and other packages; 0 leaves it out.")] = 0
    rivals: Annotated[str, typer.Option(help=f"Of --prove: all, none, or some of {', '.join(RIVALS)}.", autocompletion=o.one_of("all", "none", *RIVALS))] = "all"
    repeats: Annotated[int, typer.Option(min=1, help="Of --prove: rounds that are timed.")] = 5
    # fmt: on


@grouped
def tune(
    sampling: o.SeveralBatchedRuns,
    wanted: _Wanted,
    shown: _Captions,
    judged: o.QualityOptions,
    workers: _Workers,
    output: o.OutputOptions,
) -> None:
    """Find the plan that saves most within a budget of quality, or the best one at a speed.

    It measures on a few captions what it does when modules are stale or guidance is missing at a noise
    level, searches plans by that, and measures each on other captions. What it leaves, plan.json, goes to
    generate, bench and attnscope.accelerate. Without arguments: the embedded U-Net, ssim>=0.98.
    """
    from attnscope.analyses.tuning import proof
    from attnscope.analyses.tuning.budget import parse
    from attnscope.analyses.tuning.run import FRONTIER, TuneSettings, carry_out
    from attnscope.cli import crews, parsing, reading, several
    from attnscope.cli.console import quiet_libraries
    from attnscope.cli.flags import flag
    from attnscope.cost.counting import count_architecture
    from attnscope.errors import InputError
    from attnscope.models import architectures
    from attnscope.runs.prompts import digest_of, sample_prompts
    from attnscope.runs.sampling import settled

    if workers.shard is not None and wanted.prove:
        raise InputError(
            "--prove: a shard ends with its part of the calibration; leave it out, and say it when the "
            "shards are joined"
        )
    said = [wanted.budget is not None, wanted.speedup is not None, wanted.frontier]
    if wanted.by not in WAYS:
        raise InputError(f"--by {wanted.by!r} is nothing to search by: choose {' or '.join(WAYS)}")
    if sum(said) > 1:
        raise InputError("give one of --budget, --speedup and --frontier")
    if wanted.confirm == 1:
        raise InputError("--confirm 1 has no standard error: choose 0, or 2 or more")
    if wanted.speedup is not None and not wanted.speedup > 1:
        raise InputError(f"--speedup {wanted.speedup:g} is out of range: choose more than 1")
    budgets = parsing.names("--budget", wanted.budget or "ssim>=0.98")
    budgets = FRONTIER if wanted.frontier else () if wanted.speedup is not None else budgets
    budgets = tuple(dict.fromkeys(str(parse(text)) for text in budgets))
    idle = [
        *judged.given(),
        *(name for name in wanted.given() if name in ("rivals", "repeats")),
    ]
    if idle and not wanted.prove:
        raise InputError(f"{' and '.join(map(flag, idle))}: for --prove only, so add it")
    asked_of = parsing.chosen_questions(judged)  # refuses what cannot be read, before the search
    parsing.check_sampling(sampling)
    size = parsing.batch_size(sampling.batch_size)
    rivals = parsing.chosen_rivals(wanted.rivals)
    ways = several.ways(sampling)
    count = wanted.calibrate + wanted.measure + wanted.confirm
    team = crews.team(workers, output)
    progress = team.progress
    timed = (
        wanted.by == "time" or wanted.prove > 0
    )  # in this process, so that the model is here, too
    models = several.Models(output, None if timed else team)
    limit = (
        None if shown.captions else count
    )  # of a file all, so that it can be said how many there are
    inputs = reading.Inputs(o.CaptionOptions(**(vars(shown) | {"limit": limit})), offered=asked_of)

    def job(way: Way) -> Job:
        chosen = models.of(way.sampling)
        every, texts, source = inputs.of(chosen.described, way.sampling)
        if len(every) < count:
            raise InputError(
                f"there are {len(every)} captions, and {count} are needed: {wanted.calibrate} to "
                f"--calibrate, {wanted.measure} to --measure and {wanted.confirm} to --confirm"
            )
        of = {prompt.prompt_id: text for prompt, text in zip(every, texts, strict=True)}
        prompts = sample_prompts(every, count, way.sampling.seed)
        given = [of[prompt.prompt_id] for prompt in prompts]
        settings = TuneSettings(
            **settled(chosen, vars(way.sampling)),
            captions=source,
            prompts_digest=digest_of(prompts, given),
            budgets=budgets,
            speedup=wanted.speedup,
            calibrated=wanted.calibrate,
            measured=wanted.measure,
            confirmed=wanted.confirm or None,
            most=wanted.most,
            modules=wanted.modules,
            by=None if wanted.by == "macs" else wanted.by,
        )
        found = architectures.find(sampling.model, offline=output.offline)
        found = found.resized(settings.height, settings.width)
        unseen: Pictured | None = None
        quality: Quality | None = None
        if wanted.prove:
            seen = {prompt.text for prompt in prompts}
            unseen = _unseen(chosen, shown, way, seen, wanted.prove, asked_of)
            quality = parsing.chosen_quality(
                judged, [sampling.model], unseen.prompts, (found.height, found.width), device=chosen.here,
                output=output, progress=progress, digest=unseen.digest,
            )  # fmt: skip
            _ = quality.about  # refuses files that are not there, before the search

        def start(path: Path) -> Run:
            run = carry_out(
                path, chosen, settings, count_architecture(found), prompts, given,
                batch_size=size, crew=team.crew, progress=progress,
            )  # fmt: skip
            if unseen is not None and quality is not None:
                asked = proof.settings_of(
                    run, settled(chosen, vars(way.sampling), size=(found.height, found.width)), chosen,
                    rivals=rivals, repeats=wanted.repeats,
                )  # fmt: skip
                proof.prove(
                    run, chosen, found, asked, unseen, quality, batch_size=size, crew=team.crew,
                    progress=progress,
                )  # fmt: skip
            return run

        return several.Job("tune", way, chosen, settings, start)

    with quiet_libraries():
        if timed and team.crew.elsewhere:
            team.device(sampling.device)  # so that workers have GPUs if this process does
        runs = several.carry_out([job(way) for way in ways], output.out, team)
    several.tell(
        runs, output, partial(report, adjust=judged.adjust), document, adjust=judged.adjust
    )


def _unseen(
    chosen: ChosenModel,
    shown: _Captions,
    way: Way,
    seen: set[str],
    count: int,
    offered: Questions | None,
) -> Pictured:
    """Captions that none of the search's is equal to, drawn by the seed after its own.

    Raises:
        InputError: there are too few.
    """
    from attnscope.analyses.bench.run import Pictured
    from attnscope.cli import reading
    from attnscope.errors import InputError

    limit = None if shown.captions or shown.images else count + len(seen)
    every = o.CaptionOptions(**(vars(shown) | {"limit": limit}))
    sampling = way.sampling
    size = sampling.height, sampling.width
    prompts, given, _ = reading.read(
        chosen.described, every, sampling.seed + 1, size, offered=offered
    )
    pairs = [(p, g) for p, g in zip(prompts, given, strict=True) if p.text not in seen]
    if len(pairs) < count:
        raise InputError(
            f"there are {len(pairs)} captions besides those that plans are searched on, and --prove "
            f"wants {count}: choose fewer"
        )
    drawn = random.Random(sampling.seed + 1).sample(range(len(pairs)), count)
    chosen_pairs = [pairs[place] for place in sorted(drawn)]
    return Pictured([p for p, _ in chosen_pairs], [g for _, g in chosen_pairs])
