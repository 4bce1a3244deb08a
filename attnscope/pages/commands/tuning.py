"""The plans that were found, what was tried, and what staleness costs when."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from attnscope.metrics.measures import MEASURES
from attnscope.pages.charts import Curve, Dot, Place, dots, lines, points
from attnscope.pages.commands.shared import schedule_of
from attnscope.pages.parts import Chart, Section, Table
from attnscope.pages.registry import shows
from attnscope.plots.style import letter
from attnscope.runs.columns import arm_shown
from attnscope.runs.folder import Run

_PROVEN = ("ssim", "all", "clip")
_SIGNS = {
    ".": "reused",
    "~": "forecast",
    "c": "conditional branch alone",
    "d": "last guidance goes on",
}


@shows("tune")
def sections(run: Run) -> Iterator[Section]:
    """Plans as schedules, all that was measured, calibration, proof."""
    plans = run.read_table("plans")
    steps = int(run.settings["steps"])
    drawn = [
        schedule_of(str(run.path / row["file"]), len(row["letters"]) or steps, title=f"For {row['budget']}", note=row["file"])
        for row in plans.to_dict("records")
    ]  # fmt: skip
    forms = {"ideal": ".2f", "by_time": ".2f", "ssim": ".4f", "psnr": ".1f", "ssim_error": ".4f", "psnr_error": ".1f",
             "damage": ".2g", "damage_error": ".2g", "predicted": ".2g"}  # fmt: skip
    table = Table("Plans", plans, {"ideal": "ideal speed-up", "by_time": "speed-up by time", "ssim": "SSIM", "psnr": "PSNR"}, forms, key="file")  # fmt: skip
    yield Section("Plans", [*drawn, table])
    yield Section(
        "What was tried",
        [
            _candidates(run.read_table("candidates"), plans),
            *_staleness(run.read_table("calibration")),
        ],
    )
    if run.has_table("times"):
        times, forms = run.read_table("times"), dict.fromkeys(("median", "low", "high"), ".3f")
        yield Section(
            "How long modules take", [Table("Times", times, forms=forms)],
            "Milliseconds in a call of the denoiser on one image, with one and with two branches.",
        )  # fmt: skip
    if run.has_table("proof"):
        proof = run.read_table("proof")
        proof = proof.assign(plan=proof["plan"].map(_short), against=proof["against"].map(_short))
        yield Section(
            "On captions that it has not seen", [*_proof(proof), _differences(proof)],
            "The plan's images less those of every other way, with 95 % intervals.",
        )  # fmt: skip


def _candidates(tried: pd.DataFrame, plans: pd.DataFrame) -> Chart:
    given = [Place("a plan that was measured", r["ideal"], r["ssim"], place=0) for r in tried.to_dict("records")]  # fmt: skip
    given += [
        Place(row["budget"], row["ideal"], row["ssim"], key=row["file"], letter=letter(place), place=2)
        for place, row in enumerate(plans.to_dict("records"))
    ]  # fmt: skip
    title = "Every plan that was measured"
    columns = ["letters", "guidance", "ideal", "ssim", "psnr", "damage"]
    return Chart(title, points(title, given, "ideal speed-up", "SSIM to the baseline"), tried[columns])  # fmt: skip


def _staleness(table: pd.DataFrame) -> Iterator[Chart]:
    """One stale step at a time: what it does to the images, over the steps."""
    for what, rows in table.groupby("what", sort=False):
        single = rows[rows["length"] == 1] if "length" in rows else rows
        keys = ["group", "letter", "step"]
        mean = single.groupby(keys, sort=False, dropna=False)["damage"].mean().reset_index()
        mean = mean.sort_values("step", kind="stable")
        curves = []
        for (group, sign), curve in mean.groupby(["group", "letter"], sort=False, dropna=False):
            told = (str(group), _SIGNS.get(str(sign), str(sign)))
            name = " ".join(part for part in told if part not in ("", "nan", "None"))
            curves.append(Curve(name or str(what), list(curve["step"]), list(curve["damage"])))
        if not curves or mean["step"].nunique() < 2:
            continue
        title = f"Damage of one step: {what}"
        yield Chart(title, lines(title, curves[:8], "step", "damage", log=True), mean,
                    "" if len(curves) <= 8 else f"The first 8 of {len(curves)}; the table has all.")  # fmt: skip


def _proof(proof: pd.DataFrame) -> Iterator[Chart]:
    plan = proof["plan"].iloc[0]
    for measure in [name for name in _PROVEN if name in set(proof["measure"])]:
        rows = proof[(proof["measure"] == measure) & (proof["plan"] == plan)]
        given = [
            Dot(row["against"], row["difference"], row["low"], row["high"])
            for row in rows.to_dict("records")
        ]
        heading = MEASURES[measure].heading
        title = f"{heading}: {plan} less others"
        yield Chart(title, dots(title, given, "difference", line=0.0), rows)


def _differences(proof: pd.DataFrame) -> Table:
    """Every difference; proofs of before have no p-values."""
    headings = {"p_holm": "p, Holm", "p_bh": "p, Benjamini-Hochberg",
                "detectable": "seen 4 times in 5", "needed": "prompts to see it"}  # fmt: skip
    forms = {"p": ".2g", "p_holm": ".2g", "p_bh": ".2g", "detectable": ".2g", "needed": ".0f"}
    known = {name: form for name, form in forms.items() if name in proof}
    note = "p-values are adjusted over all rows." if "p_holm" in proof else ""
    return Table("Differences", proof, headings, known, note=note)


def _short(arm: str) -> str:
    """A plan's file without the folders before it."""
    return arm_shown(arm.rsplit("/", 1)[-1])
