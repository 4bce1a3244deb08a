"""Cosmos 3, whose attention returns what it understands, then what it generates."""

from __future__ import annotations

from attnscope.families.base import Family
from attnscope.families.values import Stream


class Cosmos3(Family):
    """Two streams by names of its own."""

    denoisers = ("Cosmos3OmniTransformer",)
    streams = {"Cosmos3PackedMoTAttention": Stream("gen_seq", 1)}
