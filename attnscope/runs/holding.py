"""One process at a time writes into a run directory.

Two that make the same run, such as a command that was typed twice or a job that was queued again while the
first one lives, would write their tables over each other's. Whoever opens a run to write into it locks a file
there. The lock is the system's, so it ends with the process, whatever ends that. Threads of one process are
not told apart.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from attnscope.errors import InputError
from attnscope.files import PREFIX, Locked, lock

LOCK = PREFIX + "lock"
"""The file in a run directory; a process that was killed leaves it there, without the lock."""
_held: dict[Path, int | None] = {}
"""Files that are locked by blocks of :func:`held`; ``None`` where the directory is not there yet."""
P = ParamSpec("P")
T = TypeVar("T")


def one_at_a_time(
    carry_out: Callable[Concatenate[Path, P], T],
) -> Callable[Concatenate[Path, P], T]:
    """Let a function hold the run directory, which is its first argument, until it returns."""

    @functools.wraps(carry_out)
    def alone(path: Path, /, *args: P.args, **keywords: P.kwargs) -> T:
        with held(path):
            return carry_out(path, *args, **keywords)

    return alone


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Whatever :func:`hold` locks in the block is let go at its end.

    Args:
        path: a run directory, which need not be there yet.
    """
    key = Path(os.path.realpath(path))  # which takes links that lead nowhere
    if key in _held:  # by a block around this one
        yield
        return
    _held[key] = None
    try:
        yield
    finally:
        if (handle := _held.pop(key)) is not None:
            with contextlib.suppress(
                OSError
            ):  # another process removes it with what was not made whole
                (key / LOCK).unlink()
            os.close(handle)


def hold(path: Path) -> None:
    """Lock a run directory for the block of :func:`held` that this is in; outside of one, do nothing.

    Args:
        path: of the directory, which is there.

    Raises:
        InputError: another process writes into it.
    """
    key = Path(os.path.realpath(path))  # which takes links that lead nowhere
    if _held.get(key, 0) is not None:
        return
    while True:
        handle = _opened(path / LOCK)
        if handle is None:  # nothing can be written there, which is told where something is to be
            return
        if lock(handle) is Locked.ELSEWHERE:
            os.close(handle)
            raise InputError(
                f"another process writes into `out` {str(path)!r}: wait for it, or choose another (if you know "
                f"that there is none, which only a network's file system may not, remove {LOCK!r} in it)"
            )
        if _is_there(path / LOCK, handle):
            _held[key] = handle
            return
        os.close(handle)  # whoever had it removed it after it was opened here


def _opened(path: Path) -> int | None:
    """A file that is there or can be made; to read it is enough, if another user made it."""
    for how in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):
        with contextlib.suppress(OSError):
            return os.open(path, how, 0o666)
    return None


def _is_there(path: Path, handle: int) -> bool:
    """Whether a file that is open is still the one at its place."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
