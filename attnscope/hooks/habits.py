"""How a pipeline lays its guidance branches out in a batch, as its family says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from attnscope.families import of_pipeline


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
    family = of_pipeline(pipe)
    perturbed = hasattr(type(pipe), "do_perturbed_attention_guidance")
    if perturbed and getattr(pipe, "do_classifier_free_guidance", None) is False:
        pair = "branch0", "branch1"
    else:
        pair = ("cond", "uncond") if family.cond_first else ("uncond", "cond")
    return Habits(pair, steps_both=family.steps_both)
