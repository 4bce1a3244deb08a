"""``attnscope bench``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnscope.cli import options as o

if TYPE_CHECKING:
    import pandas as pd

    from attnscope.analyses.judging import Judges
    from attnscope.analyses.latency import Arm, Settings, Workload
    from attnscope.cli.inputs import ChosenModel, RandomModel
    from attnscope.cost import Cost
    from attnscope.models import Model
    from attnscope.prompts import Prompt
    from attnscope.runs import Run

_PROMPT = "a photograph of an orange cat on a windowsill"
_FRONTIER_LIMIT = 100
_FEW = 10_000
_PASSES = 3
_TABLES = ("arms", "parts", "attribution")
_APART = ("size", "fill", "color", "shape", "background")  # "attributes" and "all" stand for them


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
    from attnscope import architectures
    from attnscope.analyses import latency
    from attnscope.cli import inputs, quality
    from attnscope.cli.console import messages, quiet_libraries
    from attnscope.cost import cost_of
    from attnscope.counting import count_architecture
    from attnscope.runs import Run, default_path
    from attnscope.sizes import asked

    wanted = _chosen_rivals(rivals)
    judging = {"--captions": captions, "--column": column, "--limit": limit, "--reference": reference,
               "--clip": clip, "--features-weights": features_weights,
               "--features": None if features == "auto" else features}  # fmt: skip
    _check_options(frontier, random_weights, scheduler, judging)
    inputs.check_guidance(guidance)
    with quiet_libraries():
        found = architectures.find(model, offline=offline).resized(height, width)
        chosen = (
            inputs.RandomModel(found, device=device, dtype=dtype)
            if random_weights
            else inputs.ChosenModel(
                model, scheduler=scheduler, device=device, dtype=dtype, offline=offline,
                allow_pickle=allow_pickle,
            )
        )  # fmt: skip
        described, size = chosen.described, (found.width, found.height)
        number = steps or described.steps
        expected = chosen.steps_made(number)
        plan = inputs.chosen_plan(tgate, other) or latency.default_plan(expected)
        plan.over(expected)
        given = [] if random_weights else _given(described, images, batch, seed, size)
        settings = latency.Settings(
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
                *inputs.read(described, captions, images, column, count, seed, size)
            )
            inputs.warn_of_world([described], pictured.prompts)
            world = quality.embedded_world([model], pictured.prompts, (found.height, found.width))
            judged = quality.Quality(
                features, features_weights, reference, clip, False, chosen.device, world,
                len(pictured.prompts), offline, pictured.digest,
            )  # fmt: skip
            judges = None if judged.is_of(path) else judged.judges()
        if judges is not None or not timed:
            inputs.check_plan(chosen.pipe, plan, number)
            if not random_weights:
                asked(chosen.pipe, found.height, found.width)
            if pictured is not None:
                inputs.warn_of_text(chosen.pipe, pictured.prompts)
            cost = cost_of(
                count_architecture(found), plan, inputs.check_steps(chosen.pipe, number),
                guided=settings.guidance > 1 and not found.embeds_guidance, batch=batch,
            )  # fmt: skip
            arms = latency.arms_of(cost, rivals=[name for name, _ in wanted], watched=watched)
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
        from attnscope.cli.inputs import digest

        return digest(self.prompts, self.given)


def _chosen_rivals(text: str) -> tuple[tuple[str, str | None], ...]:
    """What ``--rivals`` says, with the version of each.

    Raises:
        InputError: there is no such rival.
    """
    from attnscope.cli.inputs import names
    from attnscope.errors import InputError
    from attnscope.rivals import RIVALS

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
    from attnscope.cli import inputs

    if described.task == "image" or described.name == "shapes":
        count = None if described.task == "image" else batch
        return inputs.read(described, None, images, None, count, seed, size)[1]
    if images is not None:
        inputs.read(described, None, images, None, None, seed, size)  # says that it takes none
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

    from attnscope.analyses import latency, speedups
    from attnscope.cli.console import progress
    from attnscope.errors import InputError
    from attnscope.figures.latency import arms_latex
    from attnscope.instruments import PeakMemory, Stopwatch
    from attnscope.runs import write_whole

    workload, stopwatch = _workload(chosen, settings, given), Stopwatch(chosen.device)
    done = [run.read_table("repetitions")] if run.has_table("repetitions") else []
    if any(set(table["arm"]) != {arm.name for arm in arms} for table in done):
        raise InputError(f"{str(run.path)!r} holds rounds of other arms: choose another --out")
    known = {number for table in done for number in table["repetition"]}
    numbers = [number for number in range(settings.repeats) if number not in known]
    if numbers:
        with progress("calls", len(arms) * (len(numbers) + 1), quiet=quiet) as advance:
            for table in latency.measure_rounds(
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
        parts = latency.measure_breakdown(
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

    from attnscope import skeletons
    from attnscope.analyses.latency import Workload
    from attnscope.calling import call_options
    from attnscope.cli.inputs import RandomModel
    from attnscope.prompts import image_seed

    if isinstance(chosen, RandomModel):
        keywords = skeletons.call_keywords(
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

    from attnscope.analyses import frontier, judging, summaries
    from attnscope.calling import default_batch_size
    from attnscope.cli.console import messages, progress

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


def report(run: Run, *, quiet: bool, as_json: bool) -> None:
    """Draw a benchmark's figures and print its tables."""
    from attnscope.analyses.verdicts import untested
    from attnscope.cli.console import results, show_json
    from attnscope.figures.saving import save_figures

    figures = save_figures(run)
    if as_json:
        names = [*_TABLES, *(["frontier"] if run.has_table("frontier") else [])]
        tables = {name: run.read_table(name) for name in names}
        told = {"untested": untested(tables["frontier"])} if "frontier" in tables else {}
        about = {"run": run.path, "settings": run.settings, "figures": figures}
        show_json({**about, **tables, **told})
        return
    if quiet:
        print(run.path)
        return
    _show_arms(run.read_table("arms"), run.settings, run.about["machine"].get("steps"))
    _show_parts(run.read_table("parts"))
    _show_attribution(run.read_table("attribution"))
    _show_memory(run.read_table("arms"))
    if run.has_table("frontier"):
        table = run.read_table("frontier")
        _show_frontier(table)
        for line in untested(table):
            results.print(line, soft_wrap=True)
        results.print(f"every value with its interval: {run.path / 'frontier.csv'}", soft_wrap=True)
    results.print(f"tables: {run.path} (Parquet and CSV; arms.tex for LaTeX)", soft_wrap=True)
    for figure in figures:
        results.print(f"figure: {figure} and .pdf", soft_wrap=True)


def _show_arms(arms: pd.DataFrame, settings: dict[str, Any], made: int | None) -> None:
    import pandas as pd

    from attnscope.cli.console import results, show_table

    ran = arms.dropna(subset=["seconds"])
    shown = pd.DataFrame(
        {
            "arm": ran["arm"],
            "s/image": ran["seconds"],
            "speed-up (range)": [
                f"{row['speedup']:.2f} ({row['speedup_low']:.2f}-{row['speedup_high']:.2f})"
                if settings["repeats"] > 1
                else f"{row['speedup']:.2f}"
                for row in ran.to_dict("records")
            ],
            "ideal": ran["ideal"],
            "of ideal": ran["of_ideal"],
        }
    )
    weights = " with random weights" if settings["weights"] == "random" else ""
    told = "one round, which has no range"
    if settings["repeats"] > 1:
        told = f"medians and ranges of {settings['repeats']} rounds"
    images = f", {settings['batch']} images at a time" if settings["batch"] > 1 else ""
    images += "" if settings["decoded"] else ", without the autoencoder"
    steps = f"{made or settings['steps']} steps"
    if made not in (None, settings["steps"]):  # as Heun and PNDM
        steps += f" ({settings['steps']} asked for)"
    title = (
        f"{settings['model']}{weights} at {settings['width']}x{settings['height']}, "
        f"{steps}{images}, {settings['dtype']}, {settings['device']}, "
        f"{settings['threads']} thread{'s' * (settings['threads'] > 1)}: {told}"
    )
    show_table(shown, title, {"s/image": ".3g", "ideal": ".2f", "of ideal": ".2f"})
    for row in arms[arms["seconds"].isna()].to_dict("records"):
        results.print(f"{row['arm']} did not run: {row['note']}", soft_wrap=True)


def _show_memory(arms: pd.DataFrame) -> None:
    import pandas as pd

    from attnscope.cli.console import show_table

    ran = arms.dropna(subset=["seconds"])
    extra = ran["extra_mb"].round(1) + 0.0  # no -0.0
    shown = pd.DataFrame({"arm": ran["arm"], "kept MB": ran["kept_mb"], "extra MB": extra})
    title = (
        "memory: kept for reuse, from shapes, and how much higher the peak was than the baseline's"
    )
    show_table(shown, title, {"kept MB": ".1f", "extra MB": ".1f"})


def _show_parts(parts: pd.DataFrame) -> None:
    from attnscope.cli.console import show_table

    wide = parts.pivot_table(index="arm", columns="part", values="seconds", sort=False)
    total = wide.sum(axis=1)
    shown = wide.div(total, axis=0)
    shown.insert(0, "s/image", total)
    shown = shown.rename(
        columns={"other": "rest of denoiser", "outside": "outside"}
    )  # fmt: skip
    formats = dict.fromkeys(shown.columns, ".1%") | {"s/image": ".3g"}
    title = "where the time goes: shares by a stopwatch at every site, in rounds of their own"
    show_table(shown.reset_index(), title, formats)


def _show_attribution(table: pd.DataFrame) -> None:
    from attnscope.cli.console import show_table

    if table.empty:
        return
    wide = table.pivot_table(index="saving", columns="basis", values="saved", sort=False)
    time = table[table["basis"] == "time"].set_index("saving")
    shown = wide[["time", "MACs"]].reset_index()
    shown.insert(
        2,
        "range",
        [
            f"{row['low']:.1%} to {row['high']:.1%}" if row["low"] < row["high"] else "-"
            for _, row in time.iterrows()
        ],
    )
    title = "what each part saves alone, of the run without the plan"
    show_table(shown, title, {"time": ".1%", "MACs": ".1%"})


def _show_frontier(table: pd.DataFrame) -> None:
    """Speed beside the leading measures, a row per arm."""
    from attnscope.analyses.verdicts import biased
    from attnscope.cli import quality
    from attnscope.cli.console import messages, results, show_table
    from attnscope.measures import MEASURES

    wide = table.pivot_table(index="arm", columns="measure", values="value", sort=False)
    left_out = {*_APART, *(["fid"] if "kid" in wide else [])}  # what fits a terminal
    names = [name for name in MEASURES if name in wide and name not in left_out]
    speed = table.drop_duplicates("arm").set_index("arm")["speedup"]
    short = {name: re.sub(r" to S| \(dB\)|as asked ", "", MEASURES[name].heading) for name in names}
    shown = wide[names].rename(columns=short)
    shown.insert(0, "speed-up", speed)
    formats = {short[name]: MEASURES[name].form for name in names}
    show_table(shown.reset_index(), f"speed and quality, {table['n'].max()} images an arm",
               {"speed-up": ".2f", **formats})  # fmt: skip
    if relation := quality.about_relation(table):
        results.print(relation)
    small = table.loc[table["measure"] == "fid", "n"]
    if len(small) and small.max() < _FEW:
        messages.print(f"note: {biased(int(small.max()), table)}")
