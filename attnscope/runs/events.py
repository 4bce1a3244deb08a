"""What happens in a run, for machines: one JSON object a line.

Each has ``event`` and ``time`` (UTC), and beside them

- ``start``: ``workers`` and ``shard`` (``1/1`` is all);
- ``worker``, which is ready: ``worker`` (its number), ``pid`` and ``node``;
- ``begun``: ``batch`` (its number in the run) and ``worker``;
- ``batch``, which is on disk: ``batch``, ``items``, ``worker``, ``seconds`` (that the worker took),
  ``bytes`` (that came from it) and ``driver_seconds`` (that it took to fetch and to write them);
- ``halved``: ``size``;
- ``lost``: ``worker``, ``pid``, ``batch`` (which is made again, or ``null``) and ``reason``;
- ``failed``: ``reason`` and ``batches`` (that are on disk), where the run stops;
- ``end``: ``batches`` and ``seconds``, of one stretch of work; a run has as many as bars are shown.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attnscope import documents, files
from attnscope.errors import InputError
from attnscope.runs.progress import Progress, Through


class Events(Through):
    """Hands on to another one, and writes what happens to a file as it happens.

    A file that cannot be written any more, such as on a full disk, is told of once, and work goes on.

    Args:
        to: who is told.
        path: of the file, to which lines are added; it may lie in the run directory.

    Raises:
        InputError: it cannot be written.
    """

    def __init__(self, to: Progress, path: Path) -> None:
        super().__init__(to)
        self._path = path
        self._is_lost = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._add("")
            files.ours.add(path.absolute())
        except OSError as error:
            raise InputError(
                f"events cannot be written to {str(path)!r}: {error.strerror}"
            ) from error

    def happened(self, what: str, **about: Any) -> None:
        """Write a line."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        if not self._is_lost:
            try:
                self._add(documents.text({"event": what, "time": now, **about}, indent=None) + "\n")
            except OSError as error:
                self._is_lost = True
                self.say(f"no more events can be written to {str(self._path)!r}: {error.strerror}")
        super().happened(what, **about)

    def _add(self, text: str) -> None:
        with self._path.open("a", encoding="utf-8") as lines:
            lines.write(text)

    def halved(self, size: int) -> None:
        """Write it."""
        self.happened("halved", size=size)
        super().halved(size)
