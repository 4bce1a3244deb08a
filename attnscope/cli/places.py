"""Options that name one file: where none can be written is refused before anything is made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

PICTURES = (".png", ".pdf")
"""Endings of figures."""


def check_file(flag: str, file: Path, endings: Sequence[str]) -> None:
    """Refuse a place where the file of an option cannot be written.

    Args:
        flag: of the option.
        file: that it names.
        endings: of names that it takes, in any case.

    Raises:
        InputError: it is a folder, ends otherwise, or stands where no file can be.
    """
    from attnscope.errors import InputError
    from attnscope.files import check_takes_files, is_folder

    told = " or ".join(endings)
    if is_folder(file):
        raise InputError(f"{flag} {str(file)!r} is a folder: name a {told} in it")
    if file.suffix.lower() not in endings or not is_folder(file.parent):
        raise InputError(f"{flag} {str(file)!r} is not a {told} in a folder that exists")
    check_takes_files(file.parent)
