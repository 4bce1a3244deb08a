"""What is true of single pipelines of diffusers: how they lay guidance branches out in a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_COND_FIRST = (
    "LuminaPipeline",
    "ZImage",
    "StableCascade",
    "AceStep",
    "OmniGen",
    "Wuerstchen",
    "DiT",
)
"""Pipelines of diffusers that put the conditional branch first where one batch holds both."""
_STEPS_BOTH = ("DiTPipeline",)
"""Pipelines of diffusers that hand the scheduler both halves of a batch of two branches."""


@dataclass(frozen=True)
class Habits:
    """How a pipeline lays its guidance branches out.

    Args:
        pair: names of the two halves of a batch that holds two guidance branches.
        steps_both: whether it hands the scheduler both of them.
    """

    pair: tuple[str, str] = ("uncond", "cond")
    steps_both: bool = False


def habits_of(pipe: Any) -> Habits:
    """The habits of a pipeline's class, or of the one that it is derived from.

    Args:
        pipe: a pipeline; what is no pipeline of diffusers has the habits of most.
    """
    perturbed = hasattr(type(pipe), "do_perturbed_attention_guidance")
    if perturbed and getattr(pipe, "do_classifier_free_guidance", None) is False:
        pair = "branch0", "branch1"
    else:
        pair = ("cond", "uncond") if _is_one_of(pipe, _COND_FIRST) else ("uncond", "cond")
    return Habits(pair, steps_both=_is_one_of(pipe, _STEPS_BOTH))


def _is_one_of(pipe: Any, names: tuple[str, ...]) -> bool:
    """Whether a pipeline is of a class of diffusers whose name begins so, or of a subclass."""
    return any(
        kind.__name__.startswith(names)
        for kind in type(pipe).__mro__
        if kind.__module__.startswith("diffusers.")
    )
