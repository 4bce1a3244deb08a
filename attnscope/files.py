"""Writing files so that none is ever seen half written."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from attnscope.errors import InputError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A full disk, a quota that is used up, a file larger than may be."""
PREFIX = ".attnscope-"
"""Of what is not whole yet, beside its place."""
ours: set[Path] = set()
"""Files that this process writes where it was told to, wherever that is: they do not make a folder somebody's."""
_swept: set[Path] = set()
_umask = os.umask(0)
os.umask(_umask)


def is_folder(name: str | Path) -> bool:
    """Whether there is a folder of a name; a name that is longer than any can be is none."""
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):
        return False


def make_folder(folder: Path) -> None:
    """Make a folder and those that it stands in, where they are not there yet.

    Raises:
        InputError: there can be none at this place.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"no folder can be made at {_why_not(folder, error)}") from error


def check_takes_files(folder: Path) -> None:
    """Refuse a folder in which nothing can be written, before there is anything to write.

    Whoever is root may do it everywhere by what permissions say, so it is tried.

    Raises:
        InputError: it takes no files.
    """
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=PREFIX):
            pass
    except OSError as error:
        raise InputError(f"no file can be written in {_why_not(folder, error)}") from error


def _why_not(place: Path, error: OSError) -> str:
    return f"{str(place)!r} ({error.strerror}): choose another place"


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` make a file, and move it to its place when it is whole.

    What processes that were killed left of such files in the folder is removed the first time.

    Raises:
        InputError: there is no room for it, or there can be no file at its place.
    """
    try:
        _write_whole(path, write)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise InputError(
            f"no room left for {path.name!r} in {str(path.parent)!r} ({os.strerror(error.errno)}): make room, "
            "and give the same command again; what was written is kept"
        ) from error


def _write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    if path.parent not in _swept:
        _swept.add(path.parent)
        _sweep(path.parent)
    with _placing(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=PREFIX, suffix=path.suffix)
    partial = Path(name)
    try:
        lock(handle)
        write(partial)
        partial.chmod(0o666 & ~_umask)
        with _placing(path):
            os.replace(partial, path)
    finally:
        os.close(handle)  # and with it the lock, which tells others that somebody is at work
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _placing(path: Path) -> Iterator[None]:
    """Refuse a place by its own name, not by what a file is called until it is whole."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        raise InputError(f"no file can be written at {_why_not(path, error)}") from error


def _sweep(folder: Path) -> None:
    """Remove what nobody is at work on any more."""
    for partial in folder.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # somebody else was quicker, or it is not ours to remove
            handle = os.open(partial, os.O_RDWR)
            try:
                if lock(handle) is Locked.HERE:
                    partial.unlink()
            finally:
                os.close(handle)


class Locked(Enum):
    """By whom a file is locked."""

    HERE = "by this process, until it closes the file or ends"
    ELSEWHERE = "by another process"
    NEVER = "by nobody: the system, or the file system, has no locks"


def lock(handle: int) -> Locked:
    """Lock an open file, unless another process did.

    Args:
        handle: its descriptor.
    """
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return Locked.ELSEWHERE
    except (ImportError, OSError):
        return Locked.NEVER
    return Locked.HERE
