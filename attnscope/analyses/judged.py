"""How good are the images that ``generate`` made? By the plan and, where they were made, without it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from attnscope.metrics import judging, summaries
from attnscope.runs.columns import Comparison
from attnscope.runs.folder import Run
from attnscope.runs.progress import SILENT, Progress

if TYPE_CHECKING:
    from attnscope.metrics.judging import Judges

PLANNED, BASELINE = "plan", "baseline"
"""Names of the arms."""


def compared(arms: Iterable[str]) -> Comparison:
    """The plan with the baseline, if that was made."""
    return Comparison(
        cell=("model",), column="arm", baseline=BASELINE if BASELINE in set(arms) else PLANNED
    )


def write(run: Run, judges: Judges, progress: Progress = SILENT) -> None:
    """Measure the images of a run, and write the tables ``measured`` and ``quality``.

    Args:
        run: with the table ``images``.
        judges: what to measure.
        progress: told how far it is.
    """
    made = run.read_table("images")
    texts = dict(zip(made["prompt_id"], made["text"], strict=True))
    table = made[["arm", "prompt_id", "frame", "path"]].assign(
        model=run.settings["model"], key=made["arm"]
    )
    with progress.stretch("measures: arms", made["arm"].nunique()):
        images, features = judging.judge(
            run, table, texts, judges, compared=compared(made["arm"]), progress=progress
        )
    quality = summaries.summarise(
        images, features, judges.reference, compared=compared(made["arm"])
    )
    run.write_table("measured", images)
    run.write_table("quality", quality)
    run.write_csv("quality", quality)
