"""What ``attnscope bench`` prints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attnscope.cli.reports import reports
from attnscope.cli.reports.questions import show_categories
from attnscope.metrics.adjusting import ADJUSTMENTS
from attnscope.plain import how_many
from attnscope.runs.columns import arm_shown

if TYPE_CHECKING:
    import pandas as pd

    from attnscope.runs.folder import Run

_TABLES = ("arms", "parts", "attribution")


@reports("bench")
def report(run: Run, *, adjust: str = ADJUSTMENTS[0], quiet: bool, as_json: bool) -> None:
    """Draw a benchmark's figures and print its tables."""
    from attnscope.analyses.bench.frontier import COMPARED
    from attnscope.cli.console import results, show_json, show_places
    from attnscope.figures.saving import save_figures
    from attnscope.metrics.told import larger_than_chance, seen
    from attnscope.metrics.verdicts import untested

    if as_json:
        show_json(document(run))
        return
    figures = save_figures(run)
    if quiet:
        print(run.path)
        return
    _show_arms(run.read_table("arms"), run.settings, run.about["machine"].get("steps"))
    if run.settings["plan"] == "baseline":  # of --plans, which are what is compared
        from attnscope.cli.reports.together import show_together

        show_together(run)
    _show_parts(run.read_table("parts"))
    _show_attribution(run.read_table("attribution"))
    _show_memory(run.read_table("arms"))
    if run.has_table("frontier"):
        table = run.read_table("frontier")
        _show_frontier(table)
        show_categories(run)
        for line in (
            *larger_than_chance(table, compared=COMPARED, adjust=adjust),
            *seen(table, compared=COMPARED),
            *untested(table),
        ):
            results.print(line, soft_wrap=True)
        results.print(f"every value with its interval: {run.path / 'frontier.csv'}", soft_wrap=True)
    show_places(run, figures, " (tables as Parquet and CSV; arms.tex for LaTeX)")


def document(run: Run) -> dict[str, Any]:
    """The same for machines; the figures are drawn, too."""
    from attnscope.figures.saving import save_figures
    from attnscope.metrics.verdicts import untested

    figures = save_figures(run)
    names = [*_TABLES, *(["frontier"] if run.has_table("frontier") else [])]
    tables = {name: run.read_table(name) for name in names}
    told = {"untested": untested(tables["frontier"])} if "frontier" in tables else {}
    about = {"run": run.path, "settings": run.settings, "figures": figures}
    return {**about, **tables, **told}


def _show_arms(arms: pd.DataFrame, settings: dict[str, Any], made: int | None) -> None:
    import pandas as pd

    from attnscope.cli.console import results, show_table
    from attnscope.cli.flags import as_typed

    ran = arms.dropna(subset=["seconds"])
    shown = pd.DataFrame(
        {
            "arm": ran["arm"].map(arm_shown),
            "s/image": ran["seconds"],
            "speed-up (range)": [
                f"{row['speedup']:.2f} ({row['speedup_low']:.2f}-{row['speedup_high']:.2f})"
                if settings["repeats"] > 1
                else f"{row['speedup']:.2f}"
                for row in ran.to_dict("records")
            ],
            "ideal": ran["ideal"],
            "of ideal": ran["of_ideal"],
        }
    )
    weights = " with random weights" if settings["weights"] == "random" else ""
    told = "one round, which has no range"
    if settings["repeats"] > 1:
        told = f"medians and ranges of {settings['repeats']} rounds"
    images = f", {settings['batch']} images at a time" if settings["batch"] > 1 else ""
    images += "" if settings["decoded"] else ", without the autoencoder"
    steps = f"{made or settings['steps']} steps"
    if made not in (None, settings["steps"]):  # as Heun and PNDM
        steps += f" ({settings['steps']} asked for)"
    title = (
        f"{settings['model']}{weights} at {settings['width']}x{settings['height']}, "
        f"{steps}{images}, {settings['dtype']}, {settings['device']}, "
        f"{how_many(settings['threads'], 'thread')}: {told}"
    )
    show_table(shown, title, {"s/image": ".3g", "ideal": ".2f", "of ideal": ".2f"})
    for row in arms[arms["seconds"].isna()].to_dict("records"):
        results.print(
            f"{arm_shown(row['arm'])} did not run: {as_typed(row['note'])}", soft_wrap=True
        )


def _show_memory(arms: pd.DataFrame) -> None:
    import pandas as pd

    from attnscope.cli.console import show_table

    ran = arms.dropna(subset=["seconds"])
    extra = ran["extra_mb"].round(1) + 0.0  # no -0.0
    shown = pd.DataFrame(
        {"arm": ran["arm"].map(arm_shown), "kept MB": ran["kept_mb"], "extra MB": extra}
    )
    title = (
        "memory: kept for reuse, from shapes, and how much higher the peak was than the baseline's"
    )
    show_table(shown, title, {"kept MB": ".1f", "extra MB": ".1f"})


def _show_parts(parts: pd.DataFrame) -> None:
    from attnscope.cli.console import show_table

    wide = parts.pivot_table(index="arm", columns="part", values="seconds", sort=False)
    total = wide.sum(axis=1)
    shown = wide.div(total, axis=0)
    shown.insert(0, "s/image", total)
    shown = shown.rename(columns={"other": "rest of denoiser"})
    formats = dict.fromkeys(shown.columns, ".1%") | {"s/image": ".3g"}
    title = "where the time goes: shares by a stopwatch at every site, in rounds of their own"
    show_table(shown.reset_index(), title, formats)


def _show_attribution(table: pd.DataFrame) -> None:
    from attnscope.cli.console import show_table

    if table.empty:
        return
    wide = table.pivot_table(index="saving", columns="basis", values="saved", sort=False)
    time = table[table["basis"] == "time"].set_index("saving")
    shown = wide[["time", "MACs"]].reset_index()
    shown.insert(
        2,
        "range",
        [
            f"{row['low']:.1%} to {row['high']:.1%}" if row["low"] < row["high"] else "-"
            for _, row in time.iterrows()
        ],
    )
    title = "what each part saves alone, of the run without the plan"
    show_table(shown, title, {"time": ".1%", "MACs": ".1%"})


def _show_frontier(table: pd.DataFrame) -> None:
    """Speed beside the leading measures, a row per arm."""
    from attnscope.cli.console import messages, results, show_table
    from attnscope.metrics.measures import MEASURES
    from attnscope.metrics.verdicts import FEW, about_relation, biased

    wide = table.pivot_table(index="arm", columns="measure", values="value", sort=False)
    names = [
        name for name in MEASURES if name in wide and not _left_out(name, list(map(str, wide)))
    ]
    speed = table.drop_duplicates("arm").set_index("arm")["speedup"]
    short = {name: re.sub(r" to S| \(dB\)|as asked ", "", MEASURES[name].heading) for name in names}
    shown = wide[names].rename(columns=short)
    shown.insert(0, "speed-up", speed)
    formats = {short[name]: MEASURES[name].form for name in names}
    show_table(shown.rename(index=arm_shown).reset_index(), f"speed and quality, {table['n'].max()} images an arm",
               {"speed-up": ".2f", **formats})  # fmt: skip
    if relation := about_relation(table):
        results.print(relation, soft_wrap=True)
    small = table.loc[table["measure"] == "fid", "n"]
    if len(small) and small.max() < FEW:
        messages.print(f"note: {biased(int(small.max()), table)}", soft_wrap=True)


def _left_out(name: str, shown: Sequence[str]) -> bool:
    """Whether another measure stands for one, so that the table fits a terminal."""
    from attnscope.metrics.measures import MEASURES

    measure = MEASURES[name]
    others = [MEASURES[other] for other in shown if other in MEASURES]
    replaced = measure.biased and any(o.of == measure.of and not o.biased for o in others)
    return replaced or (measure.part_of is not None and measure.leading is None)
