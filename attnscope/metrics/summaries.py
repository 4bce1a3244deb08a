"""From measured images to arms, and which differences to S are larger than their interval.

Measures per image have a 95 % bootstrap interval over prompts; KID has one from disjoint subsets. FID
has a spread only: it is biased, by how much depends on the images, so that neither its value nor a
difference of two is tested.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from attnscope.metrics.intervals import LEVEL, Interval, bootstrap, differs, of_parts, paired
from attnscope.metrics.intervals import over_seeds as spread_over_seeds
from attnscope.metrics.measures import MEASURES, takers
from attnscope.metrics.verdicts import FEWEST, single_best
from attnscope.runs.columns import CELL, FULL, OF_ABLATION, PER_IMAGE, REFERENCE, Comparison

if TYPE_CHECKING:
    from attnscope.metrics.feature_sets import FeatureSet
    from attnscope.metrics.judging import Reference

_PARTS = 5
_OF_SEEDS = (
    *(name for name in CELL if name != "seed"),
    "arm", "trajectory", "gate", "interval", "reused_steps", "measure", "features", "reference",
)  # fmt: skip
"""Columns that arms share that differ by their seed alone."""
_UNTOLD = {"difference": np.nan, "difference_low": np.nan, "difference_high": np.nan}


def summarise(
    images: pd.DataFrame,
    features: Mapping[str, FeatureSet] | None = None,
    reference: Reference | None = None,
    *,
    compared: Comparison = OF_ABLATION,
) -> pd.DataFrame:
    """From images to arms.

    Args:
        images: with a column per measure of single images. The frames of a video are averaged first.
        features: of all images of an arm, by its key and in its order.
        reference: what features are compared with.
        compared: which arms are compared with which.

    Returns:
        A row per arm and measure: the columns of the arm, ``measure``, ``value``, ``low``, ``high``,
        ``n`` (images; prompts where they are averaged over), ``spread`` (what ``low`` and ``high``
        are), ``features`` and ``reference`` (of measures of sets), and, paired with S of the same
        cell, ``difference``, ``difference_low`` and ``difference_high``, which are missing where
        nothing is tested; ``best`` says whether the arm is the single best of its cell by more than
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
            parts = _parts(arms[full]["prompt_id"].to_numpy())
            of_sets = list(_of_sets(sets, full, reference, parts))
        best = _best_of_images(arms)
        for key in about:
            own = [row for of, row in of_sets if of == key]
            if key in arms:
                own += list(_of_images(arms[key], arms[full]))
            own.sort(key=lambda row: list(MEASURES).index(row["measure"]))
            rows += [
                about[key]
                | {"best": best.get(row["measure"]) == key}
                | row
                | (_UNTOLD if key == full else {})
                for row in own
            ]
    return _whole_numbers(pd.DataFrame(rows))


def _of_images(table: pd.DataFrame, full: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Measures of single images: their means over prompts, paired with those of S."""
    for name in [name for name in MEASURES if name in table and table[name].notna().any()]:
        if MEASURES[name].decibels:
            value, difference = _decibels(_by_prompt(table, name)), _unknown()
        else:
            values, baseline = _by_prompt(table, name), _by_prompt(full, name)
            value, difference = bootstrap(values), _tested(values, baseline)
        yield _row(name, value, difference) | {
            "spread": "bootstrap", "features": "", "reference": "",
        }  # fmt: skip


def _best_of_images(arms: Mapping[str, pd.DataFrame]) -> dict[str, str | None]:
    """By measure of single images the arm of a cell that is best by more than chance, by its key."""
    found = {}
    for name in MEASURES:
        tables = {key: t for key, t in arms.items() if name in t and t[name].notna().any()}
        values = {key: _by_prompt(table, name) for key, table in tables.items()}
        if MEASURES[
            name
        ].decibels:  # by its mean squared error, which counts images that are S's, too
            values = {key: -(10 ** (-of_arm / 10)) for key, of_arm in values.items()}
        if values:
            means = {key: (float(np.nanmean(of_arm)), of_arm) for key, of_arm in values.items()}
            found[name] = single_best(name, means, _tested)
    return found


def _tested(values: NDArray[np.float64], baseline: NDArray[np.float64]) -> Interval:
    """The paired difference; its ends are NaN where there are too few pairs to test it."""
    difference = paired(values, baseline)
    return difference if difference.n >= FEWEST else _unknown(difference.value)


def _tested_parts(
    values: tuple[NDArray[np.float64], float], baseline: tuple[NDArray[np.float64], float]
) -> Interval:
    """The difference of two sets' measures, each by its disjoint subsets and as a whole."""
    return of_parts(values[0] - baseline[0], values[1] - baseline[1], len(values[0]))


def _by_prompt(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    values: NDArray[np.float64] = table.groupby("prompt_id")[name].mean().to_numpy(float)
    return values


def _decibels(values: NDArray[np.float64]) -> Interval:
    """Decibels of the squared error over all images: those that are S's to the bit count, too."""
    error = bootstrap(10 ** (-values / 10))
    with np.errstate(divide="ignore"):
        value, high, low = -10 * np.log10([error.value, error.low, error.high])
    return Interval(float(value), float(low), float(high), error.n)


def _unknown(value: float = float("nan")) -> Interval:
    return Interval(value, float("nan"), float("nan"), 0)


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
            difference = of_parts(split[key] - split[full], whole[key] - whole[full], n)
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


def _row(measure: str, value: Interval, difference: Interval) -> dict[str, Any]:
    return {
        "measure": measure,
        "value": value.value,
        "low": value.low,
        "high": value.high,
        "n": value.n,
        "difference": difference.value,
        "difference_low": difference.low,
        "difference_high": difference.high,
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
        rows.append(_row("", value, difference) | dict(zip(keys, values, strict=True)))
    return _whole_numbers(pd.DataFrame(rows))


def larger_than_chance(arms: pd.DataFrame) -> list[str]:
    """Which differences to S are larger than their interval, in words.

    The last line says how many would be if nothing differed: one in twenty.

    Args:
        arms: from :func:`summarise`.
    """
    lines, compared = [], 0
    varying = [name for name in CELL if arms[name].nunique() > 1]
    told_of = arms[~arms["trajectory"].isin([FULL, REFERENCE])]
    for _, group in told_of.groupby("key", sort=False):
        first = group.iloc[0]
        where = ", ".join(f"{name} {first[name]}" for name in varying)
        told: dict[str, list[str]] = {"better": [], "worse": [], "not told apart": []}
        for row in group.to_dict("records"):
            measure = MEASURES[row["measure"]]
            low, high = row["difference_low"], row["difference_high"]
            if np.isnan(low):
                continue
            compared += 1
            if not differs(low, high):
                told["not told apart"].append(measure.label)
                continue
            verdict = "better" if (low > 0) == measure.higher else "worse"
            value, *ends = (f"{x:+{measure.form}}" for x in (row["difference"], low, high))
            told[verdict].append(f"{measure.label} {value} [{', '.join(ends)}]")
        if any(told.values()):
            lines.append(f"{first['arm']}{f' ({where})' if where else ''} against S")
        lines += [f"  {verdict}: {', '.join(names)}" for verdict, names in told.items() if names]
    if compared:
        chance = (1 - LEVEL) * compared
        lines.append(f"of {compared} differences chance alone would put {chance:.0f} beyond theirs")
    return lines
