"""What is printed of the answers to questions about a run's images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnscope.runs.columns import CELL, arm_shown

if TYPE_CHECKING:
    from attnscope.runs.folder import Run

_TABLE = "categories"


def show_categories(run: Run) -> None:
    """Print what the benchmark's own program prints of the answers, a row per arm, if questions were asked."""
    from attnscope.cli.console import results, show_table

    if not run.has_table(_TABLE):
        return
    table = run.read_table(_TABLE)
    first = table.iloc[0]
    varying = [name for name in CELL if name in table and table[name].nunique() > 1]
    wide = table.pivot_table(index="key", columns="category", values="value", sort=False)
    arms = table.drop_duplicates("key").set_index("key")
    shown = arms[[*varying, "arm"]].join(wide[list(table["category"].drop_duplicates())])
    shown["arm"] = shown["arm"].map(arm_shown)
    show_table(
        shown.reset_index(drop=True),
        f"as the benchmark counts, all questions of a category together: {first['benchmark']}, answered by "
        f"{first['vqa']}",
        dict.fromkeys(wide.columns, first["form"]),
    )
    results.print(
        f"every answer: {run.path / 'answers.parquet'}; these: {run.path / 'categories.csv'}",
        soft_wrap=True,
    )
