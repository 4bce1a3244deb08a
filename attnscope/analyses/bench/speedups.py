"""From rounds of a benchmark to speed-ups: of each arm, and of each part of the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from attnscope.analyses.bench.arms import BASELINE, Contender
from attnscope.cost.plans import Cost
from attnscope.plans.parts import SAVINGS
from attnscope.runs.columns import arm_shown

ALL = "all together"
"""Of an attribution: the whole plan."""


def by_arm(
    repetitions: pd.DataFrame, arms: Sequence[Contender], cost: Cost, *, bytes_each: int = 4
) -> pd.DataFrame:
    """The speed-up of every arm, from the repetitions of all rounds.

    Args:
        repetitions: of all rounds of :func:`attnscope.analyses.bench.rounds.measure_rounds`.
        arms: all that were wanted.
        cost: of the plan under test.
        bytes_each: of the numbers that a denoiser returns.

    Returns:
        A row per arm: ``arm``, ``package`` (of a rival, with its version), ``seconds`` per image
        (median, with the range ``seconds_low`` to ``seconds_high``), ``speedup`` (baseline over arm
        within a repetition: median, with the range ``speedup_low`` to ``speedup_high``), ``ideal``,
        ``of_ideal``, ``macs`` and ``paper_macs`` (multiply-accumulates of an image, all of them and by the
        paper's convention, where they are known), ``peak_mb`` of memory, ``extra_mb`` (of it, against the baseline's of the same
        repetition; medians), ``kept_mb`` (what the plan keeps for reuse, from shapes), ``note`` (a rival's settings, or why it did not run).
    """
    without = repetitions[repetitions["reason"] != ""].groupby("arm")["reason"]
    reasons, failures = without.first(), without.size()
    rounds = repetitions["repetition"].nunique()
    seconds = repetitions.pivot(index="repetition", columns="arm", values="seconds")
    peaks = repetitions.pivot(index="repetition", columns="arm", values="peak_mb")
    rows = []
    for arm in arms:
        rival = arm.rival
        row: dict[str, Any] = {"arm": arm.name, "package": ""}
        if rival is not None:
            row["package"] = f"{rival.package or 'diffusers'} {rival.version() or ''}".strip()
        ran = failures.get(arm.name, 0) < rounds
        if ran:
            gained = seconds[BASELINE] / seconds[arm.name]
            row |= ranged("seconds", seconds[arm.name]) | ranged("speedup", gained)
            row["peak_mb"] = peaks[arm.name].median()
            row["extra_mb"] = (peaks[arm.name] - peaks[BASELINE]).median()
            row["ideal"] = arm.ideal(cost)
            row["of_ideal"] = row["speedup"] / row["ideal"]
            own = arm.cost(cost)
            if own is not None:
                row["macs"] = own.macs() / own.batch
                row["paper_macs"] = own.macs("paper") / own.batch
            if own is not None and rival is None:
                row["kept_mb"] = max(own.kept) * bytes_each / 2**20
        note = "" if rival is None else rival.about
        if arm.name in reasons:
            failed = f"failed in {failures[arm.name]} of {rounds} rounds: {reasons[arm.name]}"
            note = failed if ran else str(reasons[arm.name])
        rows.append(row | {"note": note})
    return pd.DataFrame(rows).reindex(
        columns=["arm", "package", "seconds", "seconds_low", "seconds_high", "speedup", "speedup_low",
                 "speedup_high", "ideal", "of_ideal", "macs", "paper_macs", "peak_mb", "extra_mb",
                 "kept_mb", "note"]
    )  # fmt: skip


def ranged(name: str, values: pd.Series[float]) -> dict[str, float]:
    """The median of rounds under a name, and their range beside it."""
    return {name: values.median(), f"{name}_low": values.min(), f"{name}_high": values.max()}


def as_latex(arms: pd.DataFrame) -> str:
    """The table of arms for a paper, with ``booktabs``; those that did not run are left out.

    Args:
        arms: from :func:`by_arm`.
    """
    ran = arms.dropna(subset=["seconds"])
    shown = pd.DataFrame(
        {
            "Arm": ran["arm"].map(arm_shown),
            "s per image": [_with_range(row, "seconds", ".3g") for row in ran.to_dict("records")],
            "Speed-up": [_with_range(row, "speedup", ".3f") for row in ran.to_dict("records")],
            "Ideal": ran["ideal"],
            "Of the ideal": ran["of_ideal"],
            "Kept (MB)": ran["kept_mb"],
            "Extra memory (MB)": ran["extra_mb"].round(1) + 0.0,  # no -0.0
        }
    )
    styler = shown.style.hide(axis="index").format(escape="latex")
    styler = styler.format("{:.3f}", subset=["Ideal", "Of the ideal"], na_rep="--")
    styler = styler.format("{:.1f}", subset=["Kept (MB)", "Extra memory (MB)"], na_rep="--")
    text: str = styler.to_latex(hrules=True, column_format="lllrrrr")
    return text


def _with_range(row: Mapping[Any, Any], name: str, form: str) -> str:
    value, low, high = (f"{row[key]:{form}}" for key in (name, f"{name}_low", f"{name}_high"))
    return f"{value} ({low} to {high})"


def attribution(repetitions: pd.DataFrame, arms: Sequence[Contender], cost: Cost) -> pd.DataFrame:
    """What each part of the plan saves alone, and all of them together, in time and in MACs.

    Alone, a reuse saves on both branches throughout; together, part of that is dropped with the
    branch anyhow. So the parts come to more than the whole.

    Args:
        repetitions: of all rounds of :func:`attnscope.analyses.bench.rounds.measure_rounds`.
        arms: all that were wanted.
        cost: of the plan under test.

    Returns:
        Columns ``basis`` (``time`` or ``MACs``), ``saving`` (the last is :data:`ALL`), ``saved`` (part of
        the baseline; of time the median of all repetitions, with the range ``low`` to ``high``).
        Empty if the plan has no parts.
    """
    seconds = repetitions.pivot(index="repetition", columns="arm", values="seconds")
    parts = [arm for arm in arms if arm.part is not None]
    whole = Contender(str(cost.trajectory.plan), cost.trajectory.plan)
    rows = []
    for basis in ("time", "MACs"):
        for arm in [*parts, whole] if parts else []:
            saving = SAVINGS[arm.part] if arm.part else ALL
            if basis == "time":
                saved = 1 - seconds[arm.name] / seconds[BASELINE]
                value, low, high = saved.median(), saved.min(), saved.max()
            else:
                value = low = high = 1 - 1 / arm.ideal(cost)
            rows.append((basis, saving, value, low, high))
    return pd.DataFrame(rows, columns=["basis", "saving", "saved", "low", "high"])
