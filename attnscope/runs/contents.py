"""What the run directory of a command holds: its tables, which is its main one, where figures stand.

Said here once, asked by whoever lists runs, compares them or draws them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attnscope.runs.folder import Run


@dataclass(frozen=True)
class Contents:
    """The tables of a run.

    Args:
        main: the one that is written last, so that a run which has it is finished.
        others: those that every finished run has, too.
        on_request: those that it may lack.
        figures: the folder in it where figures are written.
        batches: tables that grow batch by batch: behind the one whose part is a batch's last, those whose parts
            are written before it. Of an ablation, every arm has a folder of them.
        partly: those of them that some runs do not have; a run that has them has them of all batches.
    """

    main: str
    others: tuple[str, ...] = ()
    on_request: tuple[str, ...] = ()
    figures: str = "figures"
    batches: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    partly: tuple[str, ...] = ()

    @property
    def tables(self) -> tuple[str, ...]:
        """All that there may be."""
        return (*self.others, self.main, *self.on_request)


CONTENTS: dict[str, Contents] = {
    "ablate": Contents(
        "arms",
        ("prompts", "noise", "pictures", "images"),
        on_request=("answers", "categories"),
        batches={"images": ("noise",)},
        partly=("noise",),
    ),
    "bench": Contents(
        "arms",
        ("repetitions", "parts", "attribution"),
        on_request=("images", "frontier", "answers", "categories"),
    ),
    "convergence": Contents(
        "records", ("prompts",), on_request=("controls",), batches={"records": (), "controls": ()}
    ),
    "cost": Contents(
        "steps", ("call", "parts", "kept"), on_request=("attribution", "scaling"), figures="."
    ),
    "cost paper": Contents("paper", figures="."),
    "generate": Contents(
        "images",
        ("prompts", "calls", "times"),
        on_request=("measured", "quality", "answers", "categories"),
        batches={"images": ("calls", "times")},
    ),
    "generate-plans": Contents(
        "plans",
        ("prompts", "images", "times"),
        on_request=("costs", "stages"),
        batches={"images": ("times",)},
    ),
    "maps": Contents(
        "attention",
        ("prompts", "words", "pictures", "distances"),
        on_request=("features", "points"),
        batches={"attention": ("pictures", "distances", "features", "points")},
        partly=("features", "points"),
    ),
    "paper": Contents("beside", ("claims",)),
    "tune": Contents(
        "plans",
        ("prompts", "calibration", "candidates"),
        on_request=("proof", "times", "confirmed"),
    ),
}
"""By command."""


def is_finished(run: Run) -> bool:
    """Whether a run has all the tables that its command writes; of an unknown command, so it is said."""
    return run.command not in CONTENTS or run.has_table(CONTENTS[run.command].main)
