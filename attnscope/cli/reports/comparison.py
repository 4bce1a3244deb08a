"""What ``attnscope compare`` prints, and commands that made several runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attnscope.metrics.adjusting import ADJUSTMENTS
from attnscope.runs.columns import arm_shown

if TYPE_CHECKING:
    import pandas as pd

    from attnscope.runs.folder import Run

_MOST_WITH_INTERVALS = 6
"""Runs side by side, for which a terminal has room."""


def show_comparison(runs: Sequence[Run], *, adjust: str = ADJUSTMENTS[0]) -> None:
    """Print where the settings of runs differ, what came out of each, and of all if they may be joined.

    Args:
        runs: of one command.
        adjust: how p-values allow for the many differences of what came out of all.
    """
    from attnscope.analyses.side_by_side import differing_settings, outcomes
    from attnscope.cli.console import results, show_table

    settings, found = differing_settings(runs), outcomes(runs)
    letters = {str(run.path): _letter(place) for place, run in enumerate(runs)}
    for path, letter in letters.items():
        results.print(f"{letter}: {path}", soft_wrap=True)
    if settings.empty:
        results.print("the settings of these runs are the same")
    else:
        show_table(settings.rename(columns=letters), "Settings that differ")
    if len(runs) > _MOST_WITH_INTERVALS:
        found = found.assign(low=float("nan"), high=float("nan"))
        title = "What came out ('attnscope compare' of fewer runs shows intervals)"
    else:
        title = "What came out (95 % interval; of speed-ups, the range)"
    show_table(_beside(found, letters), title)
    _show_together(runs, adjust)


def _show_together(runs: Sequence[Run], adjust: str) -> None:
    """What came out over runs that differ by their seeds alone."""
    import pandas as pd

    from attnscope.analyses.over_runs import COMPARISONS, over_runs
    from attnscope.cli.console import results, show_table
    from attnscope.metrics.measures import MEASURES
    from attnscope.metrics.told import larger_than_chance, seen, verdicts
    from attnscope.metrics.verdicts import untested

    found = over_runs(runs)
    if found.empty:
        return
    compared = COMPARISONS[runs[0].command]
    to, difference = compared.baseline, ["difference", "difference_low", "difference_high"]
    shown = pd.DataFrame(
        {
            "what": found["arm"].map(arm_shown),
            "measure": [MEASURES[name].label for name in found["measure"]],
            "value": [_written(row) for row in found.to_dict("records")],
            f"less {to}": [
                _written(dict(zip(("value", "low", "high"), row, strict=True)))
                for row in found[difference].to_numpy()
            ],
            "verdict": verdicts(found, adjust),
        }
    )
    show_table(
        shown,
        f"Over all {len(runs)} runs, which differ by their seeds alone: {found['n'].max()} images of "
        f"{found['prompts'].max()} prompts an arm, those of one prompt resampled together",
    )
    *_, told = larger_than_chance(found, compared=compared, adjust=adjust) or [""]
    for line in (*filter(None, [told]), *seen(found, compared=compared), *untested(found)):
        results.print(line, soft_wrap=True)


def _letter(place: int) -> str:
    """A to Z, then A2 to Z2, and so on."""
    letter, round_ = chr(ord("A") + place % 26), place // 26
    return f"{letter}{round_ + 1}" if round_ else letter


def _beside(found: pd.DataFrame, letters: dict[str, str]) -> pd.DataFrame:
    """A row for all that was measured, a column for every run."""
    import pandas as pd

    from attnscope.metrics.measures import MEASURES

    shown = found.assign(
        run=found["run"].map(letters), text=[_written(row) for row in found.to_dict("records")]
    )
    order = shown[["what", "measure"]].drop_duplicates()
    wide = shown.pivot_table(
        index=["what", "measure"], columns="run", values="text", aggfunc="first", observed=True
    )
    wide = wide.reindex(columns=list(letters.values()))
    beside = pd.DataFrame(order).merge(wide.reset_index(), on=["what", "measure"], how="left")
    labels = {name: measure.label for name, measure in MEASURES.items()}
    return beside.assign(
        what=beside["what"].map(arm_shown), measure=beside["measure"].replace(labels)
    )


def _written(row: dict[Any, Any]) -> str:
    if row["value"] != row["value"]:  # an arm that did not run
        return "-"
    value = f"{row['value']:.4g}"
    return value if row["low"] != row["low"] else f"{value} [{row['low']:.4g}, {row['high']:.4g}]"
