"""Every plan in one row: what it computes, how long it takes, what it keeps, how far its images are.

The paper's grids of samples (Figures 1b, 6, A1, A2 and A5) have their rows in the order of latency: so
has this table, by the latency that was measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from attnscope.analyses.bench.speedups import ranged
from attnscope.analyses.grid.settings import GridSettings, reference_of
from attnscope.errors import InputError
from attnscope.metrics.intervals import bootstrap
from attnscope.runs.folder import key_of

if TYPE_CHECKING:
    from attnscope.models.chosen import ChosenModel


def costs_of(chosen: ChosenModel, settings: GridSettings) -> pd.DataFrame:
    """What every plan computes and keeps, from shapes, where the model is known.

    Args:
        chosen: the model.
        settings: of the run.

    Returns:
        A row per plan: ``plan``, ``macs`` and ``paper_macs`` (multiply-accumulates of an image, all of them and
        by the paper's convention), ``kept_mb`` (kept for reuse, of one image, in units of 2^20 bytes); NaN where
        the architecture cannot be counted from its files.
    """
    import torch

    from attnscope.cost.counting import count_architecture
    from attnscope.cost.plans import cost_of
    from attnscope.models import architectures

    nothing = pd.DataFrame({"plan": settings.plans}).reindex(
        columns=["plan", "macs", "paper_macs", "kept_mb"]
    )
    try:
        found = architectures.find(settings.model, offline=True)
        found = found.resized(settings.height, settings.width)
        counts = count_architecture(found)
    except InputError:
        return nothing.astype(dict.fromkeys(nothing.columns[1:], float))
    guided = settings.guidance > 1 and not found.embeds_guidance
    steps, levels = chosen.steps_made(settings.steps), chosen.levels(settings.steps)
    told = levels if levels is not None and len(levels) == steps else None
    item, rows = getattr(torch, settings.dtype).itemsize, []
    for plan in settings.plans:
        cost = cost_of(counts, plan, steps, guided=guided, levels=told)
        kept = max(cost.kept) * item / 2**20
        rows.append((plan, float(cost.macs()), float(cost.macs("paper")), kept))
    return pd.DataFrame(rows, columns=nothing.columns)


def by_plan(times: pd.DataFrame, images: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """Every plan in one row.

    Args:
        times: a row per batch and plan: ``batch``, ``plan``, ``images``, ``seconds``, ``peak_mb``,
            ``steps``, ``guided_steps``.
        images: a row per image: ``plan``, ``prompt_id``, ``text``, ``frame``, ``psnr`` and ``ssim`` to the
            reference's.
        costs: of :func:`costs_of`.

    Returns:
        The slowest plan first: ``plan``, ``key``, ``steps``, ``guided_steps``, ``macs`` and ``paper_macs`` (see
        ``costs``), ``seconds`` an image (median over batches, range ``seconds_low`` to ``seconds_high``),
        ``speedup`` over the reference within a batch (median and range), ``peak_mb`` and ``extra_mb`` (over the
        reference's of the same batch; medians), ``kept_mb``, ``images``, ``psnr`` (dB, of the mean squared
        error), ``ssim`` with its 95 % interval ``ssim_low`` to ``ssim_high``,
        over prompts (equal texts are one).
    """
    each = times.assign(seconds=times["seconds"] / times["images"])
    seconds = each.pivot(index="batch", columns="plan", values="seconds")
    peaks = times.pivot(index="batch", columns="plan", values="peak_mb")
    reference, rows = reference_of(list(costs["plan"])), []
    for cost in costs.to_dict("records"):
        plan = cost["plan"]
        own, of_plan = images[images["plan"] == plan], times[times["plan"] == plan]
        alike = own.groupby(["prompt_id", "text"], as_index=False)["ssim"].mean().dropna()
        similar = bootstrap(alike["ssim"], clusters=alike["text"])
        error = (10 ** (-own["psnr"] / 10)).mean()
        with np.errstate(divide="ignore"):
            decibels = -10 * np.log10(error)
        row = {
            "plan": plan,
            "key": key_of(plan),
            "steps": int(of_plan["steps"].iloc[0]),
            "guided_steps": int(of_plan["guided_steps"].iloc[0]),
            "macs": cost["macs"],
            "paper_macs": cost["paper_macs"],
            **ranged("seconds", seconds[plan]),
            **ranged("speedup", seconds[reference] / seconds[plan]),
            "peak_mb": float(peaks[plan].median()),
            "extra_mb": float((peaks[plan] - peaks[reference]).median()),
            "kept_mb": cost["kept_mb"],
            "images": int(own["prompt_id"].nunique()),
            "psnr": float(decibels),
            "ssim": similar.value,
            "ssim_low": similar.low,
            "ssim_high": similar.high,
        }
        rows.append(row)
    return pd.DataFrame(rows).sort_values("seconds", ascending=False, ignore_index=True)
