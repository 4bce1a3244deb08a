"""Intervals for what was measured on a sample; see :mod:`attnscope.metrics.intervals`."""

from attnscope.metrics.intervals import (
    CONFIDENCE,
    DEVIATION,
    LEVEL,
    Interval,
    bootstrap,
    differs,
    of_parts,
    over_seeds,
    paired,
)

__all__ = [
    "CONFIDENCE",
    "DEVIATION",
    "LEVEL",
    "Interval",
    "bootstrap",
    "differs",
    "of_parts",
    "over_seeds",
    "paired",
]
