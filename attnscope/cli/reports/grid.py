"""What ``attnscope generate --plans`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnscope.cli.reports import reports
from attnscope.plain import how_many

if TYPE_CHECKING:
    import pandas as pd

    from attnscope.runs.folder import Run

_TERA = 1e12


@reports("generate-plans")
def report(run: Run, *, quiet: bool, as_json: bool) -> None:
    """Draw a run's figures and print its plans, the slowest first."""
    from attnscope.cli.console import results, show_json, show_places, show_table
    from attnscope.figures.saving import save_figures

    if as_json:
        show_json(document(run))
        return
    figures, plans, settings = save_figures(run), run.read_table("plans"), run.settings
    if quiet:
        print(run.path)
        return
    title = (
        f"{settings['model']}, {settings['steps']} steps: the same noise and {_prompts(plans)}, "
        "the slowest plan first (medians and ranges of batches; SSIM with its 95 % interval)"
    )
    show_table(_shown(plans), title, {"10^12 MACs": ".4g", "s/image": ".3g", "kept MB": ".1f",
               "extra MB": ".1f", "PSNR (dB)": ".1f"})  # fmt: skip
    results.print(f"images: {run.path / 'images'}", soft_wrap=True)
    show_places(run, figures, " (plans.csv is the table)")


def document(run: Run) -> dict[str, Any]:
    """The same for machines; the figures are drawn, too."""
    from attnscope.figures.saving import save_figures

    names = ("plans", "times", "images", *(["stages"] if run.has_table("stages") else []))
    return {
        "run": run.path,
        "settings": run.settings,
        **{name: run.read_table(name) for name in names},
        "figures": save_figures(run),
    }


def _prompts(plans: pd.DataFrame) -> str:
    return how_many(int(plans["images"].iloc[0]), "prompt")


def _shown(plans: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    rows = plans.to_dict("records")
    return pd.DataFrame(
        {
            "plan": plans["plan"],
            "10^12 MACs": plans["paper_macs"] / _TERA,
            "s/image": plans["seconds"],
            "speed-up (range)": [
                f"{row['speedup']:.2f} ({row['speedup_low']:.2f}-{row['speedup_high']:.2f})"
                for row in rows
            ],
            "kept MB": plans["kept_mb"],
            "extra MB": plans["extra_mb"].round(1) + 0.0,  # no -0.0
            "PSNR (dB)": plans["psnr"],
            "SSIM": [_with_interval(row) for row in rows],
        }
    )


def _with_interval(row: dict[Any, Any]) -> str:
    if row["ssim"] != row["ssim"]:  # what the others are compared with
        return "-"
    ends = f" [{row['ssim_low']:.3f}, {row['ssim_high']:.3f}]"
    return f"{row['ssim']:.3f}" + (ends if row["ssim_low"] == row["ssim_low"] else "")
