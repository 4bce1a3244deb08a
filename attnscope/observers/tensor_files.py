"""Arrays with what is to be known of them, as safetensors. Nothing here needs torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnscope import documents
from attnscope.errors import InputError

_LENGTH = 8
"""Bytes that say how long the header is, and to a multiple of which it is filled up."""


def packed(tensors: Mapping[str, NDArray[Any]], told: Mapping[str, Any]) -> bytes:
    """The bytes of a file: arrays, and what is told of them as JSON a value; the same again is the same.

    Args:
        tensors: by name.
        told: of plain values.
    """
    from safetensors.numpy import save

    metadata = {name: documents.text(value, indent=None) for name, value in told.items()}
    whole = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    return _ordered(save(whole, metadata))


def _ordered(data: bytes) -> bytes:
    """The same file with its header in alphabetical order: safetensors writes metadata in any order."""
    end = _LENGTH + int.from_bytes(data[:_LENGTH], "little")
    text = documents.text(json.loads(data[_LENGTH:end]), indent=None, sort_keys=True)
    header = text.encode()
    header += b" " * (-len(header) % _LENGTH)
    return len(header).to_bytes(_LENGTH, "little") + header + data[end:]


def read(path: Path, what: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The arrays of a file by name, and what is told of them.

    Args:
        path: of the file.
        what: it should hold, for the error.

    Raises:
        InputError: it is gone, or no such file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            told = {name: json.loads(text) for name, text in (file.metadata() or {}).items()}
            return {name: file.get_tensor(name) for name in file.keys()}, told  # noqa: SIM118  # no mapping
    except (OSError, SafetensorError, ValueError) as error:
        raise no(path, what, error) from error


def no(path: Path, what: str, error: Exception) -> InputError:
    """What is raised of a file that does not hold what it should."""
    return InputError(f"{str(path)!r} is gone or holds no {what}: {error}")
