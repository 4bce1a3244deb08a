"""How a pipeline lays its guidance branches out in a batch, as its family says it."""

from __future__ import annotations

from typing import Any

from attnscope.families import of_pipeline


def halves_of(pipe: Any) -> tuple[str, str]:
    """Names of the two halves of a batch that holds two guidance branches.

    Args:
        pipe: a pipeline; what is no pipeline of diffusers has the habits of most.
    """
    perturbed = hasattr(type(pipe), "do_perturbed_attention_guidance")
    if perturbed and getattr(pipe, "do_classifier_free_guidance", None) is False:
        return "branch0", "branch1"
    return ("cond", "uncond") if of_pipeline(pipe).cond_first else ("uncond", "cond")
