"""What a model's attention costs and what a plan saves, in multiply-accumulates (MACs).

``counts`` holds the cost of one call of the denoiser, which ``counting`` finds from shapes alone;
``plans`` says what a plan makes of it, ``resolutions`` what it is at other sizes, and ``published`` what
the paper has for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnscope.lazy import load_from

if TYPE_CHECKING:
    from attnscope.cost.counting import count_architecture
    from attnscope.cost.counts import (
        CONVENTIONS,
        PARTS,
        Convention,
        Counts,
        SiteCost,
        counted,
        summed,
    )
    from attnscope.cost.plans import Cost, attribution, cost_of, savings
    from attnscope.cost.resolutions import counts_of, crossover, scaling

_HOMES = {
    "counts": ["CONVENTIONS", "PARTS", "Convention", "Counts", "SiteCost", "counted", "summed"],
    "counting": ["count_architecture"],
    "plans": ["Cost", "attribution", "cost_of", "savings"],
    "resolutions": ["counts_of", "crossover", "scaling"],
}

__all__ = [
    "CONVENTIONS",
    "PARTS",
    "Convention",
    "Cost",
    "Counts",
    "SiteCost",
    "attribution",
    "cost_of",
    "count_architecture",
    "counted",
    "counts_of",
    "crossover",
    "savings",
    "scaling",
    "summed",
]

__getattr__ = load_from(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
