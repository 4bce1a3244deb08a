"""What workers cost: two against one on this machine, and the driver's own part of every batch.

Two workers and one, each with one thread, make the same images in turns; efficiency is the time of one over
twice the time of two, round by round, without what it takes to start. The driver's part is measured with
files as large as those of SDXL: images of 1024 x 1024 pixels, drawn by the workers and not by a model.

    OMP_NUM_THREADS=1 python benchmarks/scaling.py --rounds 5 --out docs/findings/scaling.csv
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import ray
from PIL import Image

from attnscope.analyses.generation import GenerationSettings, carry_out
from attnscope.images import as_png
from attnscope.models.chosen import ChosenModel
from attnscope.runs.crew import Made, Task
from attnscope.runs.folder import Run
from attnscope.runs.on_ray import RayCrew
from attnscope.runs.progress import Kept, Progress
from attnscope.runs.prompts import Prompt, digest_of
from attnscope.runs.sampling import settled


class Costs(Progress):
    """Remembers what every batch cost the driver."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.bytes: list[int] = []
        self.workers: set[int] = set()

    def happened(self, what: str, **about: Any) -> None:
        """Take it down."""
        if what == "batch":
            self.seconds.append(about["driver_seconds"])
            self.bytes.append(about["bytes"])
            self.workers.add(about["worker"])


@dataclasses.dataclass(frozen=True)
class Nothing:
    """Settings of a run that has none."""


@dataclasses.dataclass(frozen=True)
class Drawing:
    """Draws images whose PNG are about as large as those of photographs.

    Args:
        model: is loaded and not used.
        side: in pixels.
    """

    model: ChosenModel
    side: int

    def __call__(self, pipe: Any, items: Sequence[Any], number: int) -> Made:
        """Draw them."""
        rng = np.random.default_rng(number)
        files = {}
        for prompt, _ in items:
            coarse = Image.fromarray(rng.integers(0, 255, (self.side // 8,) * 2 + (3,), np.uint8))
            smooth = np.asarray(coarse.resize((self.side, self.side), Image.Resampling.BICUBIC))
            grain = rng.normal(0, 2, smooth.shape)
            image = Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))
            files[f"images/{prompt.prompt_id:05d}.png"] = as_png(image)
        rows = pd.DataFrame({"prompt_id": [prompt.prompt_id for prompt, _ in items]})
        return Made(files, {"images": rows})


def pairs(count: int) -> list[tuple[Prompt, str]]:
    """So many prompts, and what the pipeline is given for each."""
    return [(Prompt(n, f"a large red circle {n}"), f"a large red circle {n}") for n in range(count)]


def timed(chosen: ChosenModel, crew: RayCrew, images: int, batch: int, steps: int) -> float:
    """Seconds that a crew which is there takes for a run."""
    items = pairs(images)
    prompts, given = [one for one, _ in items], [text for _, text in items]
    asked = {"steps": steps, "guidance": None, "seed": 0, "height": None, "width": None}
    settings = GenerationSettings(
        **settled(chosen, asked), captions="scaling", prompts_digest=digest_of(prompts, given),
        plan="baseline", compare=False,
    )  # fmt: skip
    costs = Costs()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        carry_out(
            Path(folder) / "run", chosen, settings, prompts, given, batch_size=batch,
            progress=costs, crew=crew,
        )  # fmt: skip
        seconds = time.perf_counter() - start
    if len(costs.workers) != crew.count:
        raise RuntimeError(
            f"{crew.count} workers were asked for, {len(costs.workers)} made batches"
        )
    return seconds


def driver_costs(chosen: ChosenModel, crew: RayCrew, batches: int, batch: int) -> Costs:
    """What batches of SDXL's size cost the driver."""
    costs, items = Costs(), pairs(batches * batch)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"

        def opening(size: int) -> Run:
            return Run.open(path, "scaling", Nothing())

        kept = Kept(costs, path, opening, batch, "images")
        work = Drawing(chosen, 1024)
        cut = [items[start : start + batch] for start in range(0, len(items), batch)]
        tasks = [Task(number, one, work) for number, one in enumerate(cut)]
        for done in crew.each(tasks, progress=costs):
            kept.keep(done.made, done.items[0][0].prompt_id)
    return costs


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--driver-batches", type=int, default=12)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    chosen = ChosenModel(
        "shapes", scheduler=None, device="cpu", dtype="auto", offline=True, allow_pickle=False
    )
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)  # with room for all of them
    one, two = RayCrew(1), RayCrew(2)
    rows: list[dict[str, Any]] = []
    for crew in (one, two):  # loads the model, and one worker may be there before the other
        with contextlib.suppress(RuntimeError):
            timed(chosen, crew, 16 * asked.batch, asked.batch, 2)
    for number in range(asked.rounds):
        order = [(1, one), (2, two)] if number % 2 == 0 else [(2, two), (1, one)]
        seconds = {
            count: timed(chosen, crew, asked.images, asked.batch, asked.steps)
            for count, crew in order
        }
        efficiency = seconds[1] / (2 * seconds[2])
        rows.append({"measure": "efficiency of two workers", "round": number, "value": efficiency})
        print(
            f"round {number}: {seconds[1]:.2f} s, {seconds[2]:.2f} s, {efficiency:.2f}", flush=True
        )
    costs = driver_costs(chosen, two, asked.driver_batches, 8)
    for number, (seconds_of, size) in enumerate(zip(costs.seconds, costs.bytes, strict=True)):
        rows.append(
            {"measure": "driver, ms a batch of 8", "round": number, "value": seconds_of * 1e3}
        )
        rows.append({"measure": "MB a batch of 8", "round": number, "value": size / 1e6})
    for crew in (one, two):
        crew.close()
    ray.shutdown()
    table = pd.DataFrame(rows)
    for name, group in table.groupby("measure", sort=False):
        low, high = group["value"].min(), group["value"].max()
        print(f"{name}: {statistics.median(group['value']):.3g} ({low:.3g} to {high:.3g})")
    if asked.out is not None:
        table.to_csv(asked.out, index=False)


if __name__ == "__main__":
    main()
