"""Kinds of what is watched and acted on: attention, and what stands around it."""

from __future__ import annotations

from typing import Literal

Kind = Literal[
    "cross", "self", "joint", "feed-forward", "block", "resnet", "transformer", "sampler", "latent"
]
KINDS: tuple[Kind, ...] = ("cross", "self", "joint")
"""Of attention."""
AROUND: tuple[Kind, ...] = (
    "feed-forward",
    "block",
    "resnet",
    "transformer",
    "sampler",
    "latent",
)
"""Of what stands around it; see :mod:`attnscope.sites.around`."""
ACTING: tuple[Kind, ...] = (*KINDS, *(kind for kind in AROUND if kind != "latent"))
"""What a plan may act on: all that a module computes."""


def in_words(kind: str) -> str:
    """A kind as a sentence calls it: ``cross-attention``, ``feed-forward``."""
    return f"{kind}-attention" if kind in KINDS else kind
