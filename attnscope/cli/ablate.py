"""``attnscope ablate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnscope.cli import options as o
from attnscope.cli.reports.ablation import report

_EMBEDDED_LIMIT = 100


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

    from attnscope.analyses.ablation.arms import ATTENTION, Settings, Subject, arms_of, idle
    from attnscope.analyses.ablation.run import carry_out
    from attnscope.cli import parsing, reading
    from attnscope.cli.console import Bars, messages, quiet_libraries
    from attnscope.errors import InputError
    from attnscope.metrics.choosing import Quality, embedded_world
    from attnscope.models.chosen import ChosenModel
    from attnscope.models.schedulers import known_scheduler
    from attnscope.runs.folder import Run, default_path
    from attnscope.runs.prompts import digest_of

    if attention not in ATTENTION:
        raise InputError(f"--attention {attention!r} is not known (choose cross or self)")
    parsing.check_size(height, width)
    parsing.check_guidance(guidance)
    size = parsing.batch_size(batch_size)
    noise_seeds = parsing.whole_numbers("--seeds", seeds, least=0)
    names = parsing.names("--models", models)
    kinds = parsing.names("--schedulers", schedulers) if schedulers else (None,)
    for kind in kinds:
        known_scheduler(kind)
    prompts, given, source = reading.read_for_all(
        names, captions, images, column, limit, noise_seeds[0], (height, width),
        embedded_limit=_EMBEDDED_LIMIT,
    )  # fmt: skip
    with quiet_libraries():
        subjects, chosen = [], []
        for name in names:
            model = ChosenModel(
                name, scheduler=kinds[0], device=device, dtype=dtype, offline=offline,
                allow_pickle=allow_pickle,
            )  # fmt: skip
            chosen.append(model)
            weights = model.weights
            tall, wide = model.size(height, width)
            numbers = parsing.whole_numbers("--steps", steps or str(model.described.steps))
            owns = model.scheduler is None and not schedulers
            subjects.append(
                Subject(
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
        settings = Settings(
            subjects=tuple(subjects),
            captions=source,
            prompts_digest=digest_of(prompts, given),
            limit=len(prompts),
            attention=attention,
            gates=parsing.names("--gates", gates),
            intervals=parsing.whole_numbers("--intervals", intervals)
            if attention == "self"
            else (),
            seeds=noise_seeds,
            noise_scales=parsing.positive_numbers("--noise-scales", noise_scales),
            height=common[0],
            width=common[1],
        )
        arms_of(settings)  # refuses what cannot be
        for name in idle(settings):
            messages.print(f"note: {name} would reuse nothing, and is left out")
        reading.warn_of_world([model.described for model in chosen], prompts)
        path = out or default_path("ablate", names[0], settings)
        Run.check(path, "ablate", settings)
        progress = Bars(quiet=quiet or as_json)
        world = embedded_world(names, prompts, [*chain(*sizes)], progress)
        quality = Quality(
            features, features_weights, reference, clip, lpips, chosen[0].device, world, len(prompts),
            offline,
        )  # fmt: skip
        run = carry_out(
            path, chosen, settings, prompts, given, quality, batch_size=size, progress=progress
        )
    report(run, quiet=quiet, as_json=as_json)
