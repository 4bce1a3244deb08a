"""What the paper claims, tested on each model in the box: ``python benchmarks/claims.py shapes shapes-dit``.

Reads the runs that ``findings.py`` left and writes ``docs/findings/claims.csv`` (and, as ``MODEL/settling.csv``
and ``MODEL/curves.csv``, how outputs settle): a row per claim and model, with the estimate, its 95 % interval by bootstrap over captions, and a verdict. A claim holds where
the whole interval is on its side, does not where the whole interval is on the other, and cannot be told
otherwise. What is claimed to cost nothing may cost :data:`MARGIN`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from attnscope.metrics.intervals import Interval, bootstrap

ROOT = Path(__file__).parents[1]
MARGIN = 0.05
"""Part of the captions that may be lost where the paper says that nothing is."""
NATS = 0.5
"""Log-SNR at which two noise schedules may cross and still be said to cross at the same."""
_OTHERS = ("self", "feed-forward", "block")
_RESAMPLES = 2000


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Args:
        name: short, as it stands in the table.
        source: where the paper makes it.
        measured: what the estimate is.
        holds: the least value, or the largest one where ``below``, with which it holds.
        below: whether it claims that a value is small.
        estimate: from a model's folder of runs.
    """

    name: str
    source: str
    measured: str
    holds: float
    estimate: Callable[[Path], Interval]
    below: bool = False

    def verdict(self, found: Interval) -> str:
        """Holds, does not, or cannot tell."""
        sign = -1 if self.below else 1
        low, high = sorted((sign * (found.low - self.holds), sign * (found.high - self.holds)))
        return "holds" if low > 0 else "does not" if high < 0 else "cannot tell"


def images(folder: Path, study: str, value: str) -> pd.DataFrame:
    """A value of every image of an ablation: a row per caption, a column per trajectory and gate."""
    table = pd.read_parquet(folder / study / "images.parquet")
    return table.pivot_table(index="prompt_id", columns="trajectory", values=value, observed=True)


def difference(study: str, value: str, one: str, other: str) -> Callable[[Path], Interval]:
    """The mean difference of a value between two trajectories, image by image."""

    def estimate(folder: Path) -> Interval:
        table = images(folder, study, value)
        return bootstrap((table[one] - table[other]).to_numpy())

    return estimate


def distances(folder: Path, arm: str = "trained") -> pd.DataFrame:
    """How far outputs are from what they will be at the last step: a row per caption and kind, a column a step.

    Of the branch with the text; the mean over sites is taken first.
    """
    table = pd.read_parquet(folder / "convergence" / "controls.parquet")
    mine = (table["arm"] == arm) & (table["measure"] == "final") & (table["branch"] == "cond")
    keys = ["prompt_id", "kind", "step"]
    return table[mine].groupby(keys, observed=True)["relative"].mean().unstack("step")


def gate_of(distances: pd.DataFrame) -> int:
    """The paper's gate, after 40 % of the steps."""
    return round(
        0.4 * (int(distances.columns.max()) + 2)
    )  # the last step is not compared with itself


def left_to_go(distances: pd.DataFrame) -> pd.DataFrame:
    """What part of its way an output has still to go at the gate: a row per caption, a column per kind."""
    return (distances[gate_of(distances)] / distances[distances.columns.min()]).unstack("kind")


def curves(folder: Path) -> pd.DataFrame:
    """Figure 2 in numbers: mean and sd over captions of the change from step to step, by kind and step."""
    table = pd.read_parquet(folder / "convergence" / "records.parquet")
    table = table[table["kind"].isin(["cross", "self"]) & (table["step"] > 0)]
    keys = ["prompt_id", "kind", "step"]
    means = table.groupby(keys, observed=True)[["l2", "relative"]].mean()
    over = means.groupby(["kind", "step"], observed=True)
    return over.mean().join(over.std(), rsuffix="_sd").reset_index()


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


def crossings(folder: Path, over: str) -> Iterator[np.ndarray]:
    """Where text before the gate is worth as much as text after it, for each noise scale.

    Args:
        folder: of a model's runs.
        over: ``gate``, in steps, or ``log_snr``.

    Yields:
        The value for all captions, then one for every resampling of them: the same ones for all scales;
        NaN where the curves do not cross.
    """
    table = pd.read_parquet(folder / "gates" / "images.parquet")
    arms = pd.read_csv(folder / "gates" / "arms.csv")
    table = table[table["trajectory"].isin(["S^F", "S^L"])]
    captions = sorted(table["prompt_id"].unique())
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(captions), size=(_RESAMPLES, len(captions)))
    samples = np.vstack([np.arange(len(captions)), drawn])
    for _, scaled in table.groupby("noise_scale"):
        keys = scaled.drop_duplicates("key")
        known = arms.drop_duplicates("key").set_index("key")[over]
        wide = scaled.pivot_table(index="prompt_id", columns=["trajectory", "gate"], values="all")
        gates = sorted(keys["gate"].unique())
        gap = (wide["S^F"][gates] - wide["S^L"][gates]).loc[captions].to_numpy()
        first = keys[keys["trajectory"] == "S^F"].set_index("gate")["key"]
        places = np.array([known[first[gate]] for gate in gates])
        yield np.array([_crossing(places, gap[rows].mean(axis=0)) for rows in samples])


def _crossing(places: np.ndarray, gaps: np.ndarray) -> float:
    """Where gaps first rise through zero."""
    for i in range(1, len(gaps)):
        if gaps[i - 1] < 0 <= gaps[i]:
            part = -gaps[i - 1] / (gaps[i] - gaps[i - 1])
            return float(places[i - 1] + part * (places[i] - places[i - 1]))
    return float("nan")


def apart(over: str) -> Callable[[Path], Interval]:
    """How far apart two noise schedules cross; not known where one in twenty resamplings does not."""

    def estimate(folder: Path) -> Interval:
        one, other = crossings(folder, over)
        distances = np.abs(one - other)
        n = len(pd.read_parquet(folder / "gates" / "prompts.parquet"))
        if np.isnan(distances).mean() > 0.05:
            return Interval(float(distances[0]), float("nan"), float("nan"), n)
        low, high = np.nanquantile(distances[1:], [0.025, 0.975])
        return Interval(float(distances[0]), float(low), float(high), n)

    return estimate


CLAIMS = (
    Claim("text after the gate hardly matters", "section 3.2, Table A1: S^F is like S",
          "captions drawn as asked, S^F minus S", -MARGIN, difference("cross", "all", "S^F", "S")),
    Claim("text before the gate matters most", "section 3.2, Table A1: S^L is far from S",
          "captions drawn as asked, S^F minus S^L", MARGIN,
          difference("cross", "all", "S^F", "S^L")),
    Claim("cross-attention settles before self-attention", "section 3.1, Figure 2",
          "part of the way left at the gate, cross minus self", 0.0, ahead_of(("self",)),
          below=True),
    Claim("cross-attention settles before everything else", "section 3.1, Figure 2",
          "part of the way left at the gate, cross minus the nearest of self, feed-forward, block",
          0.0, ahead_of(_OTHERS), below=True),
    Claim("self-attention matters late, not early", "appendix B, Table A5",
          "SSIM to S, reused early (S^L) minus reused late (S^F)", 0.0,
          difference("self", "ssim", "S^L", "S^F")),
    Claim("T-GATE loses nothing", "Tables 1 to 3",
          "captions drawn as asked, T-GATE minus S", -MARGIN,
          difference("self", "all", "S^L+gate", "S")),
    Claim("the gate is a step", "m is given in steps, everywhere",
          "steps between the gates at which two noise schedules cross", 1.0, apart("gate"),
          below=True),
    Claim("the gate is a noise level", "not claimed by the paper",
          "nats of log-SNR between the same", NATS, apart("log_snr"), below=True),
)  # fmt: skip


def main() -> None:
    """Test every claim on every model whose runs are there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--runs", type=Path, default=Path("runs/findings"))
    given = parser.parse_args()
    rows = []
    for claim in CLAIMS:
        for model in given.models:
            try:
                found = claim.estimate(given.runs / model)
            except FileNotFoundError:
                continue  # not measured yet
            told = {"value": found.value, "low": found.low, "high": found.high, "n": found.n}
            about = {"claim": claim.name, "source": claim.source, "measured": claim.measured}
            rows.append({**about, "model": model, **told, "verdict": claim.verdict(found)})
    for model in given.models:
        if (given.runs / model / "convergence" / "controls.parquet").exists():
            to = ROOT / "docs" / "findings" / model
            to.mkdir(parents=True, exist_ok=True)
            settling(given.runs / model).to_csv(to / "settling.csv", index=False)
            curves(given.runs / model).to_csv(to / "curves.csv", index=False)
    table = pd.DataFrame(rows)
    table.to_csv(ROOT / "docs" / "findings" / "claims.csv", index=False)
    print(table.drop(columns=["source", "measured"]).to_string(index=False))


if __name__ == "__main__":
    main()
