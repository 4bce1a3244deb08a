"""Where the time of a pipeline goes: attention by kind, the rest of the denoiser, the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from attnscope.analyses.bench.arms import Contender, shuffled
from attnscope.analyses.bench.rounds import Workload
from attnscope.runs.progress import SILENT, Progress

if TYPE_CHECKING:
    from attnscope.analyses.bench.instruments import Stopwatch

TIME_PARTS = ("cross", "self", "joint", "other", "outside")
"""Where the time goes: attention by kind, the rest of the denoiser, and what is outside of it."""


def measure_breakdown(
    pipe: Any,
    arms: Sequence[Contender],
    workload: Workload,
    *,
    passes: int,
    stopwatch: Stopwatch,
    progress: Progress = SILENT,
) -> pd.DataFrame:
    """Where the time goes: means of several rounds with a stopwatch at every site, after one call.

    Args:
        pipe: the pipeline; it is left as it was.
        arms: without rivals, whose modules are their own.
        workload: what each is called with.
        passes: calls of each.
        stopwatch: of the pipeline's device.
        progress: told of every call.

    Returns:
        A row per arm and part of :data:`TIME_PARTS`: ``seconds`` per image and its ``share``.
    """
    import torch

    from attnscope.analyses.bench.instruments import ModuleTimes
    from attnscope.sites.denoiser import Denoiser

    denoiser = Denoiser.of(pipe)
    modules: dict[str, list[Any]] = {"denoiser": [denoiser.outer]}
    for site in denoiser.sites:
        modules.setdefault(site.kind, []).append(denoiser.submodule(site))
    times = {arm.name: ModuleTimes(modules, stopwatch) for arm in arms}
    totals = dict.fromkeys(times, 0.0)
    with torch.inference_mode():
        workload.of(pipe)()
    for number in range(passes):
        for arm in shuffled(arms, number):
            with torch.inference_mode(), arm.on(pipe) as call, times[arm.name].on():
                totals[arm.name] += stopwatch.time(workload.of(call))[1]
            progress.advance()
    tables = []
    for name, total in totals.items():
        found = times[name].seconds()
        inside = found.pop("denoiser")
        found |= {"other": inside - sum(found.values()), "outside": total - inside}
        seconds = {
            part: found[part] / passes / workload.images for part in TIME_PARTS if part in found
        }
        table = pd.DataFrame(seconds.items(), columns=["part", "seconds"])
        table.insert(0, "arm", name)
        tables.append(table.assign(share=table["seconds"] / table["seconds"].sum()))
    return pd.concat(tables, ignore_index=True)
