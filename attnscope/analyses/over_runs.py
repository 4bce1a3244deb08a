"""Runs that differ by their seeds alone, as one: every arm on the images of all of them.

Images of one prompt are resampled together, whichever run they are of: three runs of the same 100
captions are 300 images of 100 prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from attnscope.analyses.bench.frontier import COMPARED
from attnscope.analyses.judged import BASELINE as UNPLANNED
from attnscope.analyses.side_by_side import differing_settings
from attnscope.metrics.summaries import over_images
from attnscope.runs.columns import OF_ABLATION, Comparison
from attnscope.runs.folder import Run

_FOLLOW_SEEDS = ("seed", "seeds", "prompts_digest")
"""Settings that a seed decides: it draws the captions, too."""
OF_GENERATION = Comparison(cell=("model",), column="arm", baseline=UNPLANNED)
"""The plan's images with those without it."""
COMPARISONS = {"ablate": OF_ABLATION, "bench": COMPARED, "generate": OF_GENERATION}
"""Which arms are compared with which, by the command whose runs have images with measures."""


def over_runs(runs: Sequence[Run]) -> pd.DataFrame:
    """The arms of runs that differ by their seeds alone, over all of their images.

    Args:
        runs: of one command.

    Returns:
        As of :func:`attnscope.metrics.summaries.over_images`. Empty where the runs differ by something
        else, two of them share a seed, or they hold no images that were measured.
    """
    command = runs[0].command
    if command not in COMPARISONS or not all(run.has_table("images") for run in runs):
        return pd.DataFrame()
    differing = set(differing_settings(runs)["setting"])
    if not differing & {"seed", "seeds"} or not differing <= set(_FOLLOW_SEEDS):
        return pd.DataFrame()
    tables = [_READERS.get(command, _seeded)(run) for run in runs]
    if any(len(table) == 0 for table in tables):
        return pd.DataFrame()
    seeds = [set(table["seed"]) for table in tables]
    if sum(map(len, seeds)) > len(set.union(*seeds)):
        return pd.DataFrame()
    together = pd.concat(tables, ignore_index=True)
    return over_images(together, compared=COMPARISONS[command])


def _seeded(run: Run) -> pd.DataFrame:
    """Images with the seed of their run."""
    images = run.read_table("images")
    return images if "seed" in images else images.assign(seed=run.settings["seed"])


def _of_generation(run: Run) -> pd.DataFrame:
    """Images of a run that was made both ways; of one that was not there is nothing to measure."""
    images = _seeded(run)
    if not (images["arm"] == UNPLANNED).any():
        return images.head(0)
    columns = [name for name in images if name not in ("height", "width")]
    return images[columns].assign(model=run.settings["model"])


_READERS: dict[str, Callable[[Run], pd.DataFrame]] = {"generate": _of_generation}
