"""From numbers on a device to tidy rows: what every observer does when a run is over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from attnscope.errors import InputError
from attnscope.hooks.moments import Denoising, Moment
from attnscope.sites.attention import Site
from attnscope.tables import concatenate

SITE_COLUMNS = ("run", "sample", "branch", "step", "timestep", "site", "kind", "block")
_CATEGORICAL = ("branch", "site", "kind", "block")


def labelled(
    run: Denoising, call: int, site: Site, steps: NDArray[np.int64], batch: int
) -> pd.DataFrame:
    """The columns that say where a value stands, step-major over ``steps`` and the batch's rows."""
    samples, branches = run.label(call, batch)
    if site.kind == "latent":
        branches = np.full_like(branches, "guided", dtype="<U6")
    return pd.DataFrame(
        {
            "run": run.index,
            "sample": np.tile(samples, len(steps)),
            "branch": np.tile(branches, len(steps)),
            "step": np.repeat(steps, batch),
            "timestep": np.repeat(run.timesteps()[steps], batch),
            "site": site.name,
            "kind": site.kind,
            "block": site.block,
        }
    )


def by_part(
    table: pd.DataFrame, values: NDArray[np.floating[Any]], numbers: Sequence[str], *, place: str
) -> pd.DataFrame:
    """Every row once for each head and each of its parts, such as words.

    Args:
        table: a row each.
        values: ``[number, row, head, part]``.
        numbers: the names of their columns.
        place: the name of the column that counts the parts; ``head`` counts the heads.
    """
    _, count, heads, parts = values.shape
    made = table.loc[table.index.repeat(heads * parts)]
    made["head"] = np.tile(np.repeat(np.arange(heads), parts), count)
    made[place] = np.tile(np.arange(parts), count * heads)
    for name, column in zip(numbers, values, strict=True):
        made[name] = column.reshape(-1)
    return made


def branch_rows(run: Denoising, moment: Moment, branch: str) -> slice:
    """Of the pipeline's batch, the rows of a guidance branch as far as it is known; else all that run."""
    samples = run.expected
    if samples is None or moment.batch % samples:
        return moment.held
    names = run.by_habit(moment.batch // samples)
    if names is None or branch not in names:
        return moment.held
    first = names.index(branch) * samples
    held = moment.held
    return slice(max(first, held.start), min(first + samples, held.stop))


def check_steps_of(run: Denoising, steps: Iterable[int]) -> None:
    """Refuse steps that a run does not have.

    Raises:
        InputError: it names them.
    """
    beyond = sorted(step for step in steps if not 0 <= step < run.steps)
    if beyond:
        raise InputError(f"steps={beyond} are not steps of this run (choose 0..{run.steps - 1})")


def distances(
    l2: NDArray[np.float64],
    norm: NDArray[np.float64],
    reference: NDArray[np.float64],
    numel: int,
) -> dict[str, NDArray[np.float64]]:
    """The measures of a distance, from the norms of a difference and of what differs.

    Args:
        l2: ||a - b||.
        norm: ||a||.
        reference: ||b||, which ``relative`` is relative to.
        numel: elements of a.
    """
    # 1 - cos(a, b) = (|a - b|^2 - (|a| - |b|)^2) / (2 |a| |b|): it needs no third pass over the
    # outputs, and small angles do not drown in the rounding of a cosine near 1.
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = (l2**2 - (norm - reference) ** 2) / (2 * norm * reference)
        relative = l2 / reference
    rms = l2 / np.sqrt(numel)
    return {"l2": l2, "rms": rms, "relative": relative, "cosine": np.maximum(cosine, 0)}


def tidy(table: pd.DataFrame) -> pd.DataFrame:
    """What is text becomes categorical."""
    return table.astype({name: "category" for name in _CATEGORICAL if name in table})


def joined(tables: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """All tables in one; without any, an empty one of these columns."""
    if not tables:
        return tidy(pd.DataFrame({name: [] for name in columns}))
    return concatenate(tables)


def to_host(tensors: Sequence[Tensor]) -> list[NDArray[np.float32]]:
    """Many small tensors to numpy, in one transfer from each device."""
    host: dict[int, NDArray[np.float32]] = {}
    for device in {tensor.device for tensor in tensors}:
        own = [index for index, tensor in enumerate(tensors) if tensor.device == device]
        flat = torch.cat([tensors[index].reshape(-1) for index in own]).cpu()
        parts = torch.split(flat, [tensors[index].numel() for index in own])
        for index, part in zip(own, parts, strict=True):
            host[index] = part.reshape(tensors[index].shape).numpy()
    return [host[index] for index in range(len(tensors))]
