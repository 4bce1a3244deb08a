"""Do intervals and tests hold what they promise? ``python benchmarks/coverage.py``.

Draws samples whose truth is known and counts: how often a 95 % interval holds it, how often a test finds
a difference where there is none, alone and in a table of twenty, and how often it finds one that is as
large as what is called detectable. Writes ``docs/findings/coverage.csv``: a row for each way, kind of
data and number of prompts, with the part of the samples. Seeded: the same numbers come again.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import exp, sqrt
from pathlib import Path
from zlib import crc32

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from attnscope.metrics.adjusting import adjusted
from attnscope.metrics.comparing import sign_test, standard_error, t_test
from attnscope.metrics.intervals import LEVEL, bootstrap, of_parts
from attnscope.metrics.power import POWER, detectable
from attnscope.metrics.proportions import share, wilson

CSV = Path(__file__).parents[1] / "docs" / "findings" / "coverage.csv"
COUNTS = (10, 30, 100, 300)
"""Prompts."""
IMAGES = 4
"""Of a prompt, where data are clustered."""
TABLE = 20
"""Differences of a table."""
COVERAGE, FALSE, FAMILY, SEEN = "coverage", "false alarms", "tables with a false alarm", "power"
NOMINAL = {COVERAGE: LEVEL, FALSE: 1 - LEVEL, FAMILY: 1 - LEVEL, SEEN: POWER}
Values = NDArray[np.float64]
Random = np.random.Generator


@dataclass(frozen=True)
class Trial:
    """What is counted over many samples.

    Args:
        quantity: one of :data:`NOMINAL`.
        by: the interval or the test.
        data: what a sample is of, in words.
        holds: draws a sample of so many prompts and says whether it is as the quantity says.
        least: fewer prompts than this are not tried.
    """

    quantity: str
    by: str
    data: str
    holds: Callable[[Random, int], bool]
    least: int = 0

    def measured(self, n: int, runs: int) -> float:
        """In which part of the samples it is so."""
        name = f"{self.quantity}, {self.by}, {self.data}, {n}"
        rng = np.random.default_rng(crc32(name.encode()))
        return float(np.mean([self.holds(rng, n) for _ in range(runs)]))


def skewed(rng: Random, n: int) -> Values:
    """Log-normal: a few prompts are far harder than most."""
    return rng.lognormal(0.0, 1.0, n)


def yes(part: float) -> Callable[[Random, int], Values]:
    """Yes or no, of which a part is yes."""
    return lambda rng, n: (rng.random(n) < part).astype(float)


def changes(gained: float, lost: float) -> Callable[[Random, int], tuple[Values, Values]]:
    """Pairs of yes or no, nine in ten of the baseline's being yes.

    Args:
        gained: part of all pairs that are yes where the baseline is no.
        lost: part of all pairs that are no where the baseline is yes.
    """

    def draw(rng: Random, n: int) -> tuple[Values, Values]:
        which = rng.choice(4, size=n, p=[0.9 - lost, gained, lost, 0.1 - gained])
        return np.isin(which, (0, 1)) * 1.0, np.isin(which, (0, 2)) * 1.0

    return draw


def clustered(rng: Random, n: int) -> tuple[Values, Values]:
    """Four images of every prompt, which are alike: four fifths of the variance is the prompt's."""
    prompts = np.repeat(np.arange(n), IMAGES)
    return rng.normal(size=n)[prompts] + rng.normal(0, 0.5, n * IMAGES), prompts.astype(float)


def clustered_yes(rng: Random, n: int) -> tuple[Values, Values]:
    """Four images of every prompt, each as asked or not; prompts differ in how likely that is (0.8 on average)."""
    prompts = np.repeat(np.arange(n), IMAGES)
    likely = rng.beta(2.0, 0.5, n)[prompts]
    return (rng.random(n * IMAGES) < likely).astype(float), prompts.astype(float)


def newcombe(ours: Values, theirs: Values) -> tuple[float, float]:
    """95 % ends of the difference of two shares of the same prompts.

    Newcombe, "Improved confidence intervals for the difference between binomial proportions based on
    paired data", 1998, method 10: Wilson's intervals of both, and their correlation, corrected for
    continuity.

    Args:
        ours: ``[n]``, 0 or 1.
        theirs: ``[n]``, of the same prompts.
    """
    n = len(ours)
    both, only, other = (
        int((mask * 1).sum())
        for mask in (
            (ours == 1) & (theirs == 1),
            (ours == 1) & (theirs == 0),
            (ours == 0) & (theirs == 1),
        )
    )
    none = n - both - only - other
    first, second = wilson(both + only, n), wilson(both + other, n)
    margins = (both + only) * (other + none) * (both + other) * (only + none)
    product = both * none - only * other
    product = max(product - n / 2, 0) if product > 0 else product
    phi = product / sqrt(margins) if margins else 0.0

    def half(one: float, another: float) -> float:
        return sqrt(max(one**2 - 2 * phi * one * another + another**2, 0.0))

    less = first.value - second.value
    return (
        less - half(first.value - first.low, second.high - second.value),
        less + half(first.high - first.value, second.value - second.low),
    )


def _held(ends: tuple[float, float], truth: float) -> bool:
    low, high = ends
    return low - 1e-12 <= truth <= high + 1e-12


def _mean(draw: Callable[[Random, int], Values], truth: float) -> Callable[[Random, int], bool]:
    def holds(rng: Random, n: int) -> bool:
        found = bootstrap(draw(rng, n), seed=int(rng.integers(2**32)))
        return _held((found.low, found.high), truth)

    return holds


def _wilson(part: float) -> Callable[[Random, int], bool]:
    def holds(rng: Random, n: int) -> bool:
        found = share(yes(part)(rng, n))
        return _held((found.low, found.high), part)

    return holds


def _wilson_clusters(rng: Random, n: int) -> bool:
    values, prompts = clustered_yes(rng, n)
    found = share(values, clusters=prompts)
    return _held((found.low, found.high), 0.8)


def _clusters(
    draw: Callable[[Random, int], tuple[Values, Values]], truth: float, *, together: bool
) -> Callable[[Random, int], bool]:
    def holds(rng: Random, n: int) -> bool:
        values, prompts = draw(rng, n)
        found = bootstrap(
            values, clusters=prompts if together else None, seed=int(rng.integers(2**32))
        )
        return _held((found.low, found.high), truth)

    return holds


def _pairs(gained: float, lost: float, *, by_newcombe: bool) -> Callable[[Random, int], bool]:
    def holds(rng: Random, n: int) -> bool:
        ours, theirs = changes(gained, lost)(rng, n)
        if by_newcombe:
            return _held(newcombe(ours, theirs), gained - lost)
        found = bootstrap(ours - theirs, seed=int(rng.integers(2**32)))
        return _held((found.low, found.high), gained - lost)

    return holds


def _parts(rng: Random, n: int) -> bool:
    values = skewed(rng, n)
    found = of_parts([part.mean() for part in np.split(values, 5)], float(values.mean()), n)
    return _held((found.low, found.high), exp(0.5))


def _told(values: Values, groups: Values | None = None) -> float:
    """The p-value of a mean, by t."""
    labels = np.arange(len(values)) if groups is None else groups.astype(int)
    sums, counts = np.bincount(labels, weights=values), np.bincount(labels).astype(float)
    return t_test(float(values.mean()), standard_error(sums, counts), len(sums) - 1)


def _sign(rng: Random, n: int) -> bool:
    ours, theirs = changes(0.05, 0.05)(rng, n)
    return sign_test(ours - theirs) <= 1 - LEVEL


def _interval_alone(rng: Random, n: int) -> bool:
    ours, theirs = changes(0.05, 0.05)(rng, n)
    return bootstrap(ours - theirs, seed=int(rng.integers(2**32))).excludes_zero


def _table(how: str) -> Callable[[Random, int], bool]:
    """Whether any of twenty differences that share their prompts, and are none, is told."""

    def holds(rng: Random, n: int) -> bool:
        shared = rng.normal(size=n)
        p = [_told(shared + rng.normal(size=n)) for _ in range(TABLE)]
        return bool((adjusted(p, how) <= 1 - LEVEL).any())

    return holds


def _seen(rng: Random, n: int) -> bool:
    return _told(detectable(1 / sqrt(n), n - 1) + rng.normal(size=n)) <= 1 - LEVEL


TRIALS = (
    Trial(COVERAGE, "bootstrap", "skewed", _mean(skewed, exp(0.5))),
    Trial(COVERAGE, "five subsets", "skewed", _parts, least=100),
    Trial(COVERAGE, "bootstrap", "yes in 0.9", _mean(yes(0.9), 0.9)),
    Trial(COVERAGE, "Wilson", "yes in 0.9", _wilson(0.9)),
    Trial(COVERAGE, "bootstrap", "yes in 0.5", _mean(yes(0.5), 0.5)),
    Trial(COVERAGE, "Wilson", "yes in 0.5", _wilson(0.5)),
    Trial(COVERAGE, "paired bootstrap", "0.05 gained, 0.1 lost", _pairs(0.05, 0.1, by_newcombe=False)),
    Trial(COVERAGE, "Newcombe", "0.05 gained, 0.1 lost", _pairs(0.05, 0.1, by_newcombe=True)),
    Trial(COVERAGE, "paired bootstrap", "none gained, 0.05 lost", _pairs(0.0, 0.05, by_newcombe=False)),
    Trial(COVERAGE, "Newcombe", "none gained, 0.05 lost", _pairs(0.0, 0.05, by_newcombe=True)),
    Trial(COVERAGE, "bootstrap by prompt", "4 images a prompt", _clusters(clustered, 0.0, together=True)),
    Trial(COVERAGE, "bootstrap of images", "4 images a prompt", _clusters(clustered, 0.0, together=False)),
    Trial(COVERAGE, "bootstrap by prompt", "4 images a prompt, yes or no", _clusters(clustered_yes, 0.8, together=True)),
    Trial(COVERAGE, "Wilson by prompt", "4 images a prompt, yes or no", _wilson_clusters),
    Trial(FALSE, "exact test of signs", "0.05 gained, 0.05 lost", _sign),
    Trial(FALSE, "interval without zero", "0.05 gained, 0.05 lost", _interval_alone),
    Trial(FALSE, "Student's t", "skewed", lambda rng, n: _told(skewed(rng, n) - exp(0.5)) <= 1 - LEVEL),
    Trial(FALSE, "Student's t by prompt", "4 images a prompt", lambda rng, n: _told(*clustered(rng, n)) <= 1 - LEVEL),
    Trial(FAMILY, "no adjustment", "20 differences", _table("none")),
    Trial(FAMILY, "Holm", "20 differences", _table("holm")),
    Trial(FAMILY, "Benjamini-Hochberg", "20 differences", _table("bh")),
    Trial(SEEN, "Student's t", "the detectable difference", _seen),
)  # fmt: skip


def rows(runs: int, only: str) -> Iterator[dict[str, object]]:
    """A row for every trial and number of prompts, printed as it comes."""
    for trial in (trial for trial in TRIALS if only in trial.by):
        for n in (n for n in COUNTS if n >= trial.least):
            row = {
                "quantity": trial.quantity, "by": trial.by, "data": trial.data, "n": n,
                "value": trial.measured(n, runs), "nominal": round(NOMINAL[trial.quantity], 2),
                "runs": runs,
            }  # fmt: skip
            print(*row.values(), sep="\t", flush=True)
            yield row


def main() -> None:
    """Count all of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000, help="samples of each; default: 1000")
    parser.add_argument("--out", type=Path, default=CSV)
    parser.add_argument("--only", default="", help="trials by this; what is known of others stays")
    given = parser.parse_args()
    table = pd.DataFrame(rows(given.runs, given.only))
    if given.only and given.out.exists():
        keys = ["quantity", "by", "data", "n"]
        table = pd.concat([pd.read_csv(given.out), table]).drop_duplicates(keys, keep="last")
        places = {(t.quantity, t.by, t.data): place for place, t in enumerate(TRIALS)}
        order = [places.get(key, -1) for key in zip(*(table[k] for k in keys[:3]), strict=True)]
        table = table.assign(order=order).query("order >= 0").sort_values(["order", "n"])
        table = table.drop(columns="order")
    table.to_csv(given.out, index=False)


if __name__ == "__main__":
    main()
