"""Distances between an output and something other than that of the step before.

Distances between consecutive steps fall for a reason that has nothing to do with attention: the
steps of a scheduler shrink. Whether an output has converged is seen in its distance to what it will
be at the end; whether that is little, in its distance to what another caption would give; and
whether the guidance branches come to one result, in the distance between them. Measures are those
of :mod:`attnscope.observers.steps`.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attnscope.hooks.moments import Denoising
from attnscope.observers.rows import distances
from attnscope.sites.attention import Site


class PairNorms:
    """Norms of a difference and of what differs, of one site, at every step and row."""

    def __init__(self, site: Site, rows: int, numel: int, steps: int, device: torch.device) -> None:
        self.site, self.numel, self.rows = site, numel, rows
        self.there = np.zeros((steps, rows), dtype=bool)
        self.values = torch.full((steps, 3, rows), float("nan"), dtype=torch.float32, device=device)

    def take(self, step: int, place: slice, output: Tensor, reference: Tensor) -> None:
        """Compare rows ``[rows, numel]`` that stand at ``place``.

        Raises:
            RuntimeError: these were compared before.
        """
        if self.there[step, place].any():
            raise RuntimeError(
                f"{self.site.name} is called several times in a step: its outputs have no one "
                "place in it, so its distances cannot be measured; leave it out by sites=…"
            )
        self.there[step, place] = True
        values = self.values[step, :, place]
        torch.linalg.vector_norm(output.float() - reference.float(), dim=1, out=values[0])
        torch.linalg.vector_norm(output, dim=1, dtype=torch.float32, out=values[1])
        torch.linalg.vector_norm(reference, dim=1, dtype=torch.float32, out=values[2])

    def measures(self, values: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        """Every measure of what was compared, step-major."""
        difference, norm, reference = values.astype(np.float64).transpose(1, 0, 2)
        found = distances(difference, norm, reference, self.numel)
        return {name: measure[self.there] for name, measure in found.items()}


def norms_for(site: Site, rows: Tensor, steps: int) -> PairNorms:
    """Empty norms for a site whose outputs are as ``rows`` is, ``[rows, numel]``."""
    return PairNorms(site, len(rows), rows.shape[1], steps, rows.device)


def in_one_batch(run: Denoising) -> bool | None:
    """Whether one batch holds both guidance branches; ``None`` if there are not two."""
    if run.calls_per_step == 1 and run.samples and run.batch(0) == 2 * run.samples:
        return True
    if run.calls_per_step == 2 and run.batch(0) == run.batch(1) == run.samples:
        return False
    return None


def branch_layout(run: Denoising) -> tuple[bool, bool] | None:
    """Whether the conditional branch comes first and whether one batch holds both, if there are two.

    To be asked when a run is over: the text that tells branches apart is read from the device.
    """
    together = in_one_batch(run)
    if together is None:
        return None
    if together:
        halves = run.halves()
        guided = halves is not None and set(halves) == {"cond", "uncond"}
        return (halves[0] == "cond", True) if halves is not None and guided else None
    names = [run.label(call, run.batch(call))[1][0] for call in (0, 1)]
    return (names[0] == "cond", False) if set(names) == {"cond", "uncond"} else None
