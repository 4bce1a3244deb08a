"""What ``attnscope tune`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnscope.cli.reports import reports

if TYPE_CHECKING:
    import pandas as pd

    from attnscope.runs.folder import Run


@reports("tune")
def report(run: Run, *, quiet: bool, as_json: bool) -> None:
    """Draw a tune run's figures and print the plans that were found."""
    from attnscope.cli.console import results, show_json, show_table
    from attnscope.figures.saving import save_figures

    if as_json:
        show_json(document(run))
        return
    figures = save_figures(run)
    if quiet:
        print(run.path)
        return
    settings = run.settings
    show_table(
        _shown(run.read_table("plans")),
        f"{settings['model']}, {settings['steps']} steps: plans, measured on {settings['measured']} "
        "captions against the pipeline as it is",
    )
    tried = len(run.read_table("candidates"))
    results.print(
        f"{tried} plans were measured; they were searched on the captions of this table, so prove one "
        "on others:",
        soft_wrap=True,
    )
    for name in run.read_table("plans")["file"]:
        results.print(
            f"  attnscope bench --model {settings['model']} --plan {run.path / name} --frontier "
            f"--seed {settings['seed'] + 1}",
            soft_wrap=True,
        )
    results.print(f"run directory: {run.path}", soft_wrap=True)
    for figure in figures:
        results.print(f"figure: {figure} and .pdf", soft_wrap=True)


def document(run: Run) -> dict[str, Any]:
    """The same for machines; the figures are drawn, too."""
    from attnscope.figures.saving import save_figures

    figures, plans = save_figures(run), run.read_table("plans")
    return {
        "run": run.path,
        "plans": plans,
        "files": [run.path / name for name in plans["file"]],
        "candidates": run.read_table("candidates"),
        "figures": figures,
    }


def _shown(plans: pd.DataFrame) -> pd.DataFrame:
    """The plans as a table for people."""
    import pandas as pd

    rows = []
    for row in plans.to_dict("records"):
        computed, guided = row["letters"].count("#"), row["guidance"].count("b")
        steps = len(row["letters"])
        rows.append(
            {
                "budget": row["budget"],
                "ideal speed-up": round(row["ideal"], 2),
                "SSIM": f"{row['ssim']:.4f} ± {row['ssim_error']:.4f}",
                "PSNR": f"{row['psnr']:.1f} ± {row['psnr_error']:.1f}",
                "damage": f"{row['damage']:.2g}",
                "predicted": f"{row['predicted']:.2g}",
                "computed": f"{computed} of {steps}",
                "guided": f"{guided} of {steps}",
                "file": row["file"],
            }
        )
    return pd.DataFrame(rows)
