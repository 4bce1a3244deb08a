"""The cost tables of the paper beside what they come to here.

The published numbers are data in ``published.json``, with their source. Where a row of the paper
does not follow from its own rule, a note says why.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnscope.cost.counts import Convention, summed
from attnscope.cost.plans import Cost, cost_of
from attnscope.cost.resolutions import counts_of
from attnscope.plans.text_form import parse

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE = 0.001
"""How far a row may be off: the published numbers have three to six digits."""
_FILE = Path(__file__).with_suffix(".json")


def source() -> str:
    """Where the numbers are from, and their unit."""
    return str(_data()["source"])


def notes() -> dict[str, str]:
    """What is to be said of single rows."""
    return dict(_data()["notes"])


def compare() -> pd.DataFrame:
    """All published rows and ours.

    Returns:
        Columns ``table``, ``row``, ``model``, ``plan``, ``steps``, ``published`` and ``paper``
        (10^12 MACs in the paper's convention), ``ratio`` (ours over published), ``agrees`` (within
        :data:`TOLERANCE`), ``full`` (10^12 MACs), ``note`` (a key of :func:`notes`, or empty).
    """
    import pandas as pd

    rows = []
    for row in _data()["rows"]:
        paper, full = (_macs(row, convention) / 1e12 for convention in ("paper", "full"))
        ratio = paper / row["published"]
        rows.append(
            {
                **{name: row[name] for name in ("table", "row", "model", "plan", "steps", "published")},
                "paper": paper,
                "ratio": ratio,
                "agrees": abs(ratio - 1) <= TOLERANCE,
                "full": full,
                "note": row.get("note", ""),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _macs(row: dict[str, Any], convention: Convention) -> int:
    counts = counts_of(
        row["model"], height=row.get("size"), width=row.get("size"), tokens=row.get("tokens")
    )
    plan = parse(f"tgate-spatial:{row['plan']}" if row.get("spatial") else row["plan"])
    guided = row.get("guided", not row["model"].startswith("lcm-"))
    cost = cost_of(counts, plan, row["steps"], guided=guided)
    if row.get("deepcache"):
        return _with_deepcache(cost, convention)
    if "step" in row:
        return summed(cost.steps[row["step"]], convention)
    return cost.macs(convention)


def _with_deepcache(cost: Cost, convention: Convention) -> int:
    """A run that goes through the whole U-Net in every n-th step, else through its outer blocks."""
    settings = _data()["deepcache"]
    outer = sum(
        macs
        for name, macs in cost.counts.modules.items()
        if any(fnmatchcase(name, pattern) for pattern in settings["modules"])
    )
    return sum(
        cost.rows(step) * outer if step % settings["interval"] else summed(parts, convention)
        for step, parts in enumerate(cost.steps)
    )


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(_FILE.read_text("utf-8"))
    return data
