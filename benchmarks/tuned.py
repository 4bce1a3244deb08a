"""Measure anew what the documents say of plans that were found: ``python benchmarks/tuned.py shapes``.

Every study is a command of attnscope; one that was stopped goes on where it was. What the documents need
goes to ``docs/findings/MODEL`` as CSV, and the plans with it.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from attnscope import plots
from attnscope.analyses.tuning.calibration import Calibration
from attnscope.analyses.tuning.modules import carried, fine_groups, outermost
from attnscope.figures.tuning import stale_modules
from attnscope.hooks.trace import Trace
from attnscope.metrics import ssim
from attnscope.metrics.intervals import bootstrap, paired
from attnscope.models.architectures import find
from attnscope.models.building import build
from attnscope.models.chosen import ChosenModel
from attnscope.models.loading import load
from attnscope.models.names import describe
from attnscope.plans.timetable import Timetable, read
from attnscope.runs.prompts import Prompt
from attnscope.runs.sampling import Sampling
from attnscope.shapes.scenes import caption, generate
from attnscope.sites.denoiser import Denoiser

ROOT = Path(__file__).parents[1]
FIRST = "ssim>=0.99"
"""The budget of the plan that everything but the proof is about."""
FOUND = "tune --frontier --features reader"
PROVEN = f"{FOUND} --prove 300 --repeats 7 --rivals deepcache,cache-dit,tgate+deepcache"
CARRIED = "generate --compare --seed 1000 --limit 24 --steps 15,25,50 --schedulers dpm,euler,ddim"
RESIZED = "generate --compare --seed 1000 --limit 24"
SIDES = {"shapes": (48, 64, 96, 128), "shapes-dit": (48, 64, 96, 128)}
"""Sides of images in px that the plan is carried to; models were trained on 64."""
STABLE = f"tune --budget {FIRST} --features none --prove 100 --repeats 3 --rivals none"
SEARCHED = f"--budget {FIRST} --most 24"
AS_SLOW = {"shapes-dit": (1.65, "cache-dit")}
"""Packages that keep nearer to S than the plans, being slower, and the ideal speed-up of a plan that is as slow."""
SEEDS = (0, 1, 2)
FEW, FEW_SEED = 12, 5000
"""Captions that first and second differences are compared on, of a seed that no search had."""
TRUE_SIZES = {
    "shapes": [("sd15", 256, 25, 3, "m=10,k=5"), ("sd15", 512, 25, 2, None)],
    "shapes-dit": [("pixart", 256, 25, 3, None)],
}
"""True architectures that a plan is carried onto: pixels, steps and rounds that a CPU has time for, and a rival."""


def run(arguments: list[str]) -> None:
    """A command of attnscope, told and carried out."""
    print(f"attnscope {shlex.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", "attnscope", *arguments, "--quiet"], check=True)


def prove(model: str, runs: Path, to: Path) -> None:
    """Search plans, and prove them on captions that they were not searched on."""
    out = runs / model / "tune"
    run([*shlex.split(PROVEN), "--model", model, "--out", str(out)])
    for name in ("plans.csv", "candidates.csv", "proof.csv"):
        shutil.copyfile(out / name, to / f"tune-{name}")
    for file in pd.read_csv(out / "plans.csv")["file"]:
        shutil.copyfile(out / file, to / file)
    told(out).to_csv(to / "tune-told.csv", index=False, float_format="%.6g")
    _with_intervals(pd.read_parquet(out / "calibration.parquet")).to_csv(
        to / "tune-calibration.csv", index=False, float_format="%.4g"
    )
    shutil.copyfile(out / "proof" / "figures" / "fronts.png", to.parent / f"fronts-{model}.png")


def timed(model: str, runs: Path, to: Path) -> None:
    """The times of the proof once more, for when nothing else runs; images are not made again."""
    out = runs / model / "tune"
    settings = json.loads((out / "proof" / "run.json").read_text("utf-8"))["settings"]
    rivals = ",".join(name for name, _ in settings["rivals"])
    run(
        ["bench", "--model", model, "--plan", settings["plan"], "--rivals", rivals, "--repeats", "9",
         "--against", " ".join(settings["against"]), "--out", str(out / "timed")]
    )  # fmt: skip
    told(out).to_csv(to / "tune-told.csv", index=False, float_format="%.6g")


def told(out: Path) -> pd.DataFrame:
    """What the documents tell of every way: speed, quality, and how the first plan differs from it.

    Returns:
        A row a way by a name for people: ``ideal``, ``speedup`` and its range, the measures with their
        intervals, and with ``_by`` those of the plan for :data:`FIRST` less its own, in pairs.
    """
    plans = pd.read_csv(out / "plans.csv")
    again = out / "timed" / "arms.csv"
    arms = pd.read_csv(again if again.exists() else out / "proof" / "arms.csv")
    frontier, proof = pd.read_csv(out / "proof" / "frontier.csv"), pd.read_csv(out / "proof.csv")
    names = {
        file: f"plan, {budget}" for file, budget in zip(plans["file"], plans["budget"], strict=True)
    }
    names["uniform.json"] = "by hand"
    first = proof[[_file(plan) == _first(out) for plan in proof["plan"]]]
    rows = []
    for row in arms.dropna(subset=["seconds"]).to_dict("records"):
        file = _file(str(row["arm"]))
        found = {"arm": names.get(file, row["arm"]), "ideal": row["ideal"]}
        found |= {name: row[name] for name in ("speedup", "speedup_low", "speedup_high")}
        for measure in ("ssim", "all", "kid"):
            own = frontier[(frontier["arm"] == row["arm"]) & (frontier["measure"] == measure)]
            by = first[(first["against"] == row["arm"]) & (first["measure"] == measure)]
            for end in ("", "_low", "_high"):
                value = own[end[1:] or "value"]
                found[measure + end] = value.iloc[0] if len(own) else float("nan")
                less = by[end[1:] or "difference"]
                found[f"{measure}_by{end}"] = less.iloc[0] if len(by) else float("nan")
        rows.append(found)
    return pd.DataFrame(rows)


def _file(arm: str) -> str:
    """The name of a plan's file."""
    return Path(arm.partition("@")[0]).name


def _first(out: Path) -> str:
    """The file of the plan that everything else is about, in a run of a search or in what is kept of it."""
    kept = out / "plans.csv"
    plans = pd.read_csv(kept if kept.exists() else out / "tune-plans.csv")
    wanted = plans[plans["budget"] == FIRST]["file"]
    return str(wanted.iloc[0] if len(wanted) else plans["file"].iloc[0])


def _with_intervals(damages: pd.DataFrame) -> pd.DataFrame:
    """Geometric means over prompts with 95 % bootstrap intervals."""
    rows = []
    keys = ["what", "group", "letter", "step", "log_snr", "length"]
    for key, group in damages[damages["damage"] > 0].groupby(keys, sort=False):
        found = bootstrap(np.log10(group["damage"]))
        rows.append((*key, 10**found.value, 10**found.low, 10**found.high, found.n))
    return pd.DataFrame(rows, columns=[*keys, "damage", "low", "high", "n"])


def modules(model: str, runs: Path, to: Path) -> None:
    """Which modules matter when: attention, feed-forwards, residual blocks, samplers, stage by stage."""
    settings = json.loads((runs / model / "tune" / "run.json").read_text("utf-8"))["settings"]
    known = {field.name for field in fields(Sampling)}
    sampling = Sampling(**{name: settings[name] for name in known})
    prompts = pd.read_parquet(runs / model / "tune" / "prompts.parquet").head(
        settings["calibrated"]
    )
    asked = [Prompt(int(row["prompt_id"]), row["text"]) for row in prompts.to_dict("records")]
    chosen = ChosenModel(
        model, scheduler=settings["scheduler"], device="cpu", dtype=settings["dtype"], offline=True,
        allow_pickle=False,
    )  # fmt: skip
    chosen.pipe.set_progress_bar_config(disable=True)
    calibration = Calibration(chosen, sampling, asked, [prompt.text for prompt in asked])
    groups = fine_groups(Denoiser.of(chosen.pipe))
    parts = [part for part in calibration.look().parts(groups) if part.what == "module"]
    table = calibration.measured(parts)
    table.to_parquet(runs / model / "modules.parquet")
    found = _with_intervals(table)
    found.to_csv(to / "tune-modules.csv", index=False, float_format="%.4g")
    with plots.paper_style():
        figure = stale_modules(table)
        assert figure is not None, "there are modules in it"
        figure.savefig(to.parent / f"modules-{model}.png", dpi=200, bbox_inches="tight")


def carry(model: str, runs: Path, to: Path) -> None:
    """The first plan, and T-GATE, at other numbers of steps and with other schedulers."""
    tuned = runs / model / "tune"
    plan = tuned / _first(tuned)
    rows = []
    for name, given in (("plan", str(plan)), ("T-GATE", "tgate:m=-1nat,k=5")):
        out = runs / model / f"carry-{name}"
        run([*shlex.split(CARRIED), "--model", model, "--plan", given, "--out", str(out)])
        for folder in sorted(out.iterdir()):
            rows.append({"plan": name, **_compared(folder)})
    pd.DataFrame(rows).to_csv(to / "tune-carried.csv", index=False)


def resize(model: str, runs: Path, to: Path) -> None:
    """The first plan at other sizes of images; :data:`SIDES` of which the models draw two well."""
    tuned, rows = runs / model / "tune", []
    for side in SIDES[model]:
        out = runs / model / f"side-{side}"
        run([*shlex.split(RESIZED), "--height", str(side), "--model", model, "--plan", str(tuned / _first(tuned)), "--out", str(out)])  # fmt: skip
        rows.append({"side": side, **_compared(out)})
    pd.DataFrame(rows).to_csv(to / "tune-resized.csv", index=False)


def _compared(folder: Path) -> dict[str, object]:
    """How a run's images compare with the baseline's, and how much faster it was."""
    settings = json.loads((folder / "run.json").read_text("utf-8"))["settings"]
    images = pd.read_parquet(folder / "images.parquet")
    own = images[images["arm"] == "plan"]
    calls = pd.read_parquet(folder / "calls.parquet")
    times = pd.read_parquet(folder / "times.parquet")
    seconds = times.pivot(index="batch", columns="arm", values="seconds")
    return {
        "steps": settings["steps"],
        "scheduler": settings["scheduler"] or "dpm",
        "images": len(own),
        "ssim": own["ssim"].mean(),
        "ssim_error": own["ssim"].sem(),
        "computed": int(calls["computed"].sum()),
        "reused": int(calls["reused"].sum()),
        "speedup": (seconds["baseline"] / seconds["plan"]).median(),
    }


def repeat(model: str, runs: Path, to: Path) -> None:
    """Three searches, each with captions and seeds of its own, each proven on its own others."""
    rows = []
    for seed in SEEDS:
        out = runs / model / f"stable-{seed}"
        run([*shlex.split(STABLE), "--model", model, "--seed", str(seed), "--out", str(out)])
        plans, arms = pd.read_csv(out / "plans.csv"), pd.read_csv(out / "proof" / "arms.csv")
        frontier = pd.read_csv(out / "proof" / "frontier.csv")
        own = frontier[frontier["arm"].str.contains("plan.json")].set_index("measure")
        row = arms[arms["arm"].str.contains("plan.json")].iloc[0]
        rows.append(
            {
                "seed": seed, "letters": plans["letters"].iloc[0], "guidance": plans["guidance"].iloc[0],
                "fresh": plans["fresh"].iloc[0], "ideal": plans["ideal"].iloc[0],
                "speedup": row["speedup"], "speedup_low": row["speedup_low"],
                "speedup_high": row["speedup_high"], "ssim": own.loc["ssim", "value"],
                "ssim_low": own.loc["ssim", "low"], "ssim_high": own.loc["ssim", "high"],
            }
        )  # fmt: skip
    pd.DataFrame(rows).to_csv(to / "tune-stable.csv", index=False)


def as_slow(model: str, runs: Path, to: Path) -> None:
    """A plan no faster than a package that keeps nearer to S, against that package."""
    if model not in AS_SLOW:
        return
    speedup, rival = AS_SLOW[model]
    out = runs / model / "as-slow"
    run(
        ["tune", "--speedup", str(speedup), "--most", "16", "--prove", "300", "--repeats", "9",
         "--rivals", rival, "--features", "reader", "--model", model, "--out", str(out)]
    )  # fmt: skip
    told(out).to_csv(to / "tune-as-slow.csv", index=False, float_format="%.6g")


def true_size(model: str, runs: Path, to: Path) -> None:
    """What the first plan saves of the time of a true architecture with random weights."""
    plan = read(to / _first(to))
    rows = []
    for name, size, steps, rounds, rival in TRUE_SIZES[model]:
        file = runs / model / f"plan-{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        carried(plan, outermost(Denoiser(build(find(name))))).write(file)
        out = runs / model / f"true-{name}-{size}"
        run(
            ["bench", "--model", name, "--random-weights", "--height", str(size), "--steps", str(steps),
             "--plan", str(file), "--rivals", "none", "--repeats", str(rounds), "--dtype", "float32",
             *(["--against", rival] if rival else []), "--out", str(out)]
        )  # fmt: skip
        arms = pd.read_csv(out / "arms.csv")
        rows.append(arms.assign(model=name, size=size, steps=steps, rounds=rounds))
        pd.concat(rows).to_csv(to / "tune-true-size.csv", index=False)


def by_time(model: str, runs: Path, to: Path) -> None:
    """Whether a search by the time of modules finds a faster plan than one by multiply-accumulates."""
    plans = {}
    for by in ("macs", "time"):
        out = runs / f"by{by}" / model
        way = ["--by", "time"] if by == "time" else []
        run(["tune", *shlex.split(SEARCHED), *way, "--model", model, "--out", str(out)])
        plans[by] = out / "plan.json"
    out = runs / "compare" / model
    run(
        ["bench", "--model", model, "--plan", str(plans["macs"]), "--against", str(plans["time"]), "--rivals", "none",
         "--repeats", "9", "--frontier", "--limit", "100", "--seed", "777", "--features", "none", "--out", str(out)]
    )  # fmt: skip
    arms, images = pd.read_csv(out / "arms.csv"), pd.read_parquet(out / "images.parquet")
    rounds = pd.read_parquet(out / "repetitions.parquet").pivot(
        index="repetition", columns="arm", values="seconds"
    )
    name = {by: next(arm for arm in arms["arm"] if arm.startswith(str(plans[by]))) for by in plans}
    alike = {
        by: images[images["arm"] == arm].set_index("prompt_id")["ssim"] for by, arm in name.items()
    }
    less, faster = paired(alike["time"], alike["macs"]), rounds[name["macs"]] / rounds[name["time"]]
    rows = []
    for by, arm in name.items():
        found, ssims = arms[arms["arm"] == arm].iloc[0], bootstrap(alike[by])
        row = {"by": by, "images": ssims.n, "ideal": found["ideal"], "ssim": ssims.value, "ssim_low": ssims.low, "ssim_high": ssims.high}  # fmt: skip
        row |= {key: found[key] for key in ("speedup", "speedup_low", "speedup_high")}
        if by == "time":
            row |= {"ssim_by": less.value, "ssim_by_low": less.low, "ssim_by_high": less.high}
            row |= {
                "faster": faster.median(),
                "faster_low": faster.min(),
                "faster_high": faster.max(),
            }
        rows.append(row)
    pd.DataFrame(rows).to_csv(to / "tune-by-time.csv", index=False, float_format="%.6g")


def second(model: str, runs: Path, to: Path) -> None:
    """Whether second differences forecast better than first ones, in plans that were found.

    Each as it was found, and with every stale step forecast; compared with what the pipeline makes as it is.
    """
    described = describe(model)
    pipe = load(model, dtype="float32", device="cpu")
    pipe.set_progress_bar_config(disable=True)
    sampling = Sampling(
        model=model, weights=None, dtype="float32", guidance=described.guidance, height=None,
        width=None, steps=described.steps, scheduler=None, seed=FEW_SEED,
    )  # fmt: skip
    texts = [caption(scene) for scene in islice(generate("test", FEW_SEED), FEW)]
    rows = []

    def made(plan: Timetable | None) -> list[Any]:
        with Trace(pipe, plan=plan):
            return list(sampling.call(pipe, texts, range(FEW), **described.options))

    with torch.inference_mode():
        whole = made(None)
        for name, way, plan in _forecasting(to):
            by_order = [ssim(made(replace(plan, differences=order)), whole) for order in (1, 2)]
            less = bootstrap(by_order[1] - by_order[0])
            rows.append(
                {
                    "plan": name, "forecasts": way, "images": FEW, "first": by_order[0].mean(),
                    "second": by_order[1].mean(), "difference": less.value, "low": less.low,
                    "high": less.high,
                }
            )  # fmt: skip
            print(model, rows[-1], flush=True)
    pd.DataFrame(rows).to_csv(to / "tune-second.csv", index=False, float_format="%.5g")


def _forecasting(to: Path) -> Iterator[tuple[str, str, Timetable]]:
    """Plans that were found, and the same with every stale step forecast."""
    for name in ("plan-ssim-0.99.json", "plan-ssim-0.95.json"):
        plan = replace(read(to / name), source="")
        rows = tuple((kind, module, row.replace(".", "~")) for kind, module, row in plan.rows)
        if any("~" in row for *_, row in plan.rows):
            yield name, "as found", plan
        yield name, "all", replace(plan, rows=rows)


STUDIES = {
    "prove": prove,
    "timed": timed,
    "modules": modules,
    "carry": carry,
    "resize": resize,
    "as-slow": as_slow,
    "repeat": repeat,
    "true-size": true_size,
    "second": second,
    "by-time": by_time,
}


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+", help="shapes, shapes-dit")
    parser.add_argument("--only", nargs="*", choices=list(STUDIES), help="studies; default: all")
    parser.add_argument("--runs", type=Path, default=Path("runs/tuned"))
    given = parser.parse_args()
    for model in given.models:
        if model not in TRUE_SIZES:
            parser.error(f"{model}: choose from {', '.join(TRUE_SIZES)}")
        to = ROOT / "docs" / "findings" / model
        to.mkdir(parents=True, exist_ok=True)
        for name, study in STUDIES.items():
            if not given.only or name in given.only:
                study(model, given.runs, to)


if __name__ == "__main__":
    main()
