"""Who makes the batches of a run: this process alone, or others that are told what to make.

What is made of a batch is a :class:`Work`, which can be sent to another process with the model's name
and not the model, and what comes of it is a :class:`Made`: files and parts of tables. Only the process
that opened the run writes into its directory.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from attnscope.runs.batches import Fitting
from attnscope.runs.cut import WHOLE, Share
from attnscope.runs.progress import SILENT, Progress

if TYPE_CHECKING:
    import pandas as pd

    from attnscope.models.chosen import ChosenModel, RandomModel


@dataclass(frozen=True)
class Made:
    """What a batch leaves in a run directory.

    Args:
        files: by their place in it, in the order in which they are written.
        parts: of tables, by name; the last one says that all of the batch is there.
        said: what the user should know, once for all batches that say the same.
        failed: why there is nothing, where others go on.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    parts: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    said: str = ""
    failed: str = ""

    @property
    def nbytes(self) -> int:
        """Of the files, and of the tables in memory."""
        tables = sum(int(part.memory_usage(index=False).sum()) for part in self.parts.values())
        return tables + sum(map(len, self.files.values()))


class Work(Protocol):
    """What is made of a batch: plain values beside the model, so that it can be sent away."""

    @property
    def model(self) -> ChosenModel | RandomModel:
        """With which it is made."""

    def __call__(self, pipe: Any, items: Sequence[Any], number: int) -> Made:
        """Make it.

        Args:
            pipe: the model's pipeline.
            items: of the batch, or a part of them.
            number: of the batch in the run.
        """


@dataclass(frozen=True)
class Task:
    """A batch that is to be made.

    Args:
        number: of the batch in the run, from 0.
        items: what is to be made of it.
        work: how.
    """

    number: int
    items: Sequence[Any]
    work: Work


@dataclass(frozen=True)
class Done:
    """A batch, or a part of one that did not fit, that was made.

    Args:
        task: that it is of.
        items: of the task's.
        made: what came of them.
        worker: who made it; 0 is this process.
        seconds: that it took there.
        fetched: seconds that it took to have it here.
    """

    task: Task
    items: Sequence[Any]
    made: Made
    worker: int = 0
    seconds: float = 0.0
    fetched: float = 0.0


class Crew:
    """Makes batches.

    Args:
        share: which of a run's batches are made at all.
    """

    elsewhere = False
    """Whether batches are made in other processes, so that none of this one's memory has to hold a model."""

    def __init__(self, share: Share = WHOLE) -> None:
        self.share = share

    def device(self, asked: str) -> str:
        """The device that models are on, which was asked for or left to be found."""
        return asked

    def about(self, device: str) -> dict[str, Any]:
        """What else decides the last bits of a result, besides versions: on a CPU, its threads."""
        return {"threads": self.threads} if device == "cpu" else {}

    @property
    def threads(self) -> int:
        """Of the CPU, that make a batch."""
        import torch

        return torch.get_num_threads()

    @property
    def count(self) -> int:
        """How many batches are made at the same time."""
        return 1

    def each(
        self, tasks: Iterable[Task], *, size: int | None = None, progress: Progress = SILENT
    ) -> Iterator[Done]:
        """Make batches, and hand over each as soon as it is there, in any order.

        Args:
            tasks: asked for one by one, when somebody is free.
            size: images made at once, if not all of a batch; halved where memory runs out.
            progress: told the new size, and what happens (:mod:`attnscope.runs.events`).

        Raises:
            InputError: not even one item fits, or a model cannot be loaded.
        """
        begun, batches = time.perf_counter(), 0
        progress.happened("start", workers=self.count, shard=str(self.share))
        try:
            for done in self._each(tasks, size, progress):
                given = time.perf_counter()
                yield done
                batches += 1
                progress.happened(
                    "batch", batch=done.task.number, items=len(done.items), worker=done.worker,
                    seconds=done.seconds, bytes=done.made.nbytes,
                    driver_seconds=done.fetched + time.perf_counter() - given,
                )  # fmt: skip
        except (Exception, KeyboardInterrupt) as error:
            progress.happened("failed", reason=str(error) or "stopped", batches=batches)
            raise
        progress.happened("end", batches=batches, seconds=time.perf_counter() - begun)

    def _each(self, tasks: Iterable[Task], size: int | None, progress: Progress) -> Iterator[Done]:
        """Make batches; see :meth:`each`."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of all that was started."""


class Alone(Crew):
    """This process."""

    def _each(self, tasks: Iterable[Task], size: int | None, progress: Progress) -> Iterator[Done]:
        """One batch after the other."""
        fitting = Fitting(size)
        for task in tasks:
            progress.happened("begun", batch=task.number, worker=0)
            work = partial(_made, task)
            start = time.perf_counter()
            for items, made in fitting.through(task.items, work, progress=progress):
                yield Done(task, items, made, 0, time.perf_counter() - start)
                start = time.perf_counter()


def _made(task: Task, items: Sequence[Any]) -> Made:
    return task.work(task.work.model.pipe, items, task.number)


ALONE = Alone()
"""All batches, in this process."""
