"""Options that several commands have, one by one and in groups: one name, one help text.

A group is a dataclass with a field per option. A command says ``sampling: OneSampling`` and is handed
one object; :mod:`attnscope.cli.grouping` spreads the group's fields over its command line. An option
that all commands should have is one field here, and one of :mod:`attnscope.runs.sampling` if it
decides the images.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from attnscope.cli.choices import choice, one_of
from attnscope.cli.grouping import (
    CAPTIONS,
    MEASURE,
    MODEL,
    OUTPUT,
    QUALITY,
    SAMPLING,
    WORKERS,
    Group,
)
from attnscope.errors import InputError
from attnscope.metrics.adjusting import ADJUSTMENTS
from attnscope.metrics.networks import FEATURES
from attnscope.models.loading import DTYPES
from attnscope.models.names import MODELS
from attnscope.models.schedulers import SCHEDULERS
from attnscope.plans.text_form import PLANS

_DEVICES = ("auto", "cpu", "cuda", "mps")
_THE_MODELS = "the model's"
"""Stands for a default that is not the same for all models."""

# --- options that stand alone -----------------------------------------------------------------

Model = Annotated[
    str,
    typer.Option(
        help=f"{', '.join(MODELS)}; any hub id; or a folder.",
        metavar="<name>",
        rich_help_panel=MODEL,
        autocompletion=one_of(*MODELS),
    ),
]
TGate = Annotated[
    str | None,
    typer.Option(help="T-GATE's values, such as m=10,k=5 or m=-1nat.", metavar="<values>"),
]
OtherPlan = Annotated[
    str | None,
    typer.Option(
        "--plan",
        help=f"Any plan with its values, such as cross-reuse:m=10: {', '.join(PLANS)}; several with "
        "+; or plan.json, the file of one; or module:Class, a plan of your own.",
        metavar="<name:values>",
        autocompletion=one_of(*(f"{name}:" for name in PLANS if name != "baseline")),
    ),
]
Plans = Annotated[
    str | None,
    typer.Option(
        "--plans",
        help='Several plans on the same noise and prompts, parted by semicolons: "baseline;m=10;m=10,k=5".',
        metavar="<plan;plan;…>",
    ),
]
Adjust = Annotated[
    str,
    choice(
        ADJUSTMENTS,
        help="How p-values allow for the many differences of a table: holm, 5 % for any false claim in it; bh, 5 % of its claims false on average; none, each by itself.",
    ),
]


def check_adjust(name: str) -> None:
    """Refuse an adjustment that there is not.

    Raises:
        InputError: there is none of this name.
    """
    if name not in ADJUSTMENTS:
        raise InputError(f"--adjust {name!r} is not known (choose {', '.join(ADJUSTMENTS)})")


Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print the run directory only.", rich_help_panel=OUTPUT),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print the result as JSON; null stands for values that are not finite.",
        rich_help_panel=OUTPUT,
    ),
]
_EACH = "one or several: each is a run of its own"


def limit(embedded: int) -> Any:
    """The option for the number of captions.

    Args:
        embedded: how many it is of an embedded model's own, if none is said.
    """
    return typer.Option(
        help="Use this many captions, drawn by --seed.",
        show_default=f"all of a file, {embedded} of an embedded model's own",
    )


def batch_size(made: str) -> Any:
    """The option for the size of batches that change nothing.

    Args:
        made: what is made in them.
    """
    return typer.Option(
        help=f"{made}, 'auto' or a number; it changes a result by rounding alone.",
        metavar="<auto|int>",
    )


# --- groups -----------------------------------------------------------------------------------

# fmt: off


@dataclass(frozen=True, kw_only=True)
class SamplingOptions(Group):
    """How images are sampled, as every command takes it."""

    panel: ClassVar[str] = SAMPLING

    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.", metavar="<device>", rich_help_panel=MODEL, autocompletion=one_of(*_DEVICES))] = "auto"
    dtype: Annotated[str, choice(("auto", *DTYPES), help="Of the weights; auto is float16 for large models on a GPU, and float32 else.", rich_help_panel=MODEL)] = "auto"
    guidance: Annotated[float | None, typer.Option(help="Guidance scale.", show_default=_THE_MODELS)] = None
    height: Annotated[int | None, typer.Option(min=8, help="Of the images, in pixels.", show_default=_THE_MODELS)] = None
    width: Annotated[int | None, typer.Option(min=8, help="Of the images, in pixels.", show_default=_THE_MODELS)] = None


@dataclass(frozen=True, kw_only=True)
class OneSampling(SamplingOptions):
    """One model, sampled one way: what is left of several ways where a run is made."""

    model: str
    steps: int | None
    scheduler: str | None
    seed: int


@dataclass(frozen=True, kw_only=True)
class Batches(Group):
    """Batches that change nothing."""

    panel: ClassVar[str] = SAMPLING

    batch_size: Annotated[str, batch_size("Images made at once")] = "auto"


@dataclass(frozen=True, kw_only=True)
class SeveralRuns(SamplingOptions):
    """One model, sampled one way or several, as text: every combination is a run of its own."""

    model: Model = "shapes"
    steps: Annotated[str | None, typer.Option(help=f"Denoising steps, {_EACH}.", metavar="<int,…>", show_default=_THE_MODELS)] = None
    schedulers: Annotated[str | None, choice(SCHEDULERS, "--scheduler", "--schedulers", several=True, help="Solver; each is a run of its own.", show_default=_THE_MODELS)] = None
    seeds: Annotated[str, typer.Option("--seed", "--seeds", help=f"Of the noise and of the choice of captions, {_EACH}.", metavar="<int,…>")] = "0"


@dataclass(frozen=True, kw_only=True)
class SeveralBatchedRuns(SeveralRuns, Batches):
    """One model, sampled one way or several, batch by batch."""


@dataclass(frozen=True, kw_only=True)
class SeveralSamplings(SamplingOptions, Batches):
    """Models, steps, schedulers and seeds to compare, as text: one value, or several with commas."""

    models: Annotated[str, typer.Option("--model", "--models", help=f"One or several of {', '.join(MODELS)}, hub ids and folders.", metavar="<name,…>", rich_help_panel=MODEL, autocompletion=one_of(*MODELS))] = "shapes"
    steps: Annotated[str | None, typer.Option(help="Denoising steps, one or several.", metavar="<int,…>", show_default=_THE_MODELS)] = None
    schedulers: Annotated[str | None, choice(SCHEDULERS, "--scheduler", "--schedulers", several=True, help="Solver.", show_default=_THE_MODELS)] = None
    seeds: Annotated[str, typer.Option("--seed", "--seeds", help="Of the noise, one or several; the first draws the captions.", metavar="<int,…>")] = "0"


@dataclass(frozen=True, kw_only=True)
class PlanOptions(Group):
    """What is done to a run: T-GATE or another plan, with one gate or several."""

    panel: ClassVar[str] = MEASURE

    tgate: TGate = None
    other: OtherPlan = None
    gates: Annotated[str | None, typer.Option("--gate", "--gates", help=f"m of the plan, {_EACH}, in steps or as -1nat of log-SNR; of T-GATE if no plan is named.", metavar="<int|nat,…>")] = None


@dataclass(frozen=True, kw_only=True)
class CaptionOptions(Group):
    """What the images are to show."""

    panel: ClassVar[str] = CAPTIONS
    embedded: ClassVar[int] = 64
    """Captions of an embedded model's own, if no number is said."""

    captions: Annotated[Path | None, typer.Option(help="Text file, COCO JSON, JSON lines, CSV, TSV or Parquet.")] = None
    images: Annotated[Path | None, typer.Option(help="Folder of images, for svd instead of captions.")] = None
    column: Annotated[str | None, typer.Option(help="Column of a captions table.")] = None
    limit: Annotated[int | None, limit(64)] = None


@dataclass(frozen=True, kw_only=True)
class QualityOptions(Group):
    """What images are judged by."""

    panel: ClassVar[str] = QUALITY

    features: Annotated[str, typer.Option(help=f"For FID and KID: {', '.join(FEATURES)}.", autocompletion=one_of(*FEATURES))] = "auto"
    features_weights: Annotated[Path | None, typer.Option(help="Weights of the features, where none are installed.")] = None
    reference: Annotated[Path | None, typer.Option(help="Folder of images, or statistics (.npz), for FID and KID; shapes renders its own.")] = None
    clip: Annotated[str | None, typer.Option(help="A CLIP for the CLIP score: hub id or folder.")] = None
    lpips: Annotated[bool, typer.Option("--lpips", help="Also LPIPS to the images of S, the baseline.")] = False
    questions: Annotated[str | None, typer.Option(help="Questions about the images: scenes, compbench, noun-phrases, a file of DPG-Bench's (.csv) or GenEval 2's (.jsonl), or T2I-CompBench's folder, whose captions are drawn if no others are.", autocompletion=one_of("scenes", "compbench", "noun-phrases"))] = None
    vqa: Annotated[str | None, typer.Option(help="Who answers --questions: reader on the embedded world, or a model as hub id or folder.", metavar="<name>", autocompletion=one_of("reader"))] = None
    adjust: Adjust = ADJUSTMENTS[0]

    def __post_init__(self) -> None:
        check_adjust(self.adjust)


@dataclass(frozen=True, kw_only=True)
class WorkerOptions(Group):
    """Who makes the batches: this process, several workers, or several machines by hand."""

    panel: ClassVar[str] = WORKERS

    workers: Annotated[int | None, typer.Option(min=1, help="Batches made at the same time, by processes of Ray, which is started here.", show_default="none: this process")] = None
    ray: Annotated[str | None, typer.Option(help="Address of a cluster of Ray, or auto.", metavar="<address|auto>", show_default="none")] = None
    gpus_per_worker: Annotated[float | None, typer.Option(min=0.01, help="GPUs of each worker; 0.5 lets two share one.", metavar="<float>", show_default="1 where models are on GPUs")] = None
    shard: Annotated[str | None, typer.Option(help="Make every n-th batch only, from the i-th on; attnscope merge joins the runs.", metavar="<i/n>", show_default="all")] = None
    events: Annotated[Path | None, typer.Option(help="File to which a line of JSON is added for all that happens.", show_default="none")] = None


@dataclass(frozen=True, kw_only=True)
class OutputOptions(Group):
    """Where results go, and what may be fetched and loaded on the way."""

    panel: ClassVar[str] = OUTPUT

    out: Annotated[Path | None, typer.Option(help="Run directory; of several runs, the folder of theirs.", show_default="runs/COMMAND-MODEL-…")] = None
    offline: Annotated[bool, typer.Option("--offline", help="Use only what is on this machine.")] = False
    allow_pickle: Annotated[bool, typer.Option("--allow-pickle", help="Also load weights that can run code.")] = False
    quiet: Quiet = False
    as_json: AsJson = False

    def __post_init__(self) -> None:
        if self.quiet and self.as_json:
            raise InputError("--quiet prints the run directory only and --json the result: give one")

    @property
    def silent(self) -> bool:
        """Whether bars are left out."""
        return self.quiet or self.as_json
