"""``attnscope ablate``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from attnscope.analyses.ablation import ATTENTION
from attnscope.cli import options as o
from attnscope.cli.choices import choice
from attnscope.cli.grouping import grouped
from attnscope.cli.reports.ablation import report

if TYPE_CHECKING:
    from attnscope.analyses.ablation.arms import Subject
    from attnscope.models.chosen import ChosenModel

_INTERVAL = "5"


@dataclass(frozen=True, kw_only=True)
class _Captions(o.CaptionOptions):
    """So many that differences show."""

    embedded: ClassVar[int] = 100
    limit: Annotated[int | None, o.limit(100)] = None


@grouped
def ablate(
    sampling: o.SeveralSamplings,
    shown: _Captions,
    judged: o.QualityOptions,
    workers: o.WorkerOptions,
    output: o.OutputOptions,
    attention: Annotated[str, choice(ATTENTION, help="What to ablate: cross by the encoding of \"\", self by reuse.")] = "cross",
    gates: Annotated[str, typer.Option("--gate", "--gates", help="m, one or several: 10, 40% of the steps, -1nat of log-SNR, or 3,5,10.", metavar="<int|%|nat,…>")] = "40%",
    intervals: Annotated[str | None, typer.Option("--interval", "--intervals", help="k, one or several; of self-attention.", metavar="<int,…>", show_default=_INTERVAL)] = None,
    noise_scales: Annotated[str, typer.Option("--noise-scale", "--noise-scales", help="Factors on the noise levels visited; 4 gives the models in the box those of Stable Diffusion.", metavar="<float,…>")] = "1",
) -> None:  # fmt: skip
    """Take attention away, early or late, and measure what that does to the images.

    Cross-attention: S, S^F (the prompt in the first m steps only), S^L (only after them), and no
    guidance. Self-attention: S, S^F and S^L by reuse, alone and with cross-attention gated at m. A
    run that was stopped goes on with the same command. Without arguments: the embedded U-Net on 100
    held-out captions.
    """
    from attnscope.analyses.ablation.arms import AblationSettings, arms_of, gates_in_steps, idle
    from attnscope.analyses.ablation.run import carry_out
    from attnscope.cli import crews, parsing, reading
    from attnscope.cli.console import messages, quiet_libraries
    from attnscope.errors import InputError
    from attnscope.runs.folder import Run, default_path
    from attnscope.runs.prompts import digest_of

    if attention not in ATTENTION:
        raise InputError(
            f"--attention {attention!r} is not known (choose {' or '.join(ATTENTION)})"
        )
    if attention != "self" and intervals is not None:
        raise InputError(
            "--interval is for --attention self: cross-attention is not reused in turns"
        )
    parsing.check_sampling(sampling)
    size = parsing.batch_size(sampling.batch_size)
    seeds = parsing.whole_numbers("--seeds", sampling.seeds, least=0)
    names, schedulers = parsing.names("--models", sampling.models), _schedulers(sampling)
    prompts, given, source = reading.read_for_all(
        names, shown, seeds[0], (sampling.height, sampling.width), parsing.chosen_questions(judged)
    )
    team = crews.team(workers, output)
    with quiet_libraries():
        models = [
            parsing.chosen_model(sampling, output, name=name, scheduler=schedulers[0], team=team)
            for name in names
        ]
        subjects = tuple(_subject(model, sampling, schedulers) for model in models)
        sizes = {(subject.height, subject.width) for subject in subjects}
        common = next(iter(sizes)) if len(sizes) == 1 else (None, None)
        scales = parsing.positive_numbers("--noise-scales", noise_scales)
        intervals_of = (
            parsing.whole_numbers("--intervals", intervals or _INTERVAL)
            if attention == "self"
            else ()
        )
        settings = AblationSettings(
            subjects=subjects,
            captions=source,
            prompts_digest=digest_of(prompts, given),
            limit=len(prompts),
            attention=attention,
            gates=gates_in_steps(
                parsing.names("--gates", gates), subjects, scales, models[0].levels
            ),
            intervals=intervals_of,
            seeds=seeds,
            noise_scales=scales,
            height=common[0],
            width=common[1],
        )
        arms_of(settings)  # refuses what cannot be
        for name in idle(settings):
            messages.print(f"note: {name} would reuse nothing, and is left out", soft_wrap=True)
        reading.warn_of_world([model.described for model in models], prompts)
        path = output.out or crews.placed(default_path("ablate", names[0], settings), team.crew)
        Run.check(path, "ablate", settings, team.crew.share)
        quality = parsing.chosen_quality(
            judged, names, prompts, {side for size in sizes for side in size},
            device=models[0].here, output=output, progress=team.progress,
        )  # fmt: skip
        with team:
            run = carry_out(
                path, models, settings, prompts, given, quality, batch_size=size, crew=team.crew,
                progress=team.progress,
            )  # fmt: skip
    if not run.share.is_whole:
        crews.tell_shards([run], output)
        return
    report(run, adjust=judged.adjust, quiet=output.quiet, as_json=output.as_json)


def _schedulers(sampling: o.SeveralSamplings) -> tuple[str | None, ...]:
    """The schedulers that were asked for; ``None`` stands for a model's own."""
    from attnscope.cli import parsing
    from attnscope.models.schedulers import known_scheduler

    if not sampling.schedulers:
        return (None,)
    kinds = parsing.names("--schedulers", sampling.schedulers)
    for kind in kinds:
        known_scheduler(kind)
    return kinds


def _subject(
    model: ChosenModel, sampling: o.SeveralSamplings, schedulers: tuple[str | None, ...]
) -> Subject:
    """A model with what of the options is its own."""
    from attnscope.analyses.ablation.arms import Subject
    from attnscope.cli import parsing
    from attnscope.runs.sampling import ModelUse, settled

    use = settled(model, vars(sampling), ModelUse)
    steps = parsing.whole_numbers("--steps", sampling.steps or str(model.described.steps))
    owns = model.scheduler is None and not sampling.schedulers
    return Subject(
        **use,
        steps=steps,
        own_steps=tuple(model.steps_made(number) for number in steps) if owns else (),
        schedulers=schedulers if sampling.schedulers else (model.scheduler,),
    )
