"""What ``run.json`` says of a run and of the machine: read, checked, written whole."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from attnscope import documents
from attnscope.errors import InputError
from attnscope.files import write_whole

COMPUTING = ("attnscope", "torch", "diffusers", "transformers", "numpy")
"""Packages by whose versions images are made."""
_NAME = "run.json"


def read_about(folder: Path) -> dict[str, Any]:
    """What the ``run.json`` of a directory says.

    Args:
        folder: the run directory.

    Returns:
        ``command``, ``settings`` and what else there is, of the kinds that are written.

    Raises:
        InputError: there is none, or not a readable one.
    """
    try:
        said = json.loads((folder / _NAME).read_text("utf-8"))
        _check(said)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{str(folder)!r} is no run directory: it has no {_NAME}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{str(folder / _NAME)!r} cannot be read: {error}") from error
    return dict(said)


def write_about(folder: Path, about: dict[str, Any]) -> None:
    """Write the ``run.json`` of a directory, of plain values."""
    text = documents.text(about) + "\n"
    write_whole(folder / _NAME, lambda partial: partial.write_text(text, "utf-8"))


def this_machine() -> dict[str, Any]:
    """Python, the system and :func:`versions` here, as runs record them."""
    known = versions((*COMPUTING, "pandas"))
    return {"python": platform.python_version(), "platform": platform.platform(), **known}


def versions(packages: Sequence[str] = COMPUTING) -> dict[str, str]:
    """The versions of those packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def now() -> str:
    """The time in UTC, to the second, as ISO 8601 has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _check(said: Any) -> None:
    """Refuse other kinds of values than runs write."""
    if not isinstance(said, dict):
        raise ValueError(f"it holds no JSON object, but a {type(said).__name__}")
    optional = {"machine": dict, "created": str, "later": list}
    for name, kind in {"command": str, "settings": dict, **optional}.items():
        if name not in said and name not in optional:
            raise ValueError(f"it has no {name!r}")
        if name in said and not isinstance(said[name], kind):
            raise ValueError(
                f"its {name!r} is no {kind.__name__}, but a {type(said[name]).__name__}"
            )
    for change in said.get("later", []):
        if not isinstance(change, dict) or not isinstance(change.get("machine"), dict):
            raise ValueError(f"its 'later' has {change!r}, which tells no machine")
