"""``attnscope ablate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnscope.cli import options as o

if TYPE_CHECKING:
    import pandas as pd

    from attnscope.analyses.ablation import Arm, Settings
    from attnscope.analyses.judging import Judges
    from attnscope.cli.inputs import ChosenModel
    from attnscope.cli.quality import Quality
    from attnscope.prompts import Prompt
    from attnscope.runs import Run

_EMBEDDED_LIMIT = 100
_FEW = 10_000
_MOST_COLUMNS = 6


def ablate(
    attention: Annotated[str, typer.Option(help="What to ablate: cross (by the encoding of \"\") or self (by reuse).")] = "cross",
    gates: Annotated[str, typer.Option("--gate", "--gates", help="m, one or several: 10, 40% of the steps, or 3,5,10.")] = "40%",
    intervals: Annotated[str, typer.Option("--interval", "--intervals", help="k, one or several; of self-attention.")] = "5",
    models: Annotated[str, typer.Option("--model", "--models", help="Short names, hub ids or folders.")] = "shapes",
    steps: Annotated[str | None, typer.Option(help="Denoising steps, one or several; default: the model's.")] = None,
    schedulers: Annotated[str | None, typer.Option("--scheduler", "--schedulers", help="One or several of dpm, euler, euler-a, ddim, pndm, heun, unipc, lcm.")] = None,
    seeds: Annotated[str, typer.Option("--seed", "--seeds", help="Of the noise, one or several; the first draws the captions.")] = "0",
    noise_scales: Annotated[str, typer.Option("--noise-scale", "--noise-scales", help="Factors on the noise levels visited; 4 undoes the shift of shapes.")] = "1",
    captions: o.Captions = None,
    images: o.Images = None,
    column: o.Column = None,
    limit: o.Limit = None,
    guidance: o.Guidance = None,
    features: Annotated[str, typer.Option(help="For FID and KID: auto, none, inception, efficientnet-lite0, reader.")] = "auto",
    features_weights: Annotated[Path | None, typer.Option(help="Weights of the features, where none are installed.")] = None,
    reference: Annotated[Path | None, typer.Option(help="Folder of images, or statistics (.npz), for FID and KID; shapes renders its own.")] = None,
    clip: Annotated[str | None, typer.Option(help="A CLIP for the CLIP score: hub id or folder.")] = None,
    lpips: Annotated[bool, typer.Option("--lpips", help="Also LPIPS to S.")] = False,
    batch_size: o.BatchSize = "auto",
    height: o.Height = None,
    width: o.Width = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    out: Annotated[Path | None, typer.Option(help="Run directory; default: runs/ablate-…")] = None,
    offline: o.Offline = False,
    allow_pickle: o.AllowPickle = False,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
) -> None:  # fmt: skip
    """Take attention away, early or late, and measure what that does to the images.

    Cross-attention: S, S^F (the prompt in the first m steps only), S^L (only after them), and no
    guidance. Self-attention: S, S^F and S^L by reuse, alone and with cross-attention gated at m. A
    run that was stopped goes on with the same command. Without arguments: the embedded model on 100
    held-out captions.
    """
    from itertools import chain

    from attnscope.analyses import ablation
    from attnscope.cli import inputs, quality
    from attnscope.cli.console import messages, quiet_libraries
    from attnscope.errors import InputError
    from attnscope.runs import Run, default_path

    if attention not in ablation.ATTENTION:
        raise InputError(f"--attention {attention!r} is not known (choose cross or self)")
    inputs.check_size(height, width)
    inputs.check_guidance(guidance)
    size = inputs.batch_size(batch_size)
    noise_seeds = inputs.whole_numbers("--seeds", seeds, least=0)
    names = inputs.names("--models", models)
    kinds = inputs.names("--schedulers", schedulers) if schedulers else (None,)
    for kind in kinds:
        inputs.known_scheduler(kind)
    prompts, given, source = inputs.read_for_all(
        names, captions, images, column, limit, noise_seeds[0], (height, width),
        embedded_limit=_EMBEDDED_LIMIT,
    )  # fmt: skip
    with quiet_libraries():
        subjects, chosen = [], []
        for name in names:
            model = inputs.ChosenModel(
                name, scheduler=kinds[0], device=device, dtype=dtype, offline=offline,
                allow_pickle=allow_pickle,
            )  # fmt: skip
            chosen.append(model)
            weights = model.weights
            tall, wide = model.size(height, width)
            numbers = inputs.whole_numbers("--steps", steps or str(model.described.steps))
            owns = model.scheduler is None and not schedulers
            subjects.append(
                ablation.Subject(
                    model=name,
                    weights=weights,
                    dtype=model.dtype,
                    guidance=model.described.guidance if guidance is None else guidance,
                    steps=numbers,
                    own_steps=tuple(model.steps_made(number) for number in numbers) if owns else (),
                    schedulers=kinds if schedulers else (model.scheduler,),
                    height=tall,
                    width=wide,
                )
            )
        sizes = {(subject.height, subject.width) for subject in subjects}
        common = next(iter(sizes)) if len(sizes) == 1 else (None, None)
        settings = ablation.Settings(
            subjects=tuple(subjects),
            captions=source,
            prompts_digest=inputs.digest(prompts, given),
            limit=len(prompts),
            attention=attention,
            gates=inputs.names("--gates", gates),
            intervals=inputs.whole_numbers("--intervals", intervals) if attention == "self" else (),
            seeds=noise_seeds,
            noise_scales=inputs.positive_numbers("--noise-scales", noise_scales),
            height=common[0],
            width=common[1],
        )
        arms = ablation.arms_of(settings)
        for name in ablation.idle(settings):
            messages.print(f"note: {name} would reuse nothing, and is left out")
        inputs.warn_of_world([model.described for model in chosen], prompts)
        path = out or default_path("ablate", names[0], settings)
        Run.check(path, "ablate", settings)
        world = quality.embedded_world(names, prompts, [*chain(*sizes)])
        judged = quality.Quality(
            features, features_weights, reference, clip, lpips, chosen[0].device, world, len(prompts),
            offline,
        )  # fmt: skip
        if not judged.is_of(path):
            judges = judged.judges()
            for model in chosen:
                own = [arm for arm in arms if arm.cell.model == model.name]
                _make(path, model, own, settings, prompts, given, size, quiet=quiet or as_json)
            _judge(Run(path), settings, prompts, judges, judged, quiet=quiet or as_json)
    report(Run(path), quiet=quiet, as_json=as_json)


def _make(
    path: Path,
    model: ChosenModel,
    arms: Sequence[Arm],
    settings: Settings,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    size: int | None,
    *,
    quiet: bool,
) -> None:
    """Make what images of a model are missing; everything is checked before the first."""
    from attnscope.analyses import ablation
    from attnscope.calling import default_batch_size
    from attnscope.cli import inputs
    from attnscope.cli.console import messages, progress
    from attnscope.plan import parse
    from attnscope.runs import Run
    from attnscope.schedulers import scaled_timesteps
    from attnscope.sizes import asked

    if (path / "run.json").exists():
        run = Run(path)
        arms = [arm for arm in arms if not ablation.is_finished(run, arm, len(prompts))]
    if not arms:
        return
    pipe = model.pipe
    inputs.warn_of_text(pipe, prompts)
    tall, wide = settings.size(model.name)
    if tall is not None:
        asked(pipe, tall, wide)
    for arm in arms:
        _set(pipe, arm)
        inputs.check_plan(pipe, parse(arm.plan), arm.asked)
        inputs.check_steps_made(pipe, arm.asked, arm.cell.steps)
        if arm.cell.noise_scale != 1:
            scaled_timesteps(pipe, arm.asked, arm.cell.noise_scale)
    batch = min(size or default_batch_size(pipe, model.device), len(prompts))

    def opened(batch: int) -> Run:
        return Run.open(path, "ablate", settings, device=model.device, batch_size=batch)

    def halved(batch: int) -> None:
        messages.print(f"out of memory: going on with batches of {batch}")
        opened(batch)

    run = opened(batch)
    run.write_table("prompts", inputs.table(prompts))
    for number, arm in enumerate(arms, 1):
        _set(pipe, arm)
        label = f"{arm.key} ({number} of {len(arms)})"
        with progress(label, len(prompts), quiet=quiet) as advance:
            ablation.sample_arm(
                pipe, arm, settings, prompts, given, run, batch_size=batch, on_batch=advance,
                on_halving=halved,
                **model.described.options,
            )  # fmt: skip
    model.forget()


def _set(pipe: Any, arm: Arm) -> None:
    from attnscope.analyses.ablation import OWN
    from attnscope.schedulers import set_scheduler

    if arm.cell.scheduler != OWN:
        set_scheduler(pipe, arm.cell.scheduler)


def _judge(
    run: Run,
    settings: Settings,
    prompts: Sequence[Prompt],
    judges: Judges,
    judged: Quality,
    *,
    quiet: bool,
) -> None:
    """Measure the images."""
    from attnscope.analyses import ablation, summaries
    from attnscope.analyses.judging import judge
    from attnscope.cli.console import progress

    with judged.judging(run.path):
        made = ablation.images_of(run, settings)
        noise = ablation.noise_of(run, settings)
        texts = {prompt.prompt_id: prompt.text for prompt in prompts}
        with progress("measures: arms", made["key"].nunique(), quiet=quiet) as advance:
            images, features = judge(run, made, texts, judges, on_arm=advance)
        arms = summaries.at_gate(summaries.summarise(images, features, judges.reference), noise)
        run.write_table("noise", noise)
        run.write_table("pictures", ablation.pictures_of(run, settings))
        run.write_table("images", images)
        run.write_table("arms", arms)
        run.write_csv("arms", arms)


def report(run: Run, *, quiet: bool, as_json: bool) -> None:
    """Draw an ablation's figures, print its arms and which differences are larger than chance."""
    from attnscope.analyses.summaries import larger_than_chance, over_seeds
    from attnscope.analyses.verdicts import biased, untested
    from attnscope.cli import quality
    from attnscope.cli.console import messages, results, show_json
    from attnscope.figures.saving import save_figures

    arms = run.read_table("arms")
    if "best" not in arms:  # judged before there was a test of it
        arms = arms.assign(best=False)
    seeds = over_seeds(arms)
    if len(seeds):
        run.write_csv("seeds", seeds)
    figures = save_figures(run)
    if as_json:
        show_json({"run": run.path, "figures": figures, "arms": arms, "untested": untested(arms)})
        return
    if quiet:
        print(run.path)
        return
    _show_arms(arms, run.settings)
    if len(seeds):
        _show_seeds(seeds)
    if relation := quality.about_relation(arms):
        results.print(relation)
    for line in (*larger_than_chance(arms), *untested(arms)):
        results.print(line, soft_wrap=True)
    of_sets = arms.loc[arms["features"] != "", ["features", "reference", "n"]].drop_duplicates()
    for row in of_sets.to_dict("records"):
        results.print(f"FID, KID: {row['n']} images against {row['reference']}; {row['features']}")
        if row["n"] < _FEW:
            messages.print(f"note: {biased(row['n'], arms)}")
    results.print(f"every value with its interval: {run.path / 'arms.csv'}", soft_wrap=True)
    results.print(f"run directory: {run.path}", soft_wrap=True)
    for figure in figures:
        results.print(f"figure: {figure} and .pdf", soft_wrap=True)


def _show_arms(arms: pd.DataFrame, settings: dict[str, Any]) -> None:
    """Few arms stand side by side with all measures, many below each other with those that lead."""
    import pandas as pd

    from attnscope.cli.console import show_table
    from attnscope.measures import CELL, LEADING, MEASURES

    marked = _marked(arms)
    varying = [name for name in CELL if arms[name].nunique() > 1]
    if arms["key"].nunique() <= _MOST_COLUMNS and not varying:
        rows = {
            measure.heading: marked[name] for name, measure in MEASURES.items() if name in marked
        }
        names = dict(zip(marked["key"], marked["arm"], strict=True))
        shown = pd.DataFrame(rows).set_axis(list(names.values())).T.rename_axis("measure")
        shown = shown.reset_index()
    else:
        leading = {name: MEASURES[name].heading for name in LEADING if name in marked}
        shown = marked[[*varying, "arm", *leading]].rename(columns=leading)
    show_table(
        shown,
        f"{settings['attention']}-attention, {settings['limit']} prompts, {_sizes(settings)} "
        f"({_legend(arms)})",
    )


def _sizes(settings: dict[str, Any]) -> str:
    """The size of the images, or every model's."""
    of = {s["model"]: f"{s['width']}x{s['height']}" for s in settings["subjects"] if s.get("width")}
    if len(set(of.values())) < 2:
        return next(iter(of.values()), "images of the model's own size")
    return ", ".join(f"{size} of {model}" for model, size in of.items())


def _legend(arms: pd.DataFrame) -> str:
    """What the marks mean; under 20 prompts there are none."""
    if arms["difference_low"].isna().all() and not arms["best"].any():
        return "no difference was tested"
    return (
        "* better than every other by more than the 95 % interval of the difference, ≠ differs from S "
        "by more than it; each is a test by itself, and by chance one in twenty says so"
    )


def _marked(arms: pd.DataFrame) -> pd.DataFrame:
    """A row per arm, a column per measure: values as text, with marks."""
    import pandas as pd

    from attnscope.intervals import differs
    from attnscope.measures import CELL, MEASURES

    rows = []
    for _, group in arms.groupby("key", sort=False):
        row = dict(group.iloc[0][[*CELL, "key", "arm"]])
        for value in group.to_dict("records"):
            told = differs(value["difference_low"], value["difference_high"])
            marks = ("*" if value["best"] else "") + ("≠" if told else "")
            row[value["measure"]] = f"{value['value']:{MEASURES[value['measure']].form}} {marks:<2}"
        rows.append(row)
    return pd.DataFrame(rows)


def _show_seeds(seeds: pd.DataFrame) -> None:
    """Mean ± standard deviation over seeds, a row per arm."""
    import pandas as pd

    from attnscope.cli.console import show_table
    from attnscope.measures import CELL, LEADING, MEASURES

    keys = [name for name in CELL if name in seeds and seeds[name].nunique() > 1]
    rows = []
    for values, group in seeds.groupby([*keys, "arm"], sort=False):
        row = dict(zip([*keys, "arm"], values, strict=True))
        for value in group[group["measure"].isin(LEADING)].to_dict("records"):
            measure = MEASURES[value["measure"]]
            both = (value["value"], value["high"] - value["value"])
            row[measure.heading] = " ± ".join(f"{number:{measure.form}}" for number in both)
        rows.append(row)
    show_table(pd.DataFrame(rows), f"mean ± standard deviation over {seeds['n'].iloc[0]} seeds")
