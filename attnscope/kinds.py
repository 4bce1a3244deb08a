"""Kinds of what is watched: attention, and what stands around it."""

from __future__ import annotations

from typing import Literal

Kind = Literal["cross", "self", "joint", "feed-forward", "block", "latent"]
KINDS: tuple[Kind, ...] = ("cross", "self", "joint")
"""Of attention."""
AROUND: tuple[Kind, ...] = ("feed-forward", "block", "latent")
"""Of what stands around it; see :mod:`attnscope.sites.around`."""
