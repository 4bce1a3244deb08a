"""Works that go wrong in real ways, for workers in other processes, too."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from attnscope.runs.crew import Made


@dataclass(frozen=True)
class Counting:
    """Says how many it made; of more than the limit, memory really runs out.

    Args:
        model: any.
        limit: so many fit.
    """

    model: Any
    limit: int

    def __call__(self, pipe, items, number):
        if len(items) > self.limit:
            torch.empty(2**55, dtype=torch.uint8)
        return Made(parts={"main": pd.DataFrame({"item": items})}, said=f"{len(items)} in {pipe}")


@dataclass(frozen=True)
class Killing:
    """Kills its own process at a batch, as often as there is no more than so many files.

    Args:
        model: any.
        batch: at which.
        folder: of files.
        times: so often.
    """

    model: Any
    batch: int
    folder: str
    times: int

    def __call__(self, pipe, items, number):
        deaths = len(list(Path(self.folder).iterdir()))
        if number == self.batch and deaths < self.times:
            (Path(self.folder) / f"{deaths}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Made(parts={"main": pd.DataFrame({"item": items})})
