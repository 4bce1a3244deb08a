"""JSON that any reader takes (RFC 8259): the one place that writes it.

JSON has no word for infinite numbers and for what is no number; Python writes ``Infinity`` and
``NaN`` all the same, at which other readers stop. Here both are ``null``, as is what a table lacks.
The PSNR of two images that are the same to the bit is such a number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import date
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd


def text(value: Any, *, indent: int | None = 2, sort_keys: bool = False) -> str:
    """A value as a JSON document.

    Args:
        value: see :func:`plain`.
        indent: as in :func:`json.dumps`.
        sort_keys: as in :func:`json.dumps`.

    Raises:
        TypeError: there is something in it that JSON has no word for.
    """
    return json.dumps(plain(value), indent=indent, sort_keys=sort_keys, allow_nan=False)


def plain(value: Any) -> Any:
    """A value as it reads back from JSON; numbers that are not finite are ``None``.

    Args:
        value: text, numbers, paths, dates, mappings, lists and tuples, numpy's and pandas' of all of
            these. A DataFrame is a list of its rows.

    Raises:
        TypeError: there is something in it that JSON has no word for.
    """
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, pd.DataFrame):
        return [plain(row) for row in value.to_dict("records")]
    if isinstance(value, Mapping):
        return {_key(key): plain(item) for key, item in value.items()}
    if isinstance(value, pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        return [plain(item) for item in value]
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    return _single(value)


def _single(value: Any) -> Any:
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, PurePath):
        return str(value)
    if value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"no JSON for a {type(value).__name__}: {value!r}")


def _key(key: Any) -> str:
    """A key, which JSON knows as text alone."""
    key = plain(key)
    return key if isinstance(key, str) else json.dumps(key)
