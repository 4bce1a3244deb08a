"""When does attention matter? Reuse it for as many steps everywhere: ``python benchmarks/reuse_windows.py shapes``.

Table A5 of the paper reuses self-attention early in 5 steps and late in 12, with refreshes between: what it
costs mixes when with how often. Here one kind of attention, at all sites, is reused in one window of the steps
alone, and windows of the same length follow each other through the whole run. Told is how far the final
latents are from those of S, as relative squared error.
Writes ``docs/findings/MODEL/windows.csv`` and draws ``docs/findings/windows.png``.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

import attnscope
from attnscope import plots
from attnscope.metrics.intervals import bootstrap
from attnscope.models.calling import call
from attnscope.models.names import MODELS
from attnscope.plans import Action, Plan
from attnscope.plans.base import AnySite
from attnscope.runs.prompts import image_seed
from attnscope.shapes.scenes import caption, generate

FINDINGS = Path(__file__).parents[1] / "docs" / "findings"


@dataclass(frozen=True)
class Window(Plan):
    """Reuse at ``length`` steps from ``start`` on what the step before them computed; nothing else."""

    kind: str = "self"
    start: int = 1
    length: int = 3

    kinds: ClassVar[tuple[str, ...]] = ("self", "cross")

    def action(self, site: AnySite, step: int) -> Action:
        """Keep before the window, reuse in it."""
        if site.kind != self.kind:
            return Action.COMPUTE
        if step == self.start - 1:
            return Action.STORE
        return Action.REUSE if self.start <= step < self.start + self.length else Action.COMPUTE


def sample(pipe: Any, model: str, captions: list[str], plan: Plan | None) -> np.ndarray[Any, Any]:
    """Final latents of the captions: float32 ``[n, values]``."""
    described = MODELS[model]
    made = []
    for first in range(0, len(captions), 16):
        batch = captions[first : first + 16]
        seeds = [image_seed(0, first + i, 0) for i in range(len(batch))]
        with attnscope.Trace(pipe, plan=plan or attnscope.plans.Baseline()):
            latents = call(pipe, batch, seeds=seeds, steps=described.steps,
                           guidance=described.guidance, output_type="latent", **described.options)  # fmt: skip
        made.append(latents.float().flatten(1).numpy())
    return np.concatenate(made)


def draw(tables: dict[str, pd.DataFrame], path: Path) -> None:
    """Error against the steps of the window, a panel a model."""
    with plots.paper_style():
        figure, axes = plt.subplots(
            1, len(tables), sharey=True, squeeze=False, figsize=(plots.COLUMN_WIDTH, 1.9)
        )
        for ax, (model, table) in zip(axes.flat, tables.items(), strict=True):
            for kind, mark in (("self", "s"), ("cross", "o")):
                of = table[table["kind"] == kind]
                middle = of["start"] + (of["reused"] - 1) / 2
                color = plots.KIND_COLORS[kind]
                ax.fill_between(middle, of["low"], of["high"], color=color, alpha=0.2, lw=0)
                ax.plot(
                    middle, of["error"], color=color, marker=mark, ms=3.5, label=f"{kind}-attention"
                )
            ax.set(yscale="log", title=model, xlabel="Steps of the window", xticks=range(0, 26, 5))
        axes[0, 0].set_ylabel("Error of final latents")
        axes[0, 0].legend()
        figure.savefig(path)


def main() -> None:
    """Measure every window of every model that is asked for, and draw what there is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", help="none: draw what was measured")
    parser.add_argument("--limit", type=int, default=48, help="captions")
    given = parser.parse_args()
    torch.set_num_threads(1)
    captions = [caption(scene) for scene in islice(generate("test"), given.limit)]
    for model in given.models:
        pipe, steps = attnscope.load(model, device="cpu"), MODELS[model].steps
        length = max(1, steps // 8)
        right = sample(pipe, model, captions, None)
        rows = []
        for kind in Window.kinds:
            for start in range(1, steps, length):
                made = sample(pipe, model, captions, Window(kind, start, length))
                error = ((made - right) ** 2).sum(axis=1) / (right**2).sum(axis=1)
                found = bootstrap(error)
                rows.append({"model": model, "kind": kind, "start": start,
                             "reused": min(length, steps - start), "error": found.value,
                             "low": found.low, "high": found.high,
                             "median": float(np.median(error)), "n": found.n})  # fmt: skip
                print(rows[-1], flush=True)
        folder = FINDINGS / model
        folder.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(folder / "windows.csv", index=False)
    there = {path.parent.name: pd.read_csv(path) for path in sorted(FINDINGS.glob("*/windows.csv"))}
    many = {model: table for model, table in there.items() if table["reused"].max() > 1}
    draw(many, FINDINGS / "windows.png")  # four steps make no curve


if __name__ == "__main__":
    main()
