"""What a worker of Ray does; it lives in another process, and has the model there."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from attnscope.errors import InputError, in_a_line
from attnscope.runs.about import versions
from attnscope.runs.batches import Fitting
from attnscope.runs.crew import Made, Task


@dataclass(frozen=True)
class Answer:
    """What a worker says of a batch: pieces of it with how long each took, or why there are none."""

    pieces: Sequence[tuple[int, int, Made, float]] = ()
    halved: int | None = None
    refused: str = ""
    unexpected: str = ""


class Hand:
    """What a worker does; it lives in another process."""

    def __init__(self, threads: int, folder: str, places: Sequence[str]) -> None:
        import torch

        with contextlib.suppress(OSError):  # on another machine there may be no such folder
            os.chdir(folder)
        sys.path += [place for place in places if place not in sys.path]
        torch.set_num_threads(threads)
        self._model: Any = None
        self._key: Any = None
        self._fits: int | None = None

    def hello(self) -> dict[str, Any]:
        """Who it is, and by which versions it computes."""
        return {"pid": os.getpid(), "node": platform.node(), "versions": versions()}

    def make(self, task: Task, size: int | None) -> Answer:
        """Make a batch; what does not fit is made in halves, and so is all that follows."""
        try:
            model = self._held(task.work.model)
            pipe = model.pipe
        except Exception as error:
            reason = str(error) if isinstance(error, InputError) else in_a_line(error)
            name = task.work.model.name
            return Answer(refused=f"on {platform.node()} {name!r} cannot be loaded: {reason}")
        work = dataclasses.replace(task.work, model=model)  # type: ignore[type-var]  # they all are
        most = min(filter(None, (size, self._fits)), default=None)
        fitting, pieces, at = Fitting(most), [], 0
        start = time.perf_counter()
        try:
            for items, made in fitting.through(
                task.items, lambda items: work(pipe, items, task.number)
            ):
                pieces.append((at, len(items), made, time.perf_counter() - start))
                at, start = at + len(items), time.perf_counter()
        except InputError as error:
            return Answer(refused=str(error))
        except Exception as error:
            return Answer(unexpected=in_a_line(error))
        if fitting.size == most:
            return Answer(pieces)
        self._fits = fitting.size
        return Answer(pieces, halved=self._fits)

    def _held(self, model: Any) -> Any:
        """The model, of which only the last one is kept."""
        if self._model is None or self._key != model.key:
            if self._model is not None:
                self._model.forget()
            self._model, self._key = model, model.key
            model.check_weights()
        return self._model
