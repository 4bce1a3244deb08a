"""Options that several commands have, one by one and in groups: one name, one help text.

A group is a dataclass with a field per option. A command says ``sampling: OneSampling`` and is handed
one object; :mod:`attnscope.cli.grouping` spreads the group's fields over its command line. An option
that all commands should have is one field here, and one of :mod:`attnscope.runs.sampling` if it
decides the images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from attnscope.cli.grouping import CAPTIONS, MODEL, OUTPUT, QUALITY, SAMPLING, Group
from attnscope.metrics.networks import FEATURES
from attnscope.plans.text_form import PLANS


def one_of(*choices: str) -> Callable[[str], list[str]]:
    """What the shell completes an option to: one value, or the last of several with commas."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [f"{before}{comma}{choice}" for choice in choices if choice.startswith(last)]

    return complete


def _models(incomplete: str) -> list[str]:
    from attnscope.models.names import MODELS

    return one_of(*MODELS)(incomplete)


_PLANS = ", ".join(name for name in PLANS if name != "tgate")
_SCHEDULERS = "dpm, euler, euler-a, ddim, pndm, heun, unipc, lcm"

# --- options that stand alone -----------------------------------------------------------------

Model = Annotated[
    str,
    typer.Option(
        help="Short name (see 'attnscope models'), hub id or folder.",
        rich_help_panel=MODEL,
        autocompletion=_models,
    ),
]
TGate = Annotated[str | None, typer.Option(help="T-GATE's values, such as m=10,k=5.")]
OtherPlan = Annotated[
    str | None,
    typer.Option(
        "--plan",
        help=f"Another trajectory: {_PLANS}, with its values, such as cross-reuse:m=10; several "
        "with +; or module:Class, a plan of your own.",
        autocompletion=one_of(*(f"{name}:" for name in PLANS if name != "baseline")),
    ),
]
THRESHOLD = 0.05
Threshold = Annotated[
    float, typer.Option(min=0, max=1, help="Part of the first change that counts as converged.")
]
STEPS_HELP = "Denoising steps; default: the model's."
Steps = Annotated[int | None, typer.Option(min=1, help=STEPS_HELP)]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print the run directory only.", rich_help_panel=OUTPUT),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print the result as JSON; null is what is no finite number.",
        rich_help_panel=OUTPUT,
    ),
]

# --- groups -----------------------------------------------------------------------------------

# fmt: off


@dataclass(frozen=True, kw_only=True)
class SamplingOptions(Group):
    """How images are sampled, as every command takes it."""

    panel: ClassVar[str] = SAMPLING

    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.", rich_help_panel=MODEL, autocompletion=one_of("auto", "cpu", "cuda", "mps"))] = "auto"
    dtype: Annotated[str, typer.Option(help="auto, float32, float16, bfloat16.", rich_help_panel=MODEL, autocompletion=one_of("auto", "float32", "float16", "bfloat16"))] = "auto"
    guidance: Annotated[float | None, typer.Option(help="Guidance scale; default: the model's.")] = None
    height: Annotated[int | None, typer.Option(min=8, help="Of the images, in pixels.")] = None
    width: Annotated[int | None, typer.Option(min=8, help="Of the images, in pixels.")] = None


@dataclass(frozen=True, kw_only=True)
class OneSampling(SamplingOptions):
    """One model, sampled one way."""

    model: Model = "shapes"
    steps: Steps = None
    scheduler: Annotated[str | None, typer.Option(help=f"{_SCHEDULERS}.", autocompletion=one_of(*_SCHEDULERS.split(", ")))] = None
    seed: Annotated[int, typer.Option(min=0, help="Of the noise and of the choice of captions.")] = 0


@dataclass(frozen=True, kw_only=True)
class Batches(Group):
    """Batches that change nothing."""

    batch_size: Annotated[str, typer.Option(help="'auto' or a number; it changes nothing in the result.")] = "auto"


@dataclass(frozen=True, kw_only=True)
class BatchedSampling(OneSampling, Batches):
    """One model, sampled one way, batch by batch."""


@dataclass(frozen=True, kw_only=True)
class SeveralSamplings(SamplingOptions, Batches):
    """Models, steps, schedulers and seeds to compare, as text: one value, or several with commas."""

    models: Annotated[str, typer.Option("--model", "--models", help="Short names, hub ids or folders.", rich_help_panel=MODEL, autocompletion=_models)] = "shapes"
    steps: Annotated[str | None, typer.Option(help="Denoising steps, one or several; default: the model's.")] = None
    schedulers: Annotated[str | None, typer.Option("--scheduler", "--schedulers", help=f"One or several of {_SCHEDULERS}.", autocompletion=one_of(*_SCHEDULERS.split(", ")))] = None
    seeds: Annotated[str, typer.Option("--seed", "--seeds", help="Of the noise, one or several; the first draws the captions.")] = "0"


@dataclass(frozen=True, kw_only=True)
class CaptionOptions(Group):
    """What the images are to show."""

    panel: ClassVar[str] = CAPTIONS

    captions: Annotated[Path | None, typer.Option(help="Text file, COCO JSON, JSON lines, CSV, TSV or Parquet.")] = None
    images: Annotated[Path | None, typer.Option(help="Folder of images, for svd instead of captions.")] = None
    column: Annotated[str | None, typer.Option(help="Column of a captions table.")] = None
    limit: Annotated[int | None, typer.Option(help="Use this many captions, drawn by --seed.")] = None


@dataclass(frozen=True, kw_only=True)
class QualityOptions(Group):
    """What images are judged by."""

    panel: ClassVar[str] = QUALITY

    features: Annotated[str, typer.Option(help=f"For FID and KID: {', '.join(FEATURES)}.", autocompletion=one_of(*FEATURES))] = "auto"
    features_weights: Annotated[Path | None, typer.Option(help="Weights of the features, where none are installed.")] = None
    reference: Annotated[Path | None, typer.Option(help="Folder of images, or statistics (.npz), for FID and KID; shapes renders its own.")] = None
    clip: Annotated[str | None, typer.Option(help="A CLIP for the CLIP score: hub id or folder.")] = None
    lpips: Annotated[bool, typer.Option("--lpips", help="Also LPIPS to the images of S, the baseline.")] = False


@dataclass(frozen=True, kw_only=True)
class OutputOptions(Group):
    """Where results go, and what may be fetched and loaded on the way."""

    panel: ClassVar[str] = OUTPUT

    out: Annotated[Path | None, typer.Option(help="Run directory; default: runs/COMMAND-MODEL-…")] = None
    offline: Annotated[bool, typer.Option("--offline", help="Use only what is on this machine.")] = False
    allow_pickle: Annotated[bool, typer.Option("--allow-pickle", help="Also load weights that can run code.")] = False
    quiet: Quiet = False
    as_json: AsJson = False

    @property
    def silent(self) -> bool:
        """Whether bars are left out."""
        return self.quiet or self.as_json
