"""What runs measured beside the values that the paper prints, row by row.

Absolute values of other models, sizes and machines cannot be compared, so a row is compared with its
baseline here and there: latency and multiply-accumulates as a ratio, all else as a difference. Whether
what the paper's row says holds, is whether the 95 % interval of the change (of a ratio of times, its
range over rounds) lies on the same side.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from attnscope.analyses.paper.published import RATIOS, values_of
from attnscope.metrics.measures import MEASURES
from attnscope.plans.text_form import parse
from attnscope.runs.folder import Run

HOLDS, NOT, UNTOLD, UNTESTED = "holds", "does not hold", "cannot tell", "not tested"
"""What is said of a claim: the whole interval on its side, on the other, on both; and no interval."""
STANDING_FOR = {"fid": "kid", "clip": "all"}
"""What is tested where the paper's own measure is not, or is not taken: FID is biased, CLIP needs a CLIP."""
OF_ANY_WEIGHTS = ("latency", "macs", "memory", "attention")
"""What does not depend on the weights."""
COLUMNS = ("row", "model", "arm", "quantity", "published", "published_change", "here_measure", "here",
           "change", "low", "high", "n", "verdict")  # fmt: skip
"""Of :func:`beside`."""
_NAMES = {
    "macs": "10¹² MACs",
    "latency": "s/image",
    "memory": "MB at the peak",
    "attention": "s in attention",
    "clip": "CLIP score",
    "compbench_non_spatial": "CompBench non-spatial",
    "compbench_complex": "CompBench complex",
}
_ABLATED = ("S", "S^F", "S^L", "gate", "no guidance", "S^F+gate", "S^L+gate")
_FACTS = ("model", "arm", "steps", "scheduler", "seed", "gate", "interval", "measure", "value", "change", "low", "high", "n")  # fmt: skip


def facts(runs: Iterable[Run]) -> pd.DataFrame:
    """What runs measured, arm by arm, with the change to the baseline's.

    Args:
        runs: finished ones of ``bench``, ``ablate`` and ``generate --plans``; of others nothing is told.

    Returns:
        Columns ``model``, ``arm``, ``steps``, ``scheduler``, ``seed``, ``gate``, ``interval``, ``measure``, ``value``,
        ``change`` (over the baseline's for :data:`~attnscope.analyses.paper.published.RATIOS`, else the difference), ``low``
        and ``high`` of the change, ``n``.
    """
    rows: list[dict[str, Any]] = []
    for run in runs:
        if run.command == "bench":
            rows += _of_bench(run)
        elif run.command == "ablate":
            rows += _of_ablation(run)
        elif run.command == "generate-plans":
            rows += _of_grid(run)
    return pd.DataFrame(rows, columns=list(_FACTS)).drop_duplicates(
        list(_FACTS[:8]), ignore_index=True
    )


def beside(
    name: str, found: pd.DataFrame, models: Mapping[str, str], blind: Container[str] = ()
) -> pd.DataFrame:
    """The published values of a table beside those that were measured.

    Args:
        name: of the figure or table, such as ``table2``.
        found: from :func:`facts`.
        models: by the paper's short name the model that was measured; those without one have a row
            with what is published alone.
        blind: those of the paper's models for which random weights stand: what is told of their images is
            no test of anything.

    Returns:
        Columns :data:`COLUMNS`: of a row that was not measured, ``here`` and what follows is missing.
    """
    rows = []
    for row in values_of(name).to_dict("records"):
        told = {c: row[c] for c in ("row", "model", "arm", "published", "published_change")}
        told["quantity"] = row["measure"]
        model = models.get(str(row["model"]))
        own = _matching(found, row, model)
        measure, fact = _taken(own, str(row["measure"]))
        if fact is None:
            rows.append(told | {"arm": None, "verdict": UNTESTED})
            continue
        rows.append(
            told
            | {
                "arm": fact["arm"],
                "here_measure": measure,
                "here": fact["value"],
                "change": fact["change"],
                "low": fact["low"],
                "high": fact["high"],
                "n": fact["n"],
                "verdict": UNTESTED
                if row["model"] in blind and row["measure"] not in OF_ANY_WEIGHTS
                else _verdict(str(row["measure"]), measure, row["published_change"], fact),
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def of_costs(run: Run, number: str) -> pd.DataFrame:
    """The same of a table of multiply-accumulates, which are counted: whether a row agrees is its verdict.

    Args:
        run: of ``attnscope cost paper``.
        number: of the table.
    """
    table = run.read_table("paper")
    rows = [
        {
            "row": row["row"],
            "model": row["model"],
            "arm": row["plan"],
            "quantity": "macs",
            "published": row["published"],
            "published_change": float("nan"),
            "here_measure": "macs",
            "here": row["paper"],
            "change": row["ratio"],
            "low": row["ratio"],
            "high": row["ratio"],
            "n": 1,
            "verdict": HOLDS if row["agrees"] else NOT,
        }
        for row in table[table["table"] == number].to_dict("records")
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def verdict(low: float, high: float, sign: float) -> str:
    """Whether an interval lies on the side of zero that a claim says.

    Args:
        low: its lower end; NaN where nothing was tested.
        high: its upper end.
        sign: above zero if the claim is that the value is above zero, else below.
    """
    if low != low or high != high:
        return UNTESTED
    if sign < 0:
        low, high = -high, -low
    return HOLDS if low > 0 else NOT if high < 0 else UNTOLD


def _verdict(published: str, measure: str, change: float, fact: Mapping[Any, Any]) -> str:
    middle = 1.0 if published in RATIOS else 0.0
    sign = change - middle
    if change != change or not sign:
        return ""
    if published == "clip" and measure == "all":
        measure = "clip"  # the higher the better, either way
    return verdict(fact["low"] - middle, fact["high"] - middle, sign)


def _matching(found: pd.DataFrame, row: Mapping[Any, Any], model: str | None) -> pd.DataFrame:
    """The facts of a published row."""
    if model is None:
        return found.iloc[:0]
    own = found[found["model"] == model]
    own = own[own["arm"] == _arm(row)]
    for name in ("steps", "scheduler", "seed", "gate", "interval"):
        wanted = row.get(name)
        if wanted is None or wanted != wanted or (own[name].isna()).all():
            continue
        own = own[own[name] == wanted]
    return own


def _arm(row: Mapping[Any, Any]) -> str:
    """What the arm of a published row is called here."""
    if isinstance(row.get("arm"), str):
        return str(row["arm"])
    plan = str(row["plan"])
    return plan if plan in _ABLATED else str(parse(plan))


def _taken(own: pd.DataFrame, measure: str) -> tuple[str, Mapping[Any, Any] | None]:
    """The measure itself where it has an interval, or what stands for it, or itself without."""
    facts_of = {str(fact["measure"]): fact for fact in own.to_dict("records")}
    itself, other = facts_of.get(measure), STANDING_FOR.get(measure)
    if itself is not None and (itself["low"] == itself["low"] or other not in facts_of):
        return measure, itself
    if other in facts_of:
        return str(other), facts_of[str(other)]
    return measure, itself


def _of_bench(run: Run) -> Iterator[dict[str, Any]]:
    settings, arms = run.settings, run.read_table("arms")
    about = {name: settings.get(name) for name in ("model", "steps", "scheduler", "seed")}
    arms = arms.dropna(subset=["seconds"]).set_index("arm", drop=False)
    base, rounds = arms.loc["baseline"], int(settings["repeats"])
    nothing = float("nan"), float("nan")
    for row in arms.to_dict("records"):
        own = about | {"arm": row["arm"]}
        ends = nothing
        if rounds > 1:
            ends = 1 / row["speedup_high"], 1 / row["speedup_low"]
        yield own | _fact("latency", row["seconds"], 1 / row["speedup"], *ends, rounds)
        if row.get("paper_macs") is not None and row["paper_macs"] == row["paper_macs"]:
            ratio = row["paper_macs"] / base["paper_macs"]
            yield own | _fact("macs", row["paper_macs"] / 1e12, ratio, ratio, ratio, 1)
        yield own | _fact("memory", row.get("peak_mb"), row["extra_mb"], *nothing, rounds)
    parts = run.read_table("parts")
    inside = parts[~parts["part"].isin(["other", "outside"])].groupby("arm")["seconds"].sum()
    for arm, seconds in inside.items():
        change = seconds - inside["baseline"]
        yield about | {"arm": arm} | _fact("attention", seconds, change, *nothing, 1)
    if run.has_table("frontier"):
        for row in run.read_table("frontier").to_dict("records"):
            yield about | {"arm": row["arm"]} | _of_quality(row)


def _of_ablation(run: Run) -> Iterator[dict[str, Any]]:
    for row in run.read_table("arms").to_dict("records"):
        about = {name: row[name] for name in ("model", "steps", "scheduler", "seed", "gate", "interval")}  # fmt: skip
        yield about | {"arm": row["trajectory"]} | _of_quality(row)


def _of_grid(run: Run) -> Iterator[dict[str, Any]]:
    settings = run.settings
    about = {name: settings.get(name) for name in ("model", "steps", "scheduler", "seed")}
    for row in run.read_table("plans").to_dict("records"):
        own, n = about | {"arm": row["plan"]}, int(row["images"])
        ends = 1 / row["speedup_high"], 1 / row["speedup_low"]
        yield own | _fact("latency", row["seconds"], 1 / row["speedup"], *ends, n)
        value = row["ssim"]
        yield own | _fact("ssim", value, value, row["ssim_low"], row["ssim_high"], n)


def _of_quality(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row of a table of measures."""
    if MEASURES[row["measure"]].of == "pairs":  # a distance to the baseline already
        return _fact(row["measure"], row["value"], row["value"], row["low"], row["high"], row["n"])
    ends = row["difference_low"], row["difference_high"]
    return _fact(row["measure"], row["value"], row["difference"], *ends, row["n"])


def _fact(
    measure: str, value: Any, change: float, low: float, high: float, n: int
) -> dict[str, Any]:
    return {"measure": measure, "value": value, "change": change, "low": low, "high": high, "n": n}


def seeds_as_columns(table: pd.DataFrame) -> pd.DataFrame | None:
    """The rows of a table that were made with several seeds, each once (the shape of Table A7).

    Args:
        table: of :func:`beside`.

    Returns:
        Columns ``row``, ``quantity``, ``here_measure``, and for every seed ``paper, seed 1`` and ``here, seed 1``;
        ``None`` where rows are of one seed.
    """
    told = table["row"].str.extract(r"^(?P<row>.*), (?P<seed>seed \d+)$")
    if table.empty or told["seed"].isna().any():
        return None
    each = table.drop(columns="row").join(told)
    about = ["row", "quantity", "here_measure"]
    columns = {"published": "paper", "here": "here"}
    rows = []
    for _, own in each.groupby(["row", "quantity"], sort=False):
        found = dict(own.iloc[0][about])
        for column, name in columns.items():
            of_seeds = zip(own["seed"], own[column], strict=True)
            found |= {f"{name}, {seed}": value for seed, value in of_seeds}
        rows.append(found)
    return pd.DataFrame(rows)


def named(measure: str) -> str:
    """What a measure is called behind a value."""
    known = MEASURES.get(measure)
    return _NAMES.get(measure) or (measure if known is None else known.label)


def summary(table: pd.DataFrame) -> dict[str, int]:
    """How many rows hold, do not, cannot be told or were not tested; baselines are none of them."""
    said = table.loc[table["verdict"] != "", "verdict"]
    return {name: int((said == name).sum()) for name in (HOLDS, NOT, UNTOLD, UNTESTED)}


def runs_in(folder: Path) -> list[Run]:
    """The run directories in a folder and in folders of it, by name."""
    return [Run(path.parent) for path in sorted(folder.rglob("run.json"))]
