"""What ``attnscope cost`` writes, and what it prints for machines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from attnscope.cost.plans import Cost
    from attnscope.models.architectures import Architecture


def written(
    found: Architecture, run: Cost, grid: pd.DataFrame | None, out: Path | None, *, with_plan: bool
) -> list[Path]:
    """Write tables and figures, if a folder was given."""
    if out is None:
        return []
    from attnscope.cost.plans import attribution
    from attnscope.figures import cost as figures
    from attnscope.figures.saving import save

    files = [write_csv(out, "steps", run.table())]
    if with_plan:
        table = attribution(run)
        png = out / "attribution.png"
        files += [write_csv(out, "attribution", table), png]
        save(lambda: figures.attribution(table), png, png.with_suffix(".pdf"))
    if grid is not None:
        png = out / "scaling.png"
        files += [write_csv(out, "scaling", grid), png]
        save(lambda: figures.scaling(grid, title=found.name), png, png.with_suffix(".pdf"))
    return files


def write_csv(folder: Path, name: str, table: pd.DataFrame) -> Path:
    """Write a table into a folder, which is made if it is not there."""
    from attnscope.files import write_whole

    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.csv"
    write_whole(path, lambda partial: table.to_csv(partial, index=False))
    return path


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
