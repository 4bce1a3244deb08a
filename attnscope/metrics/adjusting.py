"""Many differences in one table: p-values that say so.

Of twenty differences that are all chance one lies beyond its 95 % interval. Holm's p-values ("A simple
sequentially rejective multiple test procedure", 1979) keep the chance of even one false claim in the
whole family at 5 %, however the tests depend on each other; Benjamini and Hochberg's ("Controlling the
false discovery rate", 1995) keep 5 % of the claims false on average, for tests that are independent or
positively dependent (Benjamini and Yekutieli, 2001), and tell more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

ADJUSTMENTS = ("holm", "bh", "none")
"""How the p-values of a family are adjusted; the first one if nothing is said."""
NAMES = {"holm": "Holm", "bh": "Benjamini-Hochberg"}
COLUMNS = {"holm": "p_holm", "bh": "p_bh", "none": "p"}
"""The column of each in tables."""


def adjusted(p: ArrayLike, how: str = ADJUSTMENTS[0]) -> NDArray[np.float64]:
    """P-values adjusted over the family that they are.

    Args:
        p: ``[n]``; NaN is no test, and counts for nothing.
        how: one of :data:`ADJUSTMENTS`.

    Returns:
        float64 ``[n]``, NaN where there was no test.

    Raises:
        ValueError: there is no such adjustment.
    """
    import numpy as np

    if how not in ADJUSTMENTS:
        raise ValueError(f"p-values are adjusted by {', '.join(ADJUSTMENTS)}, not by {how!r}")
    found = np.array(p, dtype=np.float64)
    there = ~np.isnan(found)
    if how == "none" or not there.any():
        return found
    found[there] = _holm(found[there]) if how == "holm" else _benjamini_hochberg(found[there])
    return found


def with_adjusted(table: pd.DataFrame) -> pd.DataFrame:
    """A table with the columns ``p_holm`` and ``p_bh``: all of its ``p`` are one family."""
    values = {COLUMNS[how]: adjusted(table["p"], how) for how in NAMES}
    return table.assign(**values)


def _holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    found = np.empty_like(p)
    found[order] = np.minimum(steps, 1.0)
    return found


def _benjamini_hochberg(p: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy import stats

    found: NDArray[np.float64] = stats.false_discovery_control(p, method="bh")
    return found
