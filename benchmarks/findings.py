"""Measure anew what the documents say of the models in the box: ``python benchmarks/findings.py shapes-dit``.

Every study is one command of attnscope. A study that was stopped goes on where it was;
what is finished is not made again. CSV files of finished studies go to ``docs/findings/MODEL``.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
_IMAGES = "--dtype bfloat16"

STUDIES = {
    "convergence": "convergence --controls --limit 64",
    "cross": f"ablate --gate 40% --limit 500 {_IMAGES}",
    "self": f"ablate --attention self --gate 40% --interval 5 --limit 500 {_IMAGES}",
    "gates": f"ablate --gates 4%,12%,20%,28%,40%,60% --noise-scales 1,4 --limit 60 {_IMAGES}",
    "grid": f"ablate --gate 40% --schedulers dpm,euler,ddim --steps 10,25,50 --limit 40 {_IMAGES}",
    "frontier": "bench --frontier --limit 100 --repeats 6 --tgate m=10,k=5",
    "seeds": f"ablate --gate 40% --seeds 0,1,2 --limit 60 {_IMAGES}",
}
"""By the name of the folder and of the CSV files; what the documents need most goes first."""
FEW_STEPS = STUDIES | {
    "cross": f"ablate --gate 50% --limit 500 {_IMAGES}",
    "self": f"ablate --attention self --steps 8 --gate 60% --interval 2 --limit 300 {_IMAGES}",
    "gates": f"ablate --gates 25%,50%,75% --noise-scales 1,4 --limit 60 {_IMAGES}",
    "grid": f"ablate --gate 50% --steps 2,4,8 --limit 60 {_IMAGES}",
    "frontier": "bench --frontier --limit 100 --repeats 6 --tgate m=2,k=2,w=1",
    "seeds": f"ablate --gate 50% --seeds 0,1,2 --limit 60 {_IMAGES}",
}
"""Of a model whose four steps leave little; of self-attention they leave nothing to reuse, so it has eight."""
ALONE = {
    "shapes": {
        "four": f"ablate --gate 50% --schedulers dpm,lcm --steps 4 --limit 200 --features none {_IMAGES}"
    }
}
"""Studies of one model: here, whether it is its few steps that set the distilled model apart."""
AGAIN = {"cross": "efficientnet-lite0"}
"""A study whose images are judged once more, by other features."""

KEPT = ("arms", "controls", "frontier")
"""Tables of a run that stand behind the documents."""


def commands(model: str, runs: Path) -> list[tuple[str, list[str]]]:
    """Names and arguments of all studies of a model, in the order in which they run."""
    studies = (FEW_STEPS if model.endswith("-lcm") else STUDIES) | ALONE.get(model, {})
    made = []
    for name, text in studies.items():
        arguments = [*shlex.split(text), "--model", model, "--out", str(runs / model / name)]
        made.append((name, arguments))
        if name in AGAIN:  # last, so that the run keeps the world's own features
            made.insert(-1, (f"{name}-{AGAIN[name]}", [*arguments, "--features", AGAIN[name]]))
    return made


def keep(folder: Path, name: str, model: str) -> None:
    """Copy what the documents need of a finished study: ``arms.csv`` of ``self`` as ``self-arms.csv``."""
    # Without --quiet, so that every table is written.
    plot = [sys.executable, "-m", "attnscope", "plot", str(folder)]
    subprocess.run(plot, check=True, stdout=subprocess.DEVNULL)
    to = ROOT / "docs" / "findings" / model
    to.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob("*.csv")):
        if path.stem not in KEPT:
            continue
        shutil.copyfile(path, to / f"{name}-{path.name}")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+", help="shapes, shapes-dit, shapes-lcm, or folders")
    parser.add_argument("--only", nargs="*", help="studies by name; default: all")
    parser.add_argument("--runs", type=Path, default=Path("runs/findings"))
    parser.add_argument(
        "--minutes", type=float, help="stop after this long; give it again to go on"
    )
    given = parser.parse_args()
    end = time.monotonic() + 60 * (given.minutes or 1e9)
    todo = [(model, *study) for model in given.models for study in commands(model, given.runs)]
    for model, name, arguments in todo:
        if given.only and name not in given.only:
            continue
        print(f"attnscope {shlex.join(arguments)}", flush=True)
        begun = time.monotonic()
        try:
            subprocess.run(
                [sys.executable, "-m", "attnscope", *arguments, "--quiet"],
                check=True, timeout=max(1.0, end - begun),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            print("time is up: the same command goes on")
            return
        keep(Path(arguments[arguments.index("--out") + 1]), name, Path(model).name)
        print(f"  {(time.monotonic() - begun) / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    main()
