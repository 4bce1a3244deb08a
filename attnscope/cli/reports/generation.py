"""What ``attnscope generate`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnscope.cli.reports import reports
from attnscope.cli.reports.questions import show_categories
from attnscope.metrics.adjusting import ADJUSTMENTS

if TYPE_CHECKING:
    import pandas as pd

    from attnscope.runs.folder import Run


@reports("generate")
def report(run: Run, *, adjust: str = ADJUSTMENTS[0], quiet: bool, as_json: bool) -> None:
    """Draw a generate run's figures and print what was computed, reused and gained."""
    from attnscope.analyses.generation import speed_up
    from attnscope.cli.console import results, show_json, show_places, show_table
    from attnscope.figures.generation import MOST_COLUMNS
    from attnscope.figures.saving import save_figures

    if as_json:
        show_json(document(run))
        return
    images, calls, times = (run.read_table(name) for name in ("images", "calls", "times"))
    figures = save_figures(run)
    planned, ratios = _planned(times), speed_up(times)
    if quiet:
        print(run.path)
        return
    about = f"{run.settings['model']}{_size(images)}, {run.settings['plan']}"
    title = f"{about}: calls of modules"
    show_table(calls, title)
    results.print(f"guided steps: {planned['guided_steps']} of {planned['steps']}", soft_wrap=True)
    for line in _times(times, ratios, images):
        results.print(line, soft_wrap=True)
    _show_quality(run, adjust)
    results.print(f"images: {run.path / 'images'}", soft_wrap=True)
    show_places(run, figures)
    if images["prompt_id"].nunique() > MOST_COLUMNS and len(ratios):
        results.print(f"the comparison shows the first {MOST_COLUMNS} prompts", soft_wrap=True)


def document(run: Run) -> dict[str, Any]:
    """The same for machines; the figures are drawn, too."""
    from attnscope.analyses.generation import speed_up
    from attnscope.figures.saving import save_figures

    images, calls, times = (run.read_table(name) for name in ("images", "calls", "times"))
    figures, planned = save_figures(run), _planned(times)
    return {
        "run": run.path,
        "plan": run.settings["plan"],
        "calls": calls,
        "steps": int(planned["steps"]),
        "guided_steps": int(planned["guided_steps"]),
        "times": times,
        "speed_up": speed_up(times),
        "images": images,
        "figures": figures,
        **({"quality": run.read_table("quality")} if run.has_table("quality") else {}),
    }


def _show_quality(run: Run, adjust: str) -> None:
    """Every measure with its interval, what answers to questions come to, and what is beyond chance."""
    import pandas as pd

    from attnscope.analyses.judged import compared
    from attnscope.cli.console import results, show_table
    from attnscope.metrics.measures import MEASURES
    from attnscope.metrics.told import larger_than_chance
    from attnscope.metrics.verdicts import untested

    if not run.has_table("quality"):
        return
    table = run.read_table("quality")
    arms = list(table["arm"].drop_duplicates())
    rows: dict[str, dict[str, str]] = {}
    for row in table.to_dict("records"):
        known = MEASURES[row["measure"]]
        value, low, high = (format(row[name], known.form) for name in ("value", "low", "high"))
        shown = value if pd.isna(row["low"]) else f"{value} [{low}, {high}]"
        rows.setdefault(known.heading, {})[row["arm"]] = shown
    shown_table = pd.DataFrame.from_dict(rows, orient="index")[arms].rename_axis("measure")
    show_table(
        shown_table.reset_index(),
        f"quality of {table['n'].max()} images an arm, with 95 % intervals over prompts",
    )
    show_categories(run)
    told = larger_than_chance(table, compared=compared(arms), adjust=adjust)
    for line in (*told, *untested(table)):
        results.print(line, soft_wrap=True)
    results.print(f"every value with its interval: {run.path / 'quality.csv'}", soft_wrap=True)


def _planned(times: pd.DataFrame) -> pd.Series[Any]:
    """The first batch that was made by the plan."""
    return times[times["arm"] == "plan"].iloc[0]


def _size(images: pd.DataFrame) -> str:
    """The size that was made; runs of before do not say."""
    if "width" not in images:
        return ""
    first = images.iloc[0]
    return f" at {first['width']}x{first['height']}"


def _times(times: pd.DataFrame, ratios: pd.Series[float], images: pd.DataFrame) -> list[str]:
    per_image = times.groupby("arm")[["seconds", "images"]].sum()
    seconds = per_image["seconds"] / per_image["images"]
    lines = [f"time: {seconds['plan']:.3g} s an image, the first call's start-up included"]
    if len(ratios):
        lines = [
            f"time: {seconds['plan']:.3g} s an image with the plan, "
            f"{seconds['baseline']:.3g} s without"
        ]
        spread = f" (of {len(ratios)} batches, {ratios.min():.2f} to {ratios.max():.2f})"
        lines.append(
            f"speed-up: {ratios.median():.2f}" + (spread if len(ratios) > 1 else " (one batch)")
        )
        ours = images[images["arm"] == "plan"]
        same = ours["psnr"] == float("inf")
        changed = ours[~same]
        if len(changed):
            lines.append(
                f"to the baseline's images: PSNR {changed['psnr'].mean():.1f} dB, "
                f"SSIM {changed['ssim'].mean():.3f} (means of {len(changed)})"
            )
        if same.any():
            lines.append(f"{same.sum()} of {len(ours)} images are the baseline's to the bit")
    return lines
