"""Writing files so that none is ever seen half written."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attnscope.errors import InputError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A full disk, a quota that is used up, a file larger than may be."""
_PREFIX = ".attnscope-"
"""Of what is not whole yet, beside its place."""
_swept: set[Path] = set()


def is_folder(name: str | Path) -> bool:
    """Whether there is a folder of a name; a name that is longer than any can be is none."""
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):
        return False


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` make a file, and move it to its place when it is whole.

    What processes that were killed left of such files in the folder is removed the first time.

    Raises:
        InputError: there is no room for it.
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
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_PREFIX, suffix=path.suffix)
    except OSError as error:
        error.filename = str(path)  # what was asked for, not what it is called until it is whole
        raise
    partial = Path(name)
    try:
        _is_ours(handle)
        write(partial)
        partial.chmod(0o644)
        os.replace(partial, path)
    finally:
        os.close(handle)  # and with it the lock, which tells others that somebody is at work
        partial.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what nobody is at work on any more."""
    for partial in folder.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # somebody else was quicker, or it is not ours to remove
            handle = os.open(partial, os.O_RDWR)
            try:
                if _is_ours(handle):
                    partial.unlink()
            finally:
                os.close(handle)


def _is_ours(handle: int) -> bool:
    """Whether a file can be locked, which it can as soon as the process that did is gone."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):  # of another system, or on a file system without locks
        return False
    return True
