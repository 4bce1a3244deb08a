"""When does attention converge? See the paper's section 3.1, Figures 2 and A3.

Runs a model on captions and measures how far every attention site's output moves from one
denoising step to the next. :func:`watched` needs a model; the summaries need its table alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from attnscope.analyses.convergence import THRESHOLD
from attnscope.runs.crew import Made
from attnscope.runs.prompts import Prompt
from attnscope.runs.sampling import Sampling

if TYPE_CHECKING:
    from attnscope.models.chosen import ChosenModel


@dataclass(frozen=True, kw_only=True)
class ConvergenceSettings(Sampling):
    """What decides the numbers of a convergence run, besides how its images are sampled.

    Args:
        captions: name of the captions file, or of the embedded world's split.
        prompts_digest: SHA-256 over the captions that were used.
        limit: how many captions.
        kinds: kinds of attention sites.
        sites: pattern of site names, or ``None`` for all.
    """

    captions: str
    prompts_digest: str
    limit: int
    kinds: tuple[str, ...]
    sites: str | None


def watched(
    pipe: Any,
    settings: ConvergenceSettings,
    options: Mapping[str, Any],
    batch: Sequence[tuple[Prompt, Any]],
) -> pd.DataFrame:
    """Distances between consecutive outputs of every site, for a batch of prompts.

    Args:
        pipe: the pipeline.
        settings: of the run.
        options: further keywords of the pipeline.
        batch: every prompt with its input: its text, or an image for a video model. How many there are
            changes nothing in the rows.

    Returns:
        The columns of :class:`attnscope.StepDistance`, with ``prompt_id``, ``image`` and ``seed``
        in the place of ``run`` and ``sample``.
    """
    from attnscope.hooks.trace import Trace
    from attnscope.observers.steps import StepDistance

    ids = [prompt.prompt_id for prompt, _ in batch]
    with Trace(pipe, observers=[StepDistance(settings.kinds, settings.sites)]) as trace:
        inputs = [given for _, given in batch]
        settings.call(pipe, inputs, ids, output_type="latent", **options)
    table = trace.records()
    sample = table.pop("sample").to_numpy()
    table = table.drop(columns="run")
    table.insert(0, "prompt_id", np.array(ids)[sample])
    table.insert(1, "image", 0)
    table.insert(2, "seed", np.array(settings.seeds(ids), dtype=np.uint64)[sample])
    return table


@dataclass(frozen=True)
class Watching:
    """Makes the rows of a batch; a :class:`attnscope.runs.crew.Work`.

    Args:
        model: that is watched.
        settings: of the run.
    """

    model: ChosenModel
    settings: ConvergenceSettings

    def __call__(self, pipe: Any, items: Sequence[Any], number: int) -> Made:
        """Watch it."""
        options = self.model.described.options
        return Made(parts={"records": watched(pipe, self.settings, options, items)})


def converged_steps(records: pd.DataFrame, threshold: float = THRESHOLD) -> pd.DataFrame:
    """The step by which every site has converged.

    Args:
        records: of a run, from :func:`watched`.
        threshold: part of a site's first relative change that counts as converged.

    Returns:
        One row per site, in the order of data flow: ``site``, ``kind``, ``block``, ``first`` and
        ``last`` (mean relative change at the first and the last step), ``step`` (the first one
        below the threshold) and ``stays`` (whether it stays
        below); both missing if there is none.
    """
    rows: list[dict[str, Any]] = []
    grouped = records.groupby(["site", "kind", "block"], observed=True, sort=False)
    for (site, kind, block), group in grouped:
        curve = group.groupby("step")["relative"].mean()
        below = curve < threshold * curve.iloc[0]
        step = below.idxmax() if below.any() else None
        rows.append(
            {
                "site": site,
                "kind": kind,
                "block": block,
                "first": curve.iloc[0],
                "last": curve.iloc[-1],
                "step": step,
                "stays": bool(below.loc[step:].all()) if step is not None else None,
            }
        )
    return pd.DataFrame(rows).astype({"step": "Int64", "stays": "boolean"})


def unchanging(records: pd.DataFrame) -> list[tuple[str, str]]:
    """Kinds and branches of attention whose outputs do not change over the steps at all.

    They look at one value wherever they look: the single image token of Stable Video Diffusion, or
    the zeros that Stable Diffusion XL uses for the unconditional text.

    Returns:
        Pairs of kind and branch.
    """
    largest = records.groupby(["kind", "branch"], observed=True)["relative"].max()
    return [(str(kind), str(branch)) for kind, branch in largest[largest < 1e-6].index]
