"""A convergence run, from its settings to the tables of its run directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnscope.analyses.convergence.measure import ConvergenceSettings, measure
from attnscope.analyses.opening import open_for, scheduler_of
from attnscope.runs.folder import Run
from attnscope.runs.progress import SILENT, Kept, Progress
from attnscope.runs.prompts import Prompt, table_of

if TYPE_CHECKING:
    from attnscope.models.chosen import ChosenModel


def carry_out(
    path: Path,
    chosen: ChosenModel,
    settings: ConvergenceSettings,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    *,
    batch_size: int | None = None,
    controls: bool = False,
    progress: Progress = SILENT,
) -> Run:
    """Measure what of a convergence run is not there yet.

    Args:
        path: the run directory; it is made with the first batch.
        chosen: the model, which is loaded if something is to be measured.
        settings: of the run.
        prompts: what stands for each input in the tables.
        given: what the pipeline is given for each: a caption, or an image for a video.
        batch_size: images made at once; ``None`` fits it to the model and the device.
        controls: whether the table ``controls`` is wanted, too.
        progress: told how far it is.

    Returns:
        The run, with the tables ``prompts`` and ``records``.

    Raises:
        InputError: the directory holds another run, or the model does not fit the settings.
    """
    if not Run.check(path, "convergence", settings) or not Run(path).has_table("records"):
        batch_size = _measure(path, chosen, settings, prompts, given, batch_size, progress)
    run = Run(path)
    if controls and not run.has_table("controls"):
        _measure_controls(run, chosen, settings, prompts, given, batch_size, progress)
    return run


def _measure(
    path: Path,
    chosen: ChosenModel,
    settings: ConvergenceSettings,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    batch_size: int | None,
    progress: Progress,
) -> int:
    """Write the tables ``prompts`` and ``records``; returns the batch size that memory left."""
    from attnscope.analyses.checks import check_sites, check_steps

    pipe = chosen.pipe
    check_sites(pipe, settings.kinds, settings.sites)
    check_steps(pipe, settings.steps)
    kept = open_for(
        "convergence", path, settings, chosen, prompts, batch_size, progress, table="records",
        about=scheduler_of(chosen),
    )  # fmt: skip
    done = Run(path).read_parts("records") if (path / "run.json").exists() else []
    with kept.stretch(f"{chosen.name}: prompts", len(prompts)):
        records = measure(
            pipe, settings, prompts, given, batch_size=kept.batch_size, done=done, progress=kept,
            **chosen.described.options,
        )  # fmt: skip
    kept.run.write_table("prompts", table_of(prompts))
    kept.run.finish_table("records", records)
    return kept.batch_size


def _measure_controls(
    run: Run,
    chosen: ChosenModel,
    settings: ConvergenceSettings,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    batch_size: int | None,
    progress: Progress,
) -> None:
    """Write the table ``controls``."""
    from attnscope.analyses.convergence.controls import measure as measure_controls
    from attnscope.models.calling import default_batch_size

    pipe = chosen.pipe
    batch_size = batch_size or default_batch_size(pipe, chosen.device)
    kept = Kept(progress, run.path, lambda size: run, batch_size, "controls")
    with kept.stretch(f"{chosen.name}: controls", len(prompts)):
        table = measure_controls(
            pipe, settings, prompts, given, batch_size=batch_size, done=run.read_parts("controls"),
            progress=kept, **chosen.described.options,
        )  # fmt: skip
    run.finish_table("controls", table)
