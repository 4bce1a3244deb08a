"""What runs of images do before their first: say what stands in captions, fit batches, open the folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from attnscope.models.calling import default_batch_size
from attnscope.runs.crew import ALONE, Crew, Task, Work
from attnscope.runs.cut import batches_left, count_of
from attnscope.runs.folder import Run
from attnscope.runs.holding import hold
from attnscope.runs.progress import Kept, Progress
from attnscope.runs.prompts import Prompt
from attnscope.runs.words import warnings_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from attnscope.models.chosen import ChosenModel


def open_for(
    command: str,
    path: Path,
    settings: Any,
    model: ChosenModel,
    prompts: Sequence[Prompt],
    batch_size: int | None,
    progress: Progress,
    *,
    table: str = "",
    about: dict[str, Any] | None = None,
    least: int = 1,
    crew: Crew = ALONE,
) -> Kept:
    """A run directory that is made with its first part, once all that can be refused was.

    Args:
        command: whose run it is.
        path: where.
        settings: of the run.
        model: with which images are made; it is loaded.
        prompts: one per image.
        batch_size: images made at once; ``None`` fits it to the model and the device.
        progress: told of words that the model does not know, and from then on how far it is.
        table: of which parts are kept.
        about: what else ``run.json`` says of the machine, besides device and batch size.
        least: how many batches there have to be, if there are so many prompts.
        crew: who makes the batches.
    """
    if (path / "run.json").exists():
        hold(path)
    for line in warnings_of(model.pipe, prompts):
        progress.say(line)
    fitting = batch_size or default_batch_size(model.pipe, model.device)
    size = min(fitting, -(-len(prompts) // least))
    cut = (Run(path).cut if (path / "run.json").exists() else None) or size
    known = {"device": model.device, **crew.about(model.device), **(about or {})}

    def opening(now: int) -> Run:
        return Run.open(path, command, settings, share=crew.share, cut=cut, batch_size=now, **known)

    return Kept(progress, path, opening, min(size, cut), table, cut=cut)


def make_left(
    kept: Kept, crew: Crew, items: Sequence[tuple[Any, ...]], work: Work, label: str
) -> None:
    """Make the batches of a run's share of which something is missing, and keep what comes of them.

    Args:
        kept: where it is kept, and who is told.
        crew: who makes them, and which.
        items: all of the run's, each a prompt and what goes with it.
        work: what is made of a batch.
        label: what is done, and in what it is counted.
    """
    kept.forget_broken()
    known = kept.known
    left = batches_left(items, kept.cut, known, crew.share)
    with kept.stretch(label, count_of(items, kept.cut, crew.share)):
        if known:
            kept.advance(len(known))
        make(kept, crew, (Task(number, batch, work) for number, batch in left))


def make(kept: Kept, crew: Crew, tasks: Iterable[Task]) -> None:
    """Make batches, and keep what comes of them.

    Args:
        kept: where it is kept, and who is told.
        crew: who makes them.
        tasks: the batches.
    """
    for done in crew.each(tasks, size=kept.batch_size, progress=kept):
        kept.keep(done.made, done.items[0][0].prompt_id)
        kept.advance(len(done.items))


def numbered(times: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The table ``times`` of a run: batches are counted anew, for of one that did not fit there are several.

    Args:
        times: its parts, in their order.
    """
    counted = [part.assign(batch=number) for number, part in enumerate(times)]
    return pd.concat(counted, ignore_index=True)


def scheduler_of(model: ChosenModel) -> dict[str, str]:
    """What ``run.json`` says of the one scheduler of a run."""
    return {"scheduler": type(model.pipe.scheduler).__name__}
