"""Writing files so that none is ever seen half written."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attnscope.errors import InputError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A full disk, a quota that is used up, a file larger than may be."""


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` make a file, and move it to its place when it is whole.

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
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
    os.close(handle)
    partial = Path(name)
    try:
        write(partial)
        partial.chmod(0o644)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
