"""What a run tells of itself while it goes on, and to whom."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnscope.files import write_whole

if TYPE_CHECKING:
    import pandas as pd

    from attnscope.runs.crew import Made
    from attnscope.runs.folder import Run


class Progress:
    """Is told how far work has come; this one says nothing. Override what you want to hear."""

    batch_size: int | None = None
    """Images that are made at once by now, where that is known."""

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

    def keep(self, made: Made, number: int) -> None:
        """What a batch leaves is there.

        Args:
            made: by the batch.
            number: by which its parts of tables are ordered, and told from those of others.
        """

    def halved(self, size: int) -> None:
        """Memory ran out: work goes on with batches of ``size``."""

    def failed(self, name: str, reason: str) -> None:
        """An arm that nobody asked for makes no images; the others go on."""

    def say(self, line: str) -> None:
        """Something the user should know."""

    def happened(self, what: str, **about: Any) -> None:
        """Something that machines may want to know.

        Args:
            what: ``start``, ``worker``, ``begun``, ``batch``, ``halved``, ``lost``, ``failed`` or ``end``;
                see :mod:`attnscope.runs.events`.
            about: plain values.
        """


SILENT = Progress()
"""For those who do not want to hear anything."""


class Through(Progress):
    """Hands on to another one what it hears.

    Args:
        to: who is told.
    """

    def __init__(self, to: Progress) -> None:
        self._to = to

    def stretch(self, label: str, total: int) -> contextlib.AbstractContextManager[None]:
        """A stretch of work begins."""
        return self._to.stretch(label, total)

    def advance(self, count: int = 1) -> None:
        """So many more are there."""
        self._to.advance(count)

    def part(self, table: pd.DataFrame) -> None:
        """A further part of a table is there."""
        self._to.part(table)

    def halved(self, size: int) -> None:
        """Memory ran out."""
        self._to.halved(size)

    def failed(self, name: str, reason: str) -> None:
        """An arm makes no images."""
        self._to.failed(name, reason)

    def say(self, line: str) -> None:
        """Something the user should know."""
        self._to.say(line)

    def happened(self, what: str, **about: Any) -> None:
        """Something that machines may want to know."""
        self._to.happened(what, **about)


class Kept(Through):
    """Hands on to another one, and keeps in a run directory what has to outlive the process.

    Parts of tables are written as they come, and a batch that was halved is noted in ``run.json``.
    The directory is made with the first part, so that a failure before it leaves nothing behind.

    Args:
        to: who is told.
        path: the run directory.
        opening: opens or makes it, given the batch size that holds now.
        batch_size: to begin with.
        table: of which parts are kept.
        cut: the size of the batches that the run is cut into, whatever fits; ``batch_size`` if it is
            not said.
    """

    def __init__(
        self,
        to: Progress,
        path: Path,
        opening: Callable[[int], Run],
        batch_size: int,
        table: str = "",
        *,
        cut: int | None = None,
    ) -> None:
        self.batch_size: int = batch_size
        self.cut = cut or batch_size
        super().__init__(to)
        self._path, self._opening, self._table = path, opening, table
        self._said: set[str] = set()
        self._opened: tuple[int, Run] | None = None
        self._batches = 0

    @property
    def run(self) -> Run:
        """The run directory, which is made if it is not there."""
        # To open it takes milliseconds.
        if self._opened is None or self._opened[0] != self.batch_size:
            self._opened = self.batch_size, self._opening(self.batch_size)
        return self._opened[1]

    @property
    def known(self) -> set[int]:
        """The ``prompt_id`` of what is there of the table; the directory is neither made nor noted in."""
        from attnscope.runs.folder import Run

        return Run(self._path).known(self._table) if (self._path / "run.json").exists() else set()

    def forget_broken(self) -> None:
        """Remove what is left of batches of which something is missing, so that they are made again."""
        from attnscope.runs.folder import Run
        from attnscope.runs.holding import hold

        if not (self._path / "run.json").exists():
            return
        hold(self._path)
        run = Run(self._path)
        if broken := run.broken(self._table):
            run.forget(self._table, broken)
            count = f"{len(broken)} batches that were made lack files, such as"
            self.say(f"{count if len(broken) > 1 else 'a batch that was made lacks'} {min(broken.values())!r}: "
                     "made again")  # fmt: skip

    def of(self, table: str) -> Kept:
        """The same, for parts of another table."""
        return Kept(self._to, self._path, self._opening, self.batch_size, table, cut=self.cut)

    def part(self, table: pd.DataFrame) -> None:
        """Write a further part of the table."""
        self.run.write_part(self._table, table)
        self._to.part(table)

    def keep(self, made: Made, number: int) -> None:
        """Write what a batch leaves: its files, then its parts, of which the last is told of.

        Args:
            made: by the batch.
            number: which names its parts, such as the ``prompt_id`` of its first item.

        Raises:
            InputError: there is no room for it.
        """
        try:
            self._keep(made, number)
        except (Exception, KeyboardInterrupt) as error:
            self.happened("failed", reason=str(error) or "stopped", batches=self._batches)
            raise
        self._batches += 1

    def _keep(self, made: Made, number: int) -> None:
        run = self.run
        for name, content in made.files.items():
            path = run.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, partial(Path.write_bytes, data=content))
        table = None
        for name, table in made.parts.items():
            run.write_part(name, table, number)
        if table is not None:
            self._to.part(table)
        if made.said and made.said not in self._said:
            self._said.add(made.said)
            self.say(made.said)

    def halved(self, size: int) -> None:
        """Note that the batch is smaller, if there is a run to note it in; :attr:`run` does it else."""
        self.batch_size = size
        self._to.halved(size)
        if (self._path / "run.json").exists():
            _ = self.run
