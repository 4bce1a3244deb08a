"""A convergence run, from its settings to the tables of its run directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnscope.analyses.convergence.measure import ConvergenceSettings, Watching
from attnscope.analyses.opening import make_left, open_for, scheduler_of
from attnscope.runs.crew import ALONE, Crew
from attnscope.runs.folder import Run
from attnscope.runs.holding import hold, one_at_a_time
from attnscope.runs.progress import SILENT, Kept, Progress
from attnscope.runs.prompts import Prompt, table_of
from attnscope.tables import concatenate

if TYPE_CHECKING:
    from attnscope.models.chosen import ChosenModel


@one_at_a_time
def carry_out(
    path: Path,
    chosen: ChosenModel,
    settings: ConvergenceSettings,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    *,
    batch_size: int | None = None,
    controls: bool = False,
    crew: Crew = ALONE,
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
        crew: who makes the batches, and which of them.
        progress: told how far it is.

    Returns:
        The run, with the tables ``prompts`` and ``records``; of a share of the batches, with their parts.

    Raises:
        InputError: the directory holds another run, or the model does not fit the settings.
    """
    known = Run.check(path, "convergence", settings, crew.share)
    if not known or not Run(path).has_table("records"):
        batch_size = _measure(path, chosen, settings, prompts, given, batch_size, crew, progress)
        if crew.share.is_whole:
            finish(Run(path))
    run = Run(path)
    if controls and not run.has_table("controls"):
        _measure_controls(run, chosen, settings, prompts, given, batch_size, crew, progress)
    if crew.share.is_whole:
        finish(run)
    return run


def finish(run: Run) -> None:
    """Write the tables of a run whose batches are all there.

    Args:
        run: with the table ``prompts``, and parts of ``records`` and, where they were measured, ``controls``.

    Raises:
        InputError: something is missing of a batch.
    """
    run.check_complete("records")
    run.finish_table("records", concatenate)
    if run.has_parts("controls"):
        run.check_complete("controls")
        run.finish_table("controls", concatenate)


def _measure(
    path: Path,
    chosen: ChosenModel,
    settings: ConvergenceSettings,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    batch_size: int | None,
    crew: Crew,
    progress: Progress,
) -> int:
    """Write the table ``prompts`` and parts of ``records``; returns the batch size that memory left."""
    from attnscope.analyses.checks import check_sites, check_steps

    pipe = chosen.pipe
    check_sites(pipe, settings.kinds, settings.sites)
    check_steps(pipe, settings.steps)
    kept = open_for(
        "convergence", path, settings, chosen, prompts, batch_size, progress, table="records",
        about=scheduler_of(chosen), crew=crew,
    )  # fmt: skip
    pairs = list(zip(prompts, given, strict=True))
    make_left(kept, crew, pairs, Watching(chosen, settings), f"{chosen.name}: prompts")
    kept.run.write_table("prompts", table_of(prompts))
    return kept.batch_size


def _measure_controls(
    run: Run,
    chosen: ChosenModel,
    settings: ConvergenceSettings,
    prompts: Sequence[Prompt],
    given: Sequence[Any],
    batch_size: int | None,
    crew: Crew,
    progress: Progress,
) -> None:
    """Write parts of ``controls``."""
    from attnscope.analyses.convergence.controls import Controlling, checked_items
    from attnscope.models.calling import default_batch_size

    items = checked_items(chosen.pipe, prompts, given)
    size = batch_size or default_batch_size(chosen.pipe, chosen.device)
    hold(run.path)
    cut = run.note_cut(size)

    def opening(now: int) -> Run:
        run.note_machine({"batch_size": now})
        return run

    kept = Kept(progress, run.path, opening, min(size, cut), "controls", cut=cut)
    make_left(kept, crew, items, Controlling(chosen, settings), f"{chosen.name}: controls")
