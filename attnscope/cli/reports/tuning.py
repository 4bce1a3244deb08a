"""What ``attnscope tune`` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attnscope.cli.reports import reports
from attnscope.metrics.adjusting import ADJUSTMENTS

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from attnscope.runs.folder import Run


@reports("tune")
def report(run: Run, *, adjust: str = ADJUSTMENTS[0], quiet: bool, as_json: bool) -> None:
    """Draw a tune run's figures and print the plans that were found."""
    from attnscope.cli.console import results, show_json, show_places, show_table

    if as_json:
        show_json(document(run))
        return
    figures = _figures(run)
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
    again = f", {len(run.read_table('confirmed'))} of them on {settings['confirmed']} captions more" if run.has_table("confirmed") else ""  # fmt: skip
    results.print(f"{tried} plans were measured{again}", soft_wrap=True)
    if run.has_table("proof"):
        _show_proof(run, adjust)
    else:
        results.print(
            "all of these captions had a part in the search: the same command with --prove "
            "300 measures plans on others, and against T-GATE, fewer steps and other packages",
            soft_wrap=True,
        )
    show_places(run, figures)


def _figures(run: Run) -> list[Path]:
    """All of the search, and of its proof, which has speed and quality of the plans and of all else."""
    from attnscope.analyses.tuning.proof import FOLDER
    from attnscope.figures.saving import save_figures
    from attnscope.runs.folder import Run

    figures = save_figures(run)
    proof = run.path / FOLDER
    proven = run.has_table("proof") and (proof / "run.json").exists()
    return [*figures, *save_figures(Run(proof))] if proven else figures


def _show_proof(run: Run, adjust: str) -> None:
    """The benchmark of the plans, and how the first differs from every other way."""
    from attnscope.analyses.tuning.proof import FOLDER
    from attnscope.cli.console import results, show_table
    from attnscope.metrics.told import family, is_told, seen
    from attnscope.runs.columns import arm_shown
    from attnscope.runs.folder import Run

    proof, made = run.read_table("proof"), Run(run.path / FOLDER)
    named = proof.rename(
        columns={"low": "difference_low", "high": "difference_high", "against": "arm"}
    )
    proof = proof.assign(told=is_told(named, adjust))
    arms = {row["arm"]: row for row in made.read_table("arms").to_dict("records")}
    for plan, rows in proof.groupby("plan", sort=False):
        wide = rows.assign(
            said=[
                f"{r['difference']:+.3f} [{r['low']:+.3f}, {r['high']:+.3f}]" + " ≠" * r["told"]
                for r in rows.to_dict("records")
            ]
        ).pivot(index="against", columns="measure", values="said")
        shown = [name for name in ("ssim", "psnr", "all", "clip") if name in wide]
        own = arms[plan]
        table = wide[shown].reset_index()
        faster = [own["speedup"] / arms[arm]["speedup"] for arm in table["against"]]
        table.insert(1, "faster by", [f"{ratio:.2f}" for ratio in faster])
        table["against"] = table["against"].map(arm_shown)
        show_table(
            table,
            f"{plan}: {own['speedup']:.2f} times as fast as the pipeline as it is (ideal "
            f"{own['ideal']:.2f}); its "
            f"images less those of others, on {rows['n'].max()} captions that it was not searched on "
            f"(≠ {family(named, adjust)})",
        )
        for line in seen(named[proof["plan"] == plan]):
            results.print(line, soft_wrap=True)
    prompts = made.read_table("images")
    worst = proof[proof["measure"] == "ssim"].drop_duplicates("plan")
    for row in worst.to_dict("records"):
        at = prompts[(prompts["arm"] == row["plan"]) & (prompts["prompt_id"] == row["worst"])].iloc[
            0
        ]
        results.print(
            f"worst of {row['plan']}: SSIM {at['ssim']:.3f} at prompt {row['worst']}, "
            f"{made.path / at['path']}",
            soft_wrap=True,
        )


def document(run: Run) -> dict[str, Any]:
    """The same for machines; the figures are drawn, too."""
    figures, plans = _figures(run), run.read_table("plans")
    return {
        "run": run.path,
        "plans": plans,
        "files": [run.path / name for name in plans["file"]],
        "candidates": run.read_table("candidates"),
        "figures": figures,
        **({"proof": run.read_table("proof")} if run.has_table("proof") else {}),
    }


def _shown(plans: pd.DataFrame) -> pd.DataFrame:
    """The plans as a table for people."""
    import pandas as pd

    rows = []
    for row in plans.to_dict("records"):
        computed, guided = row["letters"].count("#"), row["guidance"].count("b")
        steps, fresh = len(row["letters"]), str(row["fresh"] or "").count(";") + bool(row["fresh"])
        rows.append(
            {
                "budget": row["budget"],
                "ideal speed-up": round(row["ideal"], 2),
                **({"by time": round(row["by_time"], 2)} if "by_time" in row else {}),
                "SSIM": f"{row['ssim']:.4f} ± {row['ssim_error']:.4f}",
                **_confirmed(row),
                "PSNR": f"{row['psnr']:.1f} ± {row['psnr_error']:.1f}",
                "damage": f"{row['damage']:.2g}",
                "predicted": f"{row['predicted']:.2g}",
                "computed": f"{computed} of {steps}"
                + (f", {fresh} groups in all" if fresh else ""),
                "guided": f"{guided} of {steps}",
                "file": row["file"],
            }
        )
    return pd.DataFrame(rows)


def _confirmed(row: Mapping[Any, Any]) -> dict[str, str]:
    """The SSIM of a plan on the captions that it was confirmed on, where it was."""
    if "confirmed_ssim" not in row:
        return {}
    return {"confirmed": f"{row['confirmed_ssim']:.4f} ± {row['confirmed_ssim_error']:.4f}"}
