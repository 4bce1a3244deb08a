"""What a model's attention costs, as the tables of a run directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from attnscope.cost.plans import attribution
from attnscope.runs.folder import Run

if TYPE_CHECKING:
    from attnscope.cost.plans import Cost
    from attnscope.models.architectures import Architecture

FOR_PEOPLE = ("steps", "attribution", "scaling")
"""Tables that are written as CSV, too."""
_PAPER = "cost paper"


@dataclass(frozen=True, kw_only=True)
class CostSettings:
    """What decides the numbers.

    Args:
        model: what it is called.
        architecture: where its configuration is from.
        parameters: of the denoiser.
        videos: whether it makes videos.
        height: of the images in pixels, like the width.
        width: see above.
        tokens: of the text.
        frames: of the latents of a video.
        plan: in its text form; ``None`` if no plan was asked about.
        steps: denoising steps.
        guided: whether the model runs with guidance.
        batch: images at a time.
    """

    model: str
    architecture: str
    parameters: int
    videos: bool
    height: int
    width: int
    tokens: int
    frames: int
    plan: str | None
    steps: int
    guided: bool
    batch: int


@dataclass(frozen=True)
class PaperSettings:
    """What decides the tables of the paper: which edition they are of.

    Args:
        source: where the published numbers are from.
    """

    source: str


def settings_of(found: Architecture, cost: Cost, *, with_plan: bool) -> CostSettings:
    """The settings of a run.

    Args:
        found: the denoiser, at the size that was counted.
        cost: of the plan on it, or of the baseline.
        with_plan: whether a plan was asked about.
    """
    return CostSettings(
        model=found.name,
        architecture=found.source,
        parameters=cost.counts.parameters,
        videos=found.makes_videos,
        height=found.height,
        width=found.width,
        tokens=found.tokens,
        frames=found.frames,
        plan=str(cost.trajectory.plan) if with_plan else None,
        steps=cost.trajectory.steps,
        guided=cost.guided,
        batch=cost.batch,
    )


def tables_of(
    cost: Cost, grid: pd.DataFrame | None = None, *, with_plan: bool
) -> dict[str, pd.DataFrame]:
    """All that is to be told, as tables; MACs throughout.

    Args:
        cost: of a plan, or of the baseline.
        grid: of :func:`attnscope.cost.resolutions.scaling`, if it was asked for.
        with_plan: whether a plan was asked about.

    Returns:
        By name: ``call`` (``part``, ``macs`` of one call on one row), ``parts`` (``part``,
        ``baseline``, ``plan``, over all steps), ``kept`` (``step``, ``elements`` that are kept for
        reuse when it is over), ``steps`` (of :meth:`attnscope.cost.plans.Cost.table`); with a plan
        ``attribution`` (of :func:`attnscope.cost.plans.attribution`), and with a grid ``scaling``.
    """
    tables = {
        "call": pd.DataFrame(cost.counts.parts.items(), columns=["part", "macs"]),
        "parts": pd.DataFrame(
            [(part, cost.baseline.parts[part], cost.parts[part]) for part in cost.counts.parts],
            columns=["part", "baseline", "plan"],
        ),
        "kept": pd.DataFrame(list(enumerate(cost.kept)), columns=["step", "elements"]),
    }
    if with_plan:
        tables["attribution"] = attribution(cost)
    if grid is not None:
        tables["scaling"] = grid
    return tables | {"steps": cost.table()}


def write(path: Path, settings: CostSettings, tables: Mapping[str, pd.DataFrame]) -> Run:
    """Write a run: its main table last.

    Args:
        path: the run directory.
        settings: of the run.
        tables: of :func:`tables_of`; ``scaling`` is kept from before if it is not among them.

    Raises:
        InputError: the directory holds another run, or is not empty and no run directory.
    """
    run = Run.open(path, "cost", settings)
    for name, table in tables.items():
        if name in FOR_PEOPLE:
            run.write_csv(name, table)
        told = table.assign(model=settings.model) if name == "scaling" else table
        run.write_table(name, told)
    return run


def write_paper(path: Path, source: str, table: pd.DataFrame) -> Run:
    """Write the tables of the paper beside ours.

    Args:
        path: the run directory.
        source: where the published numbers are from.
        table: of :func:`attnscope.cost.published.compare`.

    Raises:
        InputError: as of :func:`write`.
    """
    run = Run.open(path, _PAPER, PaperSettings(source))
    run.write_csv("paper", table)
    run.write_table("paper", table)
    return run
