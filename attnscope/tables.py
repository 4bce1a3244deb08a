"""Concatenating tidy tables."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd


def concatenate(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One table of many with the same columns; what is categorical in the first stays so."""
    names = [name for name in parts[0] if parts[0][name].dtype == "category"]
    plain = [part.astype(dict.fromkeys(names, "object")) for part in parts]
    return pd.concat(plain, ignore_index=True).astype(dict.fromkeys(names, "category"))
