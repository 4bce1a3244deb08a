"""What a run tells of itself while it goes on, and to whom."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from attnscope.runs.folder import Run


class Progress:
    """Is told how far work has come; this one says nothing. Override what you want to hear."""

    def stretch(self, label: str, total: int) -> contextlib.AbstractContextManager[None]:
        """A stretch of work begins, and ends with the block.

        Args:
            label: what is done, and in what it is counted.
            total: how many of them there are.
        """
        return contextlib.nullcontext()

    def advance(self, count: int = 1) -> None:
        """So many more prompts, images, calls or arms are there; first those of before."""

    def part(self, table: pd.DataFrame) -> None:
        """A further part of the table that is measured is there."""

    def halved(self, size: int) -> None:
        """Memory ran out: work goes on with batches of ``size``."""

    def failed(self, name: str, reason: str) -> None:
        """An arm that nobody asked for makes no images; the others go on."""

    def say(self, line: str) -> None:
        """Something the user should know."""


SILENT = Progress()
"""For those who do not want to hear anything."""


class Kept(Progress):
    """Hands on to another one, and keeps in a run directory what has to outlive the process.

    Parts of tables are written as they come, and a batch that was halved is noted in ``run.json``.
    The directory is made with the first part, so that a failure before it leaves nothing behind.

    Args:
        to: who is told.
        path: the run directory.
        opening: opens or makes it, given the batch size that holds now.
        batch_size: to begin with.
        table: of which parts are kept.
    """

    def __init__(
        self,
        to: Progress,
        path: Path,
        opening: Callable[[int], Run],
        batch_size: int,
        table: str = "",
    ) -> None:
        self.batch_size = batch_size
        self._to, self._path, self._opening, self._table = to, path, opening, table

    @property
    def run(self) -> Run:
        """The run directory, which is made if it is not there."""
        return self._opening(self.batch_size)

    def stretch(self, label: str, total: int) -> contextlib.AbstractContextManager[None]:
        """A stretch of work begins."""
        return self._to.stretch(label, total)

    def advance(self, count: int = 1) -> None:
        """So many more are there."""
        self._to.advance(count)

    def part(self, table: pd.DataFrame) -> None:
        """Write a further part of the table."""
        self.run.write_part(self._table, table)
        self._to.part(table)

    def halved(self, size: int) -> None:
        """Note that the batch is smaller, if there is a run to note it in; :attr:`run` does it else."""
        self.batch_size = size
        self._to.halved(size)
        if (self._path / "run.json").exists():
            _ = self.run

    def failed(self, name: str, reason: str) -> None:
        """An arm makes no images."""
        self._to.failed(name, reason)

    def say(self, line: str) -> None:
        """Something the user should know."""
        self._to.say(line)
