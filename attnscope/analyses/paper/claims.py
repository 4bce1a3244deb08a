"""What a figure claims in words, put to the test on the runs that make it.

A claim is written as a number that is above zero if it is right, with its interval over prompts (of
times over rounds or batches). Where the paper says "hardly" or "nearly", the limit is ours and stands in the claim.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from attnscope.analyses.convergence import THRESHOLD
from attnscope.analyses.paper.beside import UNTESTED, verdict
from attnscope.metrics.intervals import Interval, bootstrap, paired
from attnscope.metrics.verdicts import FEWEST
from attnscope.runs.folder import Run

SETTLED_AT = 10
"""Step by which the paper says that attention has converged."""
LITTLE = 0.01
"""Part of the baseline's peak of memory that counts as next to nothing."""
ALIKE = 0.9
"""SSIM from which images count as hardly changed."""
COLUMNS = ("claim", "what", "run", "value", "low", "high", "n", "verdict")
"""Of :func:`tested`."""
_ATTENTION = ("cross", "self", "joint")

Test = Callable[[Run], "Interval | None"]


@dataclass(frozen=True)
class Claim:
    """A claim, and how it is measured.

    Args:
        says: in words.
        what: the number that is above zero if it is right.
        command: whose runs it is measured on.
        test: measures it; ``None`` where a run has nothing to say of it.
        timed: whether its interval is a range of times, and not one over prompts, of which few test nothing.
    """

    says: str
    what: str
    command: str
    test: Test
    timed: bool = False


def tested(name: str, runs: Sequence[Run]) -> pd.DataFrame:
    """The claims of a figure or table, on every run that can say something of one.

    Args:
        name: of the figure or table, such as ``figure3b``.
        runs: that make it.

    Returns:
        Columns :data:`COLUMNS`; ``run`` is the model's name with what tells its run from others.
    """
    rows = []
    for claim in CLAIMS.get(name, ()):
        for run in runs:
            found = claim.test(run) if run.command == claim.command else None
            if found is None:
                continue
            few = not claim.timed and found.n < FEWEST
            said = UNTESTED if few else verdict(found.low, found.high, 1)
            told = claim.says, claim.what, _named(run), found.value, found.low, found.high, found.n
            rows.append((*told, said))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _named(run: Run) -> str:
    subjects = run.settings.get("subjects") or [run.settings]
    steps = subjects[0].get("steps")
    shown = ", ".join(map(str, steps)) if isinstance(steps, list) else steps
    return f"{subjects[0]['model']}, {shown} steps"


def _settled(run: Run) -> Interval | None:
    """How far below the limit the change of cross-attention is at the step, as part of the first one."""
    records = run.read_table("records")
    return _left(records[records["kind"] == "cross"])


def _settled_everywhere(run: Run) -> Interval | None:
    """The same of the module that has settled least."""
    records = run.read_table("records")
    found = [
        _left(of_site)
        for _, of_site in records[records["kind"] == "cross"].groupby("site", observed=True)
    ]
    told = [interval for interval in found if interval is not None]
    return min(told, key=lambda interval: interval.value) if told else None


def _left(records: pd.DataFrame) -> Interval | None:
    first = records["step"].min()
    if not (records["step"] == SETTLED_AT).any():
        return None
    by_prompt = records.groupby(["prompt_id", "step"], observed=True)["l2"].mean().unstack("step")
    return bootstrap(THRESHOLD - by_prompt[SETTLED_AT] / by_prompt[first])


def _ssim_of(run: Run, arm: str, than: str) -> Interval | None:
    """By how much an arm's images are nearer to S's than another arm's are."""
    images = run.read_table("images")
    values = [_by_prompt(images[images["trajectory"] == name], "ssim") for name in (arm, than)]
    return paired(*values) if all(len(of_arm) for of_arm in values) else None


def _by_prompt(images: pd.DataFrame, measure: str) -> pd.Series[float]:
    if images.empty or measure not in images:
        return pd.Series(dtype=float)
    values: pd.Series[float] = images.groupby("prompt_id")[measure].mean()
    return values


def _least_alike(run: Run) -> Interval | None:
    """By how much the images of the plan that changes most are above the limit."""
    images = run.read_table("images").dropna(subset=["ssim"])
    found = [_by_prompt(of_plan, "ssim") - ALIKE for _, of_plan in images.groupby("plan")]
    return min(map(bootstrap, found), key=lambda interval: interval.value) if found else None


def _nearer(run: Run, plan: str, than: str) -> Interval | None:
    """By how much a plan's images are nearer to the baseline's than another's; plans by their values."""
    from attnscope.plans.text_form import parse

    images = run.read_table("images")
    values = [
        _by_prompt(images[images["plan"] == str(parse(name))], "ssim") for name in (plan, than)
    ]
    return paired(*values) if all(len(of_plan) for of_plan in values) else None


def _slowest_gain(run: Run) -> Interval | None:
    """Speed-up of the plan that gains least, over batches."""
    plans = run.read_table("plans")
    plans = plans[plans["plan"] != "baseline"]
    row = plans.sort_values("speedup").iloc[0]
    ends = row["speedup_low"] - 1, row["speedup_high"] - 1
    return Interval(row["speedup"] - 1, *ends, int(row["images"]))


def _share_of_attention(run: Run) -> Interval | None:
    """Attention's share of the baseline's time, over a half."""
    parts = run.read_table("parts")
    own = parts[parts["arm"] == "baseline"].set_index("part")["share"]
    share = float(own.reindex(_ATTENTION).sum()) - 0.5
    return Interval(share, np.nan, np.nan, 1)


def _ours(name: str) -> bool:
    """Whether an arm is a plan of T-GATE, carried out here."""
    return name.startswith("tgate:")


def _faster(
    run: Run, arms: Callable[[str], bool], others: Callable[[str], bool]
) -> Interval | None:
    """By how much the slowest of some arms is faster than the fastest of others; the range over rounds."""
    rounds = run.read_table("repetitions").pivot(
        index="repetition", columns="arm", values="seconds"
    )
    rounds = rounds.dropna(axis="columns", how="all")
    own, against = ([str(name) for name in rounds if of(str(name))] for of in (arms, others))
    if not own or not against:
        return None
    return _over_rounds(rounds[against].min(axis=1) / rounds[own].max(axis=1) - 1)


def _keeps_little(run: Run) -> Interval | None:
    """By how much the peak that T-GATE adds is under the limit, in parts of the baseline's; over rounds."""
    peaks = run.read_table("repetitions").pivot(index="repetition", columns="arm", values="peak_mb")
    own = [name for name in peaks if _ours(str(name))]
    added = peaks[own].max(axis=1) / peaks["baseline"] - 1
    left = (LITTLE - added).dropna()
    return None if left.empty else _over_rounds(left)


def _over_rounds(values: pd.Series[float]) -> Interval:
    """The median and the range; of a single round no range."""
    alone = len(values) == 1
    low, high = (np.nan, np.nan) if alone else (float(values.min()), float(values.max()))
    return Interval(float(values.median()), low, high, len(values))


def _late_is_dearer(run: Run) -> Interval | None:
    """By how much early reuse, with the gate, leaves images nearer to S's than late reuse does."""
    return _ssim_of(run, "S^L+gate", "S^F+gate")


_ALIKE = Claim("images hardly change", f"least SSIM to the baseline's, over {ALIKE}", "generate-plans", _least_alike)  # fmt: skip
_BOTH = "T-GATE with DeepCache"
_FASTER = Claim(
    "every plan is faster", "least speed-up, over 1", "generate-plans", _slowest_gain, timed=True
)

CLAIMS: dict[str, tuple[Claim, ...]] = {
    "figure1a": (
        Claim("attention takes most of the time", "its share of the baseline's time, over 1/2", "bench",
              _share_of_attention),
    ),
    "figure1b": (_ALIKE, _FASTER),
    "figure2": (
        Claim("cross-attention has converged at step 10", f"{THRESHOLD:.0%} less what is left of the first change",
              "convergence", _settled),
    ),
    "figure3b": (
        Claim("late text matters less than early text", "SSIM to S: S^F less S^L", "ablate",
              lambda run: _ssim_of(run, "S^F", "S^L")),
    ),
    "figure3c": (
        Claim("late text matters less than early text", "SSIM to S: S^F less S^L", "ablate",
              lambda run: _ssim_of(run, "S^F", "S^L")),
    ),
    "figure4": (
        Claim("early reuse of self-attention changes less than late reuse", "SSIM to S: S^L less S^F",
              "ablate", lambda run: _ssim_of(run, "S^L", "S^F")),
    ),
    "figure6": (_ALIKE, _FASTER),
    "figureA1": (_ALIKE, _FASTER),
    "figureA2": (_ALIKE, _FASTER),
    "figureA3": (
        Claim("cross-attention has converged at step 10 in every module",
              f"{THRESHOLD:.0%} less what is left of the first change, where most is", "convergence",
              _settled_everywhere),
    ),
    "figureA5": (
        Claim("the larger the gate, the nearer the images", "SSIM to the baseline's: m=10 less m=5",
              "generate-plans", lambda run: _nearer(run, "m=10", "m=5")),
    ),
    "figureA6": (
        Claim("the difference is hardly seen", f"SSIM to the baseline's, over {ALIKE}", "generate-plans",
              _least_alike),
    ),
    "figureA7": (
        Claim("self-attention reused as well, images are farther", "SSIM to the baseline's: m=15 less m=15,k=3",
              "generate-plans", lambda run: _nearer(run, "m=15", "m=15,k=3")),
    ),
    "figureA9": (_ALIKE,),
    "figureA10": (_ALIKE,),
    "table4": (
        Claim("T-GATE is faster than Adaptive Guidance", "speed of the slowest of its plans over it, less 1", "bench",
              lambda run: _faster(run, _ours, lambda name: name.startswith("guidance-cutoff:")), timed=True),
    ),
    "table5": (
        Claim("DeepCache is faster than T-GATE", "its speed over it, less 1", "bench",
              lambda run: _faster(run, "DeepCache".__eq__, _ours), timed=True),
        Claim("both at once are the fastest", "their speed over the next one's, less 1", "bench",
              lambda run: _faster(run, _BOTH.__eq__, lambda name: name != _BOTH), timed=True),
    ),
    "tableA13": (
        Claim("T-GATE costs next to no memory", f"{LITTLE:.0%} of the baseline's peak less what is added to it",
              "bench", _keeps_little, timed=True),
    ),
    "tableA5": (
        Claim("late reuse of self-attention costs more than early reuse", "SSIM to S: S^L+gate less S^F+gate",
              "ablate", _late_is_dearer),
    ),
}  # fmt: skip
"""By the name of the figure or table; of those that print values every row is a claim, too."""
