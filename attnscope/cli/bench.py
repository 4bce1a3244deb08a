"""``attnscope bench``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnscope.cli import options as o
from attnscope.cli.reports.bench import report

if TYPE_CHECKING:
    import pandas as pd

    from attnscope.analyses.bench.arms import Arm, Settings
    from attnscope.analyses.bench.rounds import Workload
    from attnscope.cost.plans import Cost
    from attnscope.metrics.judging import Judges
    from attnscope.models.chosen import ChosenModel, RandomModel
    from attnscope.models.names import Model
    from attnscope.runs.folder import Run
    from attnscope.runs.prompts import Prompt

_PROMPT = "a photograph of an orange cat on a windowsill"
_FRONTIER_LIMIT = 100
_PASSES = 3


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
    from attnscope.analyses.bench.arms import Settings, arms_of, default_plan
    from attnscope.cli import parsing, quality, reading
    from attnscope.cli.console import messages, quiet_libraries
    from attnscope.cost.counting import count_architecture
    from attnscope.cost.plans import cost_of
    from attnscope.models import architectures
    from attnscope.models.chosen import ChosenModel, RandomModel
    from attnscope.models.image_sizes import size_asked
    from attnscope.runs.folder import Run, default_path

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
            **_machine(chosen.device),
        )
        path = out or default_path("bench", model, settings)
        timed = Run.check(path, "bench", settings) and Run(path).has_table("arms")
        if timed:
            messages.print("timed before: choose another --out to time again")
        judged = judges = pictured = None
        if frontier:
            count = _FRONTIER_LIMIT if limit is None and captions is None else limit
            pictured = _Pictured(
                *reading.read(described, captions, images, column, count, seed, size)
            )
            reading.warn_of_world([described], pictured.prompts)
            world = quality.embedded_world([model], pictured.prompts, (found.height, found.width))
            judged = quality.Quality(
                features, features_weights, reference, clip, False, chosen.device, world,
                len(pictured.prompts), offline, pictured.digest,
            )  # fmt: skip
            judges = None if judged.is_of(path) else judged.judges()
        if judges is not None or not timed:
            parsing.check_plan(chosen.pipe, plan, number)
            if not random_weights:
                size_asked(chosen.pipe, found.height, found.width)
            if pictured is not None:
                reading.warn_of_text(chosen.pipe, pictured.prompts)
            cost = cost_of(
                count_architecture(found), plan, parsing.check_steps(chosen.pipe, number),
                guided=settings.guidance > 1 and not found.embeds_guidance, batch=batch,
            )  # fmt: skip
            arms = arms_of(cost, rivals=[name for name, _ in wanted], watched=watched)
            run = Run.open(
                path, "bench", settings, device=chosen.device,
                scheduler=type(chosen.pipe.scheduler).__name__, steps=cost.trajectory.steps,
            )  # fmt: skip
            if not timed:
                _time(run, chosen, settings, cost, arms, given, quiet=quiet or as_json)
            if judged is not None and judges is not None and pictured is not None:
                with judged.judging(path):
                    _judge(run, chosen, settings, arms, pictured, judges, quiet=quiet or as_json)
    report(Run(path), quiet=quiet, as_json=as_json)


@dataclass(frozen=True)
class _Pictured:
    """What images are made of for the frontier, and what the pipeline is given for each."""

    prompts: Sequence[Prompt]
    given: Sequence[Any]
    source: str

    @property
    def digest(self) -> str:
        """Of all that is given."""
        from attnscope.runs.prompts import digest_of

        return digest_of(self.prompts, self.given)


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


def _machine(device: str) -> dict[str, Any]:
    """What times depend on besides the model: device, threads, versions."""
    import platform
    from importlib import metadata

    import torch

    name = f"{device}, {platform.machine()}"
    if device.startswith("cuda"):
        name = torch.cuda.get_device_name(device)
    versions = tuple((package, metadata.version(package)) for package in ("torch", "diffusers"))
    return {"device": name, "threads": torch.get_num_threads(), "versions": versions}


def _time(
    run: Run,
    chosen: ChosenModel | RandomModel,
    settings: Settings,
    cost: Cost,
    arms: Sequence[Arm],
    given: Sequence[Any],
    *,
    quiet: bool,
) -> None:
    """Time all arms. Every round is kept when it is over; the table of arms is written last."""
    import pandas as pd
    import torch

    from attnscope.analyses.bench import breakdown, rounds, speedups
    from attnscope.analyses.bench.instruments import PeakMemory, Stopwatch
    from attnscope.cli.console import progress
    from attnscope.errors import InputError
    from attnscope.figures.latency import arms_latex
    from attnscope.files import write_whole

    workload, stopwatch = _workload(chosen, settings, given), Stopwatch(chosen.device)
    done = [run.read_table("repetitions")] if run.has_table("repetitions") else []
    if any(set(table["arm"]) != {arm.name for arm in arms} for table in done):
        raise InputError(f"{str(run.path)!r} holds rounds of other arms: choose another --out")
    known = {number for table in done for number in table["repetition"]}
    numbers = [number for number in range(settings.repeats) if number not in known]
    if numbers:
        with progress("calls", len(arms) * (len(numbers) + 1), quiet=quiet) as advance:
            for table in rounds.measure_rounds(
                chosen.pipe, arms, workload, numbers, stopwatch=stopwatch,
                memory=PeakMemory(chosen.device), values_matter=settings.weights != "random",
                on_call=advance,
            ):  # fmt: skip
                done = [pd.concat([*done, table], ignore_index=True)]
                run.write_table("repetitions", done[0])
    (repetitions,) = done
    bytes_each = getattr(torch, settings.dtype).itemsize
    table = speedups.summarise(repetitions, arms, cost, bytes_each=bytes_each)
    running, passes = _running(table, arms), min(_PASSES, settings.repeats)
    broken_down = [arm for arm in running if arm.rival is None and not arm.only_watches]
    with progress("where the time goes: calls", len(broken_down) * passes, quiet=quiet) as advance:
        parts = breakdown.measure_breakdown(
            chosen.pipe, broken_down, workload, passes=passes, stopwatch=stopwatch, on_call=advance
        )
    # a stopwatch at every site costs time: it tells shares, of the time that was taken without
    parts["seconds"] = parts["share"] * parts["arm"].map(table.set_index("arm")["seconds"])
    latex = arms_latex(table)
    write_whole(run.path / "arms.tex", lambda partial: partial.write_text(latex, "utf-8"))
    attribution = speedups.attribution(repetitions, arms, cost)
    for name, made in {"repetitions": repetitions, "parts": parts, "attribution": attribution,
                       "arms": table}.items():  # fmt: skip
        run.write_csv(name, made)
        run.write_table(name, made)


def _running(table: pd.DataFrame, arms: Sequence[Arm]) -> list[Arm]:
    """Those that have times."""
    timed = set(table.dropna(subset=["seconds"])["arm"])
    return [arm for arm in arms if arm.name in timed]


def _workload(
    chosen: ChosenModel | RandomModel, settings: Settings, given: Sequence[Any]
) -> Workload:
    """What every call is given: prompts over and over, or random embeddings."""
    from itertools import cycle, islice

    from attnscope.analyses.bench.rounds import Workload
    from attnscope.models.calling import call_options
    from attnscope.models.chosen import RandomModel
    from attnscope.models.random_weights import call_keywords
    from attnscope.runs.prompts import image_seed

    if isinstance(chosen, RandomModel):
        keywords = call_keywords(
            chosen.pipe, chosen.found, steps=settings.steps, guidance=settings.guidance,
            batch=settings.batch, seed=settings.seed,
        )  # fmt: skip
        return Workload(lambda: ([], keywords), settings.batch)
    texts = list(islice(cycle(given), settings.batch))

    def arguments() -> tuple[Sequence[Any], dict[str, Any]]:
        return [texts], call_options(
            chosen.pipe, seeds=[image_seed(settings.seed, place) for place in range(settings.batch)],
            steps=settings.steps,
            guidance=settings.guidance, height=settings.height, width=settings.width,
            output_type="pil" if settings.decoded else "latent", **chosen.described.options,
        )  # fmt: skip

    return Workload(arguments, settings.batch)


def _judge(
    run: Run,
    chosen: ChosenModel | RandomModel,
    settings: Settings,
    arms: Sequence[Arm],
    pictured: _Pictured,
    judges: Judges,
    *,
    quiet: bool,
) -> None:
    """Images of every arm that runs, and how good they are."""
    import torch

    from attnscope.analyses.bench import frontier
    from attnscope.cli.console import messages, progress
    from attnscope.metrics import judging, summaries
    from attnscope.models.calling import default_batch_size

    speeds = run.read_table("arms")
    running = [arm for arm in _running(speeds, arms) if not arm.only_watches]
    prompts = pictured.prompts
    with (
        progress("images", len(running) * len(prompts), quiet=quiet) as advance,
        torch.inference_mode(),
    ):
        made = frontier.sample(
            chosen.pipe, running, settings, prompts, pictured.given, run, digest=pictured.digest,
            batch_size=default_batch_size(chosen.pipe, chosen.device), on_image=advance,
            on_halving=lambda size: messages.print(f"out of memory: going on with batches of {size}"),
            on_failure=lambda arm, reason: messages.print(f"no images of {arm.name}: {reason}"),
            **chosen.described.options,
        )  # fmt: skip
    texts = {prompt.prompt_id: prompt.text for prompt in prompts}
    with progress("measures: arms", made["key"].nunique(), quiet=quiet) as advance:
        images, features = judging.judge(run, made, texts, judges, on_arm=advance)
    quality = summaries.summarise(images, features, judges.reference)
    table = frontier.speed_and_quality(speeds, quality)
    run.write_table("images", images)
    run.write_csv("frontier", table)
    run.write_table("frontier", table)
