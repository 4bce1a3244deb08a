"""How a pipeline lays its guidance branches out in a batch, as its family says it."""

from __future__ import annotations

from typing import Any

from attnscope.families import of_pipeline

PERTURBED = "perturbed"
"""Reads the prompt while some self-attention is the identity (perturbed-attention guidance)."""


def thirds_of(pipe: Any) -> tuple[str, str, str] | None:
    """Names of the thirds of a batch that holds three guidance branches; ``None`` where not known.

    Args:
        pipe: a pipeline. Those of perturbed-attention guidance of diffusers put its branch last.
    """
    perturbed = hasattr(type(pipe), "do_perturbed_attention_guidance")
    return ("uncond", "cond", PERTURBED) if perturbed else None


def halves_of(pipe: Any) -> tuple[str, str]:
    """Names of the two halves of a batch that holds two guidance branches.

    Args:
        pipe: a pipeline; what is no pipeline of diffusers has the habits of most.
    """
    if thirds_of(pipe) and getattr(pipe, "do_classifier_free_guidance", None) is False:
        return "cond", PERTURBED
    return ("cond", "uncond") if of_pipeline(pipe).cond_first else ("uncond", "cond")
