"""Options that several commands have: one name, one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnscope.plans.text_form import PLANS

_PLANS = ", ".join(name for name in PLANS if name != "tgate")

Model = Annotated[str, typer.Option(help="Short name (see 'attnscope models'), hub id or folder.")]
Captions = Annotated[
    Path | None, typer.Option(help="Text file, COCO JSON, JSON lines, CSV, TSV or Parquet.")
]
Images = Annotated[Path | None, typer.Option(help="Folder of images, for svd instead of captions.")]
Column = Annotated[str | None, typer.Option(help="Column of a captions table.")]
Limit = Annotated[int | None, typer.Option(help="Use this many captions, drawn by --seed.")]
Scheduler = Annotated[
    str | None, typer.Option(help="dpm, euler, euler-a, ddim, pndm, heun, unipc, lcm.")
]
Guidance = Annotated[float | None, typer.Option(help="Guidance scale; default: the model's.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the noise and of the choice of captions.")]
BatchSize = Annotated[
    str, typer.Option(help="'auto' or a number; it changes nothing in the result.")
]
Height = Annotated[int | None, typer.Option(min=8, help="Of the images, in pixels.")]
Width = Annotated[int | None, typer.Option(min=8, help="Of the images, in pixels.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, float16, bfloat16.")]
Offline = Annotated[bool, typer.Option("--offline", help="Use only what is on this machine.")]
AllowPickle = Annotated[
    bool, typer.Option("--allow-pickle", help="Also load weights that can run code.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the run directory only.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON; null is what is no finite number.")
]
TGate = Annotated[str | None, typer.Option(help="T-GATE's values, such as m=10,k=5.")]
OtherPlan = Annotated[
    str | None,
    typer.Option(
        "--plan",
        help=f"Another trajectory: {_PLANS}, with its values, such as cross-reuse:m=10; several "
        "with +; or module:Class, a plan of your own.",
    ),
]
Threshold = Annotated[
    float, typer.Option(min=0, max=1, help="Part of the first change that counts as converged.")
]
