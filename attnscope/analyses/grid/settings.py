"""What decides a run of several plans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from attnscope.plans.base import Baseline
from attnscope.runs.sampling import Sampling

COMMAND = "generate-plans"
"""What such a run is called in its ``run.json``."""


@dataclass(frozen=True, kw_only=True)
class GridSettings(Sampling):
    """What decides the images, besides how they are sampled.

    Args:
        captions: where they come from.
        prompts_digest: of the captions.
        plans: in their text forms; images are compared with those of the baseline, or else of the first.
        stages: whether the image that a trajectory holds after every step is kept, too.
    """

    captions: str
    prompts_digest: str
    plans: tuple[str, ...]
    stages: bool | None = field(default=None, metadata={"later": True})


def reference_of(plans: Sequence[str]) -> str:
    """The plan that others are compared with: the baseline, or else the first of them.

    Args:
        plans: in their text forms.
    """
    return str(Baseline()) if str(Baseline()) in plans else plans[0]
