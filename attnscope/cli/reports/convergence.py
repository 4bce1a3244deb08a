"""What ``attnscope convergence`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnscope.analyses.convergence import THRESHOLD
from attnscope.cli.reports import reports

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from attnscope.runs.folder import Run


@reports("convergence")
def report(run: Run, *, threshold: float = THRESHOLD, quiet: bool, as_json: bool) -> None:
    """Draw a convergence run's figures and print when its sites converged."""
    from attnscope.analyses.convergence.measure import unchanging
    from attnscope.cli.console import messages, results, show_json, show_places, show_table
    from attnscope.cli.reports.controls import report_controls

    if as_json:
        show_json(document(run, threshold=threshold))
        return
    records = run.read_table("records")
    figures, table = _drawn(run, records, threshold)
    if quiet:
        print(run.path)
        return
    shown = _by_site(table) if len(table) <= 24 else _by_block(table)
    title = (
        f"{run.settings['model']}{_size(run)}, {run.settings['limit']} prompts, {_steps(run, records)}: "
        f"when is a site's relative change under {threshold:.0%} of its first?"
    )
    formats = dict.fromkeys(("first", "last", "first change", "last change"), ".3f")
    show_table(shown, title, formats)
    for kind, branch in unchanging(records):
        messages.print(
            f"note: {kind}-attention of the branch '{branch}' does not change over the steps at all: "
            "all that it looks at is one value (a single token, or a text of zeros)",
            soft_wrap=True,
        )
    if run.has_table("controls"):
        report_controls(run)
    results.print(f"every site: {run.path / 'converged.csv'}", soft_wrap=True)
    show_places(run, figures)


def document(run: Run, *, threshold: float) -> dict[str, Any]:
    """The same for machines; the figures are drawn, too."""
    from attnscope.analyses.convergence.measure import unchanging

    records = run.read_table("records")
    figures, table = _drawn(run, records, threshold)
    return {
        "run": run.path,
        "figures": figures,
        "threshold": threshold,
        "unchanging": [{"kind": kind, "branch": branch} for kind, branch in unchanging(records)],
        "sites": table,
    }


def _drawn(run: Run, records: pd.DataFrame, threshold: float) -> tuple[list[Path], pd.DataFrame]:
    """The figures, and a row per site, which is written, too."""
    from attnscope.analyses.convergence.measure import converged_steps
    from attnscope.figures.saving import save_figures

    figures = save_figures(run)
    table = converged_steps(records, threshold)
    run.write_csv("converged", table)
    return figures, table


def _size(run: Run) -> str:
    width, height = run.settings.get("width"), run.settings.get("height")
    return f" at {width}x{height}" if width and height else ""


def _steps(run: Run, records: pd.DataFrame) -> str:
    """The steps that were made: Heun and PNDM make more than they are asked for."""
    made, asked = int(records["step"].max()) + 1, run.settings["steps"]
    return f"{made} steps" + (f" ({asked} asked for)" if made != asked else "")


def _by_site(table: pd.DataFrame) -> pd.DataFrame:
    from attnscope.sites.names import short_site

    shown = table.drop(columns="block")
    shown["site"] = [short_site(name) for name in table["site"]]
    return shown.rename(columns={"first": "first change", "last": "last change"})


def _by_block(table: pd.DataFrame) -> pd.DataFrame:
    """Sites are many in large models: how many of a block have converged, and between which steps."""
    import pandas as pd

    rows = []
    for (block, kind), group in table.groupby(["block", "kind"], observed=True, sort=False):
        steps = group["step"].dropna()
        rows.append(
            {
                "block": block,
                "kind": kind,
                "converged": f"{len(steps)} of {len(group)}",
                "earliest": steps.min() if len(steps) else None,
                "latest": steps.max() if len(steps) else None,
                "first change": group["first"].mean(),
                "last change": group["last"].mean(),
            }
        )
    return pd.DataFrame(rows).astype({"earliest": "Int64", "latest": "Int64"})
