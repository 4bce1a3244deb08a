"""What the paper claims, tested on each model in the box: ``python benchmarks/claims.py shapes shapes-dit``.

Reads the runs that ``findings.py`` left and writes ``docs/findings/claims.csv``: a row per claim and model,
with the estimate, its 95 % interval by bootstrap over captions, and a verdict. A claim holds where
the whole interval is on its side, does not where the whole interval is on the other, and cannot be told
otherwise. ``MODEL/settling.csv`` and ``MODEL/curves.csv`` tell how outputs settle, ``MODEL/decided.csv``
when what is decided. The paper says "hardly" and "comparable" where this says less than :data:`MARGIN`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from attnscope.analyses.convergence.controls import GATE
from attnscope.metrics.intervals import Interval, bootstrap
from attnscope.runs.columns import READ

FINDINGS = Path(__file__).parents[1] / "docs" / "findings"
MARGIN = 0.05
"""Part of the captions that may be lost where the paper says that hardly anything is."""
NATS = 0.5
"""Log-SNR at which two noise schedules may cross and still be said to cross at the same."""
_OTHERS = ("self", "feed-forward", "block")
_RESAMPLES = 2000


@dataclass(frozen=True)
class Claim:
    """A claim of the paper: that a value lies in a range.

    Args:
        name: short, as it stands in the table.
        source: where the paper makes it.
        measured: what the estimate is.
        study: the folder of the run that it is estimated from.
        estimate: from that folder.
        above: the value is larger.
        below: the value is smaller.
    """

    name: str
    source: str
    measured: str
    study: str
    estimate: Callable[[Path], Interval]
    above: float = -np.inf
    below: float = np.inf

    def verdict(self, found: Interval) -> str:
        """Holds if the whole interval is in the range, does not if all of it is outside."""
        if np.isnan(found.low) or np.isnan(found.high):
            return "cannot tell"
        if self.above < found.low and found.high < self.below:
            return "holds"
        outside = found.high < self.above or self.below < found.low
        return "does not" if outside else "cannot tell"


def difference(value: str, one: str, other: str) -> Callable[[Path], Interval]:
    """The mean difference of a value between two trajectories of an ablation, image by image."""

    def estimate(folder: Path) -> Interval:
        table = pd.read_parquet(folder / "images.parquet")
        wide = table.pivot(index="prompt_id", columns="trajectory", values=value)
        return bootstrap((wide[one] - wide[other]).to_numpy())

    return estimate


def distances(folder: Path, arm: str = "trained") -> pd.DataFrame:
    """How far outputs are from what they will be at the last step: a row per caption and kind, a column a step.

    Of the branch with the text; the mean over sites is taken first.
    """
    table = pd.read_parquet(folder / "controls.parquet")
    mine = (table["arm"] == arm) & (table["measure"] == "final") & (table["branch"] == "cond")
    keys = ["prompt_id", "kind", "step"]
    return table[mine].groupby(keys, observed=True)["relative"].mean().unstack("step")


def gate_of(distances: pd.DataFrame) -> int:
    """The paper's gate; the last step is not compared with itself, so it has no column."""
    return round(GATE * (int(distances.columns.max()) + 2))


def left_to_go(distances: pd.DataFrame) -> pd.DataFrame:
    """What part of its way an output has still to go at the gate: a row per caption, a column per kind."""
    return (distances[gate_of(distances)] / distances[distances.columns.min()]).unstack("kind")


def curves(folder: Path) -> pd.DataFrame:
    """Figure 2 in numbers: mean and sd over captions of the change from step to step, by kind and step."""
    table = pd.read_parquet(folder / "records.parquet")
    table = table[table["kind"].isin(["cross", "self"]) & (table["step"] > 0)]
    keys = ["prompt_id", "kind", "step"]
    means = table.groupby(keys, observed=True)[["l2", "relative"]].mean()
    over = means.groupby(["kind", "step"], observed=True)
    return over.mean().join(over.std().add_suffix("_sd")).reset_index()


def settling(folder: Path) -> pd.DataFrame:
    """How settled every kind is at the gate: its distance and the part of its way that is left, mean and sd."""
    rows = []
    for arm in ("trained", "random-replayed"):
        far = distances(folder, arm)
        left, gate = left_to_go(far), far[gate_of(far)].unstack("kind")
        for kind in left.columns:
            told = {"left": left[kind], "gate": gate[kind]}
            values = {
                name: value
                for column, of in told.items()
                for name, value in ((column, of.mean()), (f"{column}_sd", of.std()))
            }
            ahead = int((left["cross"] < left[kind]).sum())
            rows.append({"arm": arm, "kind": kind, **values, "cross_ahead": ahead, "n": len(left)})
    return pd.DataFrame(rows)


def ahead_of(others: tuple[str, ...]) -> Callable[[Path], Interval]:
    """How much less cross-attention has still to go than the nearest of others."""

    def estimate(folder: Path) -> Interval:
        left = left_to_go(distances(folder))
        return bootstrap((left["cross"] - left[list(others)].min(axis=1)).to_numpy())

    return estimate


def crossings(folder: Path, over: str, value: str = "all") -> Iterator[np.ndarray]:
    """Where text before the gate is worth as much as text after it, for each noise scale.

    Args:
        folder: of the ablation.
        over: ``gate``, in steps, or ``log_snr``.
        value: what it is worth it for.

    Yields:
        The value for all captions, then one for every resampling of them: the same ones for all scales;
        NaN where the curves do not cross.
    """
    table = pd.read_parquet(folder / "images.parquet")
    arms = pd.read_csv(folder / "arms.csv")
    table = table[table["trajectory"].isin(["S^F", "S^L"])]
    captions = sorted(table["prompt_id"].unique())
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(captions), size=(_RESAMPLES, len(captions)))
    samples = np.vstack([np.arange(len(captions)), drawn])
    for _, scaled in table.groupby("noise_scale"):
        keys = scaled.drop_duplicates("key")
        known = arms.drop_duplicates("key").set_index("key")[over]
        wide = scaled.pivot_table(index="prompt_id", columns=["trajectory", "gate"], values=value)
        gates = sorted(keys["gate"].unique())
        gap = (wide["S^F"][gates] - wide["S^L"][gates]).reindex(captions).to_numpy()
        first = keys[keys["trajectory"] == "S^F"].set_index("gate")["key"]
        places = np.array([known[first[gate]] for gate in gates])
        yield np.array([_crossing(places, np.nanmean(gap[rows], axis=0)) for rows in samples])


def _crossing(places: np.ndarray, gaps: np.ndarray) -> float:
    """Where gaps first rise through zero."""
    for i in range(1, len(gaps)):
        if gaps[i - 1] < 0 <= gaps[i]:
            part = -gaps[i - 1] / (gaps[i] - gaps[i - 1])
            return float(places[i - 1] + part * (places[i] - places[i - 1]))
    return float("nan")


def decided(folder: Path) -> pd.DataFrame:
    """At which log-SNR what the reader sees is decided: a row per attribute and noise scale, with its interval.

    Not the background: text in the first steps alone settles it, and text long after them changes it.
    """
    scales = sorted(pd.read_parquet(folder / "images.parquet")["noise_scale"].unique())
    rows = []
    for value in (name for name in READ if name != "background"):
        for scale, found in zip(scales, crossings(folder, "log_snr", value), strict=True):
            low, high = _interval(found[1:])
            rows.append({
                "value": value, "noise_scale": scale, "log_snr": found[0], "low": low, "high": high,
            })  # fmt: skip
    return pd.DataFrame(rows)


def _interval(resampled: np.ndarray) -> tuple[float, float]:
    """95 %; a resampling without a value lies beyond either end, and may leave it unknown."""
    ends = (
        float(np.quantile(np.nan_to_num(resampled, nan=lost), part, method="nearest"))
        for lost, part in ((-np.inf, 0.025), (np.inf, 0.975))
    )
    low, high = (end if np.isfinite(end) else float("nan") for end in ends)
    return low, high


def apart(over: str) -> Callable[[Path], Interval]:
    """How far apart two noise schedules cross."""

    def estimate(folder: Path) -> Interval:
        one, other = crossings(folder, over)
        value, *resampled = one - other
        n = pd.read_parquet(folder / "images.parquet")["prompt_id"].nunique()
        return Interval(float(value), *_interval(np.array(resampled)), n)

    return estimate


CLAIMS = (
    Claim("text after the gate is worth less than 0.05", "section 3.2: S^F is like S",
          "captions drawn as asked, S^F minus S", "cross",
          difference("all", "S^F", "S"), above=-MARGIN),
    Claim("text before the gate matters most", "section 3.2: S^L is far from S",
          "captions drawn as asked, S^F minus S^L", "cross",
          difference("all", "S^F", "S^L"), above=MARGIN),
    Claim("cross-attention settles before self-attention", "section 3.1, Figure 2",
          "part of the way left at the gate, cross minus self", "convergence",
          ahead_of(("self",)), below=0.0),
    Claim("cross-attention settles before everything else", "section 3.1, Figure 2",
          "part of the way left at the gate, cross minus the nearest of self, feed-forward, block",
          "convergence", ahead_of(_OTHERS), below=0.0),
    Claim("self-attention matters late, not early", "appendix B, Table A5",
          "SSIM to S, reused early (S^L) minus reused late (S^F)", "self",
          difference("ssim", "S^L", "S^F"), above=0.0),
    Claim("T-GATE loses less than 0.05", "Tables 1 to 3",
          "captions drawn as asked, T-GATE minus S", "self",
          difference("all", "S^L+gate", "S"), above=-MARGIN),
    Claim("early reuse adds less than 0.05 to the gate", "Table A5",
          "captions drawn as asked, T-GATE minus its gate alone", "self",
          difference("all", "S^L+gate", "gate"), above=-MARGIN),
    Claim("the gate is a step", "m is given in steps, everywhere",
          "steps between the gates at which two noise schedules cross", "gates",
          apart("gate"), above=-1.0, below=1.0),
    Claim("the gate is a noise level", "not claimed by the paper",
          "nats of log-SNR between the same", "gates",
          apart("log_snr"), above=-NATS, below=NATS),
)  # fmt: skip


TABLES = (
    ("convergence", "settling", settling),
    ("convergence", "curves", curves),
    ("gates", "decided", decided),
)
"""What the documents tell beside the claims: the study, the file, what makes it."""


def is_finished(folder: Path) -> bool:
    """Whether a run has what is estimated from."""
    return any((folder / name).exists() for name in ("images.parquet", "controls.parquet"))


def steps_of(folder: Path) -> int:
    """How many steps a run has."""
    name = "controls" if (folder / "controls.parquet").exists() else "images"
    table = pd.read_parquet(folder / f"{name}.parquet")
    return int(table["step"].max()) + 1 if name == "controls" else int(table["steps"].iloc[0])


def main() -> None:
    """Test every claim on every model whose runs are there; what was found of others stays."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--runs", type=Path, default=Path("runs/findings"))
    given = parser.parse_args()
    rows = []
    for claim, model in product(CLAIMS, given.models):
        folder = given.runs / model / claim.study
        if not is_finished(folder):
            print(f"{folder} holds no finished run: nothing is said of {claim.name!r} on {model}")
            continue
        found = claim.estimate(folder)
        rows.append({
            "claim": claim.name, "source": claim.source, "measured": claim.measured, "model": model,
            "steps": steps_of(folder), "value": found.value, "low": found.low, "high": found.high,
            "n": found.n, "verdict": claim.verdict(found),
        })  # fmt: skip
    for model, (study, name, of) in product(given.models, TABLES):
        folder, to = given.runs / model / study, FINDINGS / model
        if is_finished(folder):
            to.mkdir(parents=True, exist_ok=True)
            of(folder).to_csv(to / f"{name}.csv", index=False)
    if not rows:
        sys.exit("nothing was tested: run benchmarks/findings.py first, or name its --runs")
    table = pd.DataFrame(rows)
    print(table.drop(columns=["source", "measured"]).to_string(index=False))
    path = FINDINGS / "claims.csv"
    if path.exists():
        known = pd.read_csv(path)
        table = pd.concat([table, known[known["claim"].isin([c.name for c in CLAIMS])]])
        table = table.drop_duplicates(["claim", "model"])
    order = {claim.name: number for number, claim in enumerate(CLAIMS)}
    table["order"] = table["claim"].map(order)
    table.sort_values(["order", "model"]).drop(columns="order").to_csv(path, index=False)


if __name__ == "__main__":
    main()
