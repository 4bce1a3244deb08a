"""What ``attnscope cost`` prints for machines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from attnscope.cost.plans import Cost
    from attnscope.models.architectures import Architecture


def document(
    found: Architecture, run: Cost, grid: pd.DataFrame | None, files: list[Path]
) -> dict[str, Any]:
    """What ``--json`` prints."""
    from dataclasses import asdict

    from attnscope.cost.counts import CONVENTIONS
    from attnscope.cost.plans import attribution
    from attnscope.cost.resolutions import crossover

    document: dict[str, Any] = {
        "model": found.name,
        "architecture": found.source,
        "height": found.height,
        "width": found.width,
        "tokens": found.tokens,
        "frames": found.frames,
        "parameters": run.counts.parameters,
        "call": {
            "parts": run.counts.parts,
            **{convention: run.counts.macs(convention) for convention in CONVENTIONS},
            "sites": [asdict(site) for site in run.counts.sites],
        },
        "run": {
            "plan": str(run.trajectory.plan),
            "steps": run.trajectory.steps,
            "guided": run.guided,
            "batch": run.batch,
            "rows": [run.rows(step) for step in range(run.trajectory.steps)],
            "by_step": run.steps,
            "kept": run.kept,
            "parts": run.parts,
            "macs": {convention: run.macs(convention) for convention in CONVENTIONS},
            "baseline": {convention: run.baseline.macs(convention) for convention in CONVENTIONS},
            "speedup": {convention: run.speedup(convention) for convention in CONVENTIONS},
            "attribution": attribution(run),
        },
        "files": files,
    }
    if grid is not None:
        document["scaling"] = grid
        document["crossover"] = {name: crossover(grid, name) for name in CONVENTIONS}
    return document
