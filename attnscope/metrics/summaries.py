"""From measured images to arms, and which differences to S are larger than their interval.

Measures per image have a 95 % interval over prompts, Wilson's of what is yes or no and the bootstrap's
of all else; KID has one from disjoint subsets. FID has a spread only: it is biased, by how much depends
on the images, so that neither its value nor a difference of two is tested.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from attnscope.metrics import comparing
from attnscope.metrics.adjusting import with_adjusted
from attnscope.metrics.clusters import by_image, clusters_of, prompts_of
from attnscope.metrics.comparing import Difference, compared_parts
from attnscope.metrics.intervals import Interval, bootstrap, of_parts
from attnscope.metrics.intervals import over_seeds as spread_over_seeds
from attnscope.metrics.measures import MEASURES, takers
from attnscope.metrics.proportions import is_share, share
from attnscope.metrics.verdicts import FEWEST, single_best
from attnscope.runs.columns import CELL, OF_ABLATION, PER_IMAGE, REFERENCE, Comparison

if TYPE_CHECKING:
    from attnscope.metrics.feature_sets import FeatureSet
    from attnscope.metrics.judging import Reference

_PARTS = 5
_OF_SEEDS = (
    *(name for name in CELL if name != "seed"),
    "arm", "trajectory", "gate", "interval", "reused_steps", "measure", "features", "reference",
)  # fmt: skip
"""Columns that arms share that differ by their seed alone."""
DIFFERENCE = ("difference", "difference_low", "difference_high", "p", "detectable", "needed")
"""Columns of the difference to S."""
FAMILY = ("p_holm", "p_bh")
"""Its p-value, adjusted over all of the table that were tested."""


def summarise(
    images: pd.DataFrame,
    features: Mapping[str, FeatureSet] | None = None,
    reference: Reference | None = None,
    *,
    compared: Comparison = OF_ABLATION,
) -> pd.DataFrame:
    """From images to arms.

    Args:
        images: with a column per measure of single images. The frames of a video are averaged first;
            images of one prompt (the same ``text``) are resampled together.
        features: of all images of an arm, by its key and in its order.
        reference: what features are compared with.
        compared: which arms are compared with which.

    Returns:
        A row per arm and measure: the columns of the arm, ``measure``, ``value``, ``low``, ``high``,
        ``n`` (images; a video is one), ``prompts`` that these are of, ``spread`` (what ``low`` and
        ``high`` are), ``features`` and ``reference`` (of measures of sets), and, paired with S of the
        same cell, ``difference``, ``difference_low``, ``difference_high``, ``p`` and, adjusted over
        all differences of the table, ``p_holm`` and ``p_bh``
        (:mod:`attnscope.metrics.adjusting`), ``detectable`` and ``needed``
        (:mod:`attnscope.metrics.power`), which are missing where nothing is tested; ``best`` says whether the arm is the single best of its cell by more than
        chance (:func:`attnscope.metrics.verdicts.single_best`).
    """
    columns = [name for name in images if name not in PER_IMAGE and name not in MEASURES]
    rows: list[dict[str, Any]] = []
    for _, cell in images.groupby(list(compared.cell), sort=False):
        arms = {str(key): table for key, table in cell.groupby("key", sort=False)}
        about = {key: dict(table[columns].iloc[0]) for key, table in arms.items()}
        (full,) = cell.loc[compared.is_baseline(cell), "key"].unique()
        of_sets = []
        if features and reference is not None:
            sets = {key: features[key] for key in arms}
            if reference.others is not None:
                key = f"{full} {REFERENCE}"
                sets[key] = reference.others
                names = {"arm": REFERENCE, "key": key, compared.column: REFERENCE}
                about[key] = about[full] | names
            parts = _parts(np.asarray(prompts_of(arms[full]), dtype=np.int64))
            of_sets = list(_of_sets(sets, full, reference, parts))
        best = _best_of_images(arms)
        for key in about:
            own = [row for name, row in of_sets if name == key]
            if key in arms:
                own += list(_of_images(arms[key], arms[full]))
            own.sort(key=lambda row: list(MEASURES).index(row["measure"]))
            rows += [
                about[key]
                | {"best": best.get(row["measure"]) == key}
                | row
                | (dict.fromkeys(DIFFERENCE, np.nan) if key == full else {})
                for row in own
            ]
    table = pd.DataFrame(rows)
    return _whole_numbers(with_adjusted(table) if len(table) else table)


def _of_images(table: pd.DataFrame, full: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Measures of single images: their means over prompts, paired with those of S."""
    prompts = _prompts(table)
    for name in [name for name in MEASURES if name in table and table[name].notna().any()]:
        values, spread = _values(table, name), "bootstrap"
        if MEASURES[name].decibels:
            value, difference = _decibels(values, prompts), _unknown()
        else:
            value = (share if MEASURES[name].share else bootstrap)(values, clusters=prompts)
            difference = _tested(values, _values(full, name), prompts)
        if MEASURES[name].share and is_share(values[~np.isnan(values)]):
            spread = "Wilson"
        yield _row(name, value, difference) | {
            "spread": spread, "features": "", "reference": "",
        }  # fmt: skip


def _best_of_images(arms: Mapping[str, pd.DataFrame]) -> dict[str, str | None]:
    """By measure of single images the arm of a cell that is best by more than chance, by its key."""
    found = {}
    prompts = _prompts(next(iter(arms.values())))
    for name in MEASURES:
        tables = {key: t for key, t in arms.items() if name in t and t[name].notna().any()}
        values = {key: _values(table, name) for key, table in tables.items()}
        # By its mean squared error, which counts images that are S's, too.
        if MEASURES[name].decibels:
            values = {key: -(10 ** (-of_arm / 10)) for key, of_arm in values.items()}
        if values:
            means = {key: (float(np.nanmean(of_arm)), of_arm) for key, of_arm in values.items()}
            found[name] = single_best(name, means, partial(_tested, prompts=prompts))
    return found


def _values(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    return np.asarray(by_image(table, name), dtype=np.float64)


def _prompts(table: pd.DataFrame) -> NDArray[np.int64]:
    """Of every image its prompt, in the order of :func:`_values`."""
    return np.asarray(clusters_of(table), dtype=np.int64)


def _tested(
    values: NDArray[np.float64], baseline: NDArray[np.float64], prompts: NDArray[np.int64]
) -> Difference:
    """The paired difference; its ends are NaN where there are too few prompts to test it."""
    difference = comparing.compared(values, baseline, clusters=prompts)
    return difference if difference.prompts >= FEWEST else _unknown(difference.value)


def _tested_parts(
    values: tuple[NDArray[np.float64], float], baseline: tuple[NDArray[np.float64], float]
) -> Interval:
    """The difference of two sets' measures, each by its disjoint subsets and as a whole."""
    return of_parts(values[0] - baseline[0], values[1] - baseline[1], len(values[0]))


def _decibels(values: NDArray[np.float64], prompts: NDArray[np.int64]) -> Interval:
    """Decibels of the squared error over all images: those that are S's to the bit count, too."""
    error = bootstrap(10 ** (-values / 10), clusters=prompts)
    with np.errstate(divide="ignore"):
        value, high, low = -10 * np.log10([error.value, error.low, error.high])
    return Interval(float(value), float(low), float(high), error.n, clusters=error.clusters)


def _unknown(value: float = float("nan")) -> Difference:
    return Difference(value, float("nan"), float("nan"), 0)


def _of_sets(
    sets: Mapping[str, FeatureSet],
    full: str,
    reference: Reference,
    parts: Sequence[NDArray[np.int64]],
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The measures of every set, by key.

    Args:
        sets: by key, all of the same length.
        full: key of S.
        reference: what they are compared with.
        parts: places of disjoint subsets, the same for all.
    """
    for name, whole, split in _taken_of_sets(sets, reference, parts):
        biased, best = MEASURES[name].biased, None
        if not biased:
            values = {
                key: (whole[key], (split[key], whole[key]))
                for key in sets
                if key != f"{full} {REFERENCE}"
            }
            best = single_best(name, values, _tested_parts)
        for key, made in sets.items():
            n = len(made)
            value = of_parts(split[key], whole[key], n)
            difference = compared_parts(split[key], split[full], whole[key] - whole[full], n)
            how = f"{len(parts)} disjoint subsets" if parts else "none: too few"
            yield key, _row(name, value, _unknown(difference.value) if biased else difference) | {
                "spread": f"{how}, biased" if biased and parts else how,
                "features": f"{made.name}, {made.protocol}",
                "reference": reference.source,
                "best": key == best,
            }  # fmt: skip


def _taken_of_sets(
    sets: Mapping[str, FeatureSet], reference: Reference, parts: Sequence[NDArray[np.int64]]
) -> Iterator[tuple[str, dict[str, float], dict[str, NDArray[np.float64]]]]:
    """The measures that the references do for: of every set as a whole, and of its parts ``[parts]``."""
    target = reference.features
    for take in takers("sets"):
        whole = {key: take(made, target) for key, made in sets.items()}
        split = {key: [take(made[part], target) for part in parts] for key, made in sets.items()}
        for name in next(iter(whole.values())):
            yield (
                name,
                {key: float(found[name]) for key, found in whole.items()},
                {key: np.array([part[name] for part in found]) for key, found in split.items()},
            )


def _parts(prompts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Places of disjoint subsets of equal numbers of prompts; none where they would be too small."""
    unique = np.unique(prompts)
    count = min(_PARTS, len(unique) // FEWEST)
    if count < 2:
        return []
    shuffled = np.random.default_rng(0).permutation(unique)[: len(unique) // count * count]
    return [np.flatnonzero(np.isin(prompts, part)) for part in np.split(shuffled, count)]


def _whole_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """The table with gates and intervals, where it has them, as whole numbers that may be missing."""
    return table.astype({name: "Int64" for name in ("gate", "interval") if name in table})


def _row(measure: str, value: Interval, difference: Difference) -> dict[str, Any]:
    told = (
        difference.value, difference.low, difference.high,
        difference.p, difference.detectable, difference.needed,
    )  # fmt: skip
    return {
        "measure": measure,
        "value": value.value,
        "low": value.low,
        "high": value.high,
        "n": value.n,
        "prompts": value.prompts,
        **dict(zip(DIFFERENCE, told, strict=True)),
    }


def at_gate(arms: pd.DataFrame, noise: pd.DataFrame) -> pd.DataFrame:
    """The table of arms with ``log_snr``: of x_t at the first step from the gate on.

    Args:
        arms: from :func:`summarise`.
        noise: from :func:`attnscope.analyses.ablation.tables.noise_of`; may be empty.

    Returns:
        With NaN where there is no gate, or no step after it.
    """
    if noise.empty:
        return arms.assign(log_snr=np.nan)
    levels = noise.drop_duplicates([*CELL, "step"])[[*CELL, "step", "log_snr"]]
    levels = levels.rename(columns={"step": "gate"}).astype({"gate": "Int64"})
    return arms.merge(levels, on=[*CELL, "gate"], how="left")


def over_seeds(arms: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation of every measure over seeds (the paper's Table A7).

    Args:
        arms: from :func:`summarise`.

    Returns:
        The columns of the arm without ``seed`` and ``key``, ``measure``, ``value``, ``low`` and
        ``high`` (one standard deviation to each side), ``n`` (seeds), ``features``, ``reference``; the
        same of the difference to S. Empty for one seed.
    """
    if arms["seed"].nunique() < 2:
        return arms.head(0)
    made = arms[arms["trajectory"] != REFERENCE]
    keys = [name for name in _OF_SEEDS if name in made]
    rows = []
    for values, group in made.groupby(keys, sort=False, dropna=False):
        value = spread_over_seeds(list(group["value"]))
        difference = spread_over_seeds(list(group["difference"]))
        rows.append(
            {
                **dict(zip(keys, values, strict=True)),
                "value": value.value, "low": value.low, "high": value.high, "n": value.n,
                "difference": difference.value,
                "difference_low": difference.low,
                "difference_high": difference.high,
            }
        )  # fmt: skip
    return _whole_numbers(pd.DataFrame(rows))


def over_images(images: pd.DataFrame, *, compared: Comparison = OF_ABLATION) -> pd.DataFrame:
    """Arms over all seeds at once, images of one prompt resampled together.

    Where :func:`over_seeds` says how much seeds differ, this tests an arm on all images there are:
    three seeds of 100 prompts are 300 images, but not 300 prompts.

    Args:
        images: with ``seed``, a column per measure, and the columns of their arms.
        compared: which arms are compared with which; the seed is none of what they have to share.

    Returns:
        As of :func:`summarise`, without ``seed`` and without measures of sets. Empty for one seed.
    """
    if "seed" not in images or images["seed"].nunique() < 2:
        return images.head(0)
    cell = tuple(name for name in compared.cell if name != "seed")
    names = [*cell, *(name for name in ("arm", "interval") if name in images)]
    keys = images.groupby(names, sort=False, dropna=False, observed=True).ngroup().astype(str)
    together = Comparison(cell, compared.column, compared.baseline)
    return summarise(images.assign(key=keys), compared=together).drop(columns=["seed", "key"])
