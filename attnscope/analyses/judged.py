"""How good are the images that ``generate`` made? By the plan and, where they were made, without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnscope.metrics import judging, summaries
from attnscope.runs.columns import Comparison
from attnscope.runs.folder import Run
from attnscope.runs.progress import SILENT, Progress

if TYPE_CHECKING:
    from attnscope.metrics.judging import Judges

PLANNED, BASELINE = "plan", "baseline"
"""Names of the arms."""


def write(run: Run, judges: Judges, progress: Progress = SILENT) -> None:
    """Measure the images of a run, and write the tables ``measured`` and ``quality``.

    Args:
        run: with the table ``images``.
        judges: what to measure.
        progress: told how far it is.
    """
    made = run.read_table("images")
    texts = dict(zip(made["prompt_id"], made["text"], strict=True))
    arms = set(made["arm"])
    compared = Comparison(
        cell=("model",), column="arm", baseline=BASELINE if BASELINE in arms else PLANNED
    )
    table = made[["arm", "prompt_id", "frame", "path"]].assign(
        model=run.settings["model"], key=made["arm"]
    )
    with progress.stretch("measures: arms", len(arms)):
        images, features = judging.judge(
            run, table, texts, judges, compared=compared, progress=progress
        )
    quality = summaries.summarise(images, features, judges.reference, compared=compared)
    run.write_table("measured", images)
    run.write_table("quality", quality)
    run.write_csv("quality", quality)
