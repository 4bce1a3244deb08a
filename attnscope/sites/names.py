"""Names of sites: the path inside the denoiser, and the short form that tables and axes show.

Needs no torch, so that plots can use it.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

_LISTS = ("attentions", "transformer_blocks")


def short_site(name: str) -> str:
    """A site's name for an axis: ``down 0.0.0 attn2`` for a U-Net's long path."""
    first, *rest = name.split(".")
    *path, leaf = [part for part in rest if part not in _LISTS] or [""]
    return " ".join(filter(None, (re.sub("_blocks?$", "", first), ".".join(path), leaf)))


def is_named(name: str, pattern: str) -> bool:
    """Whether a site's name, long or short, matches a shell-style pattern.

    Args:
        name: the path inside the denoiser.
        pattern: such as ``up_blocks.1*``, ``mid 0.0 attn2`` or ``up 1*``.
    """
    return fnmatchcase(name, pattern) or fnmatchcase(short_site(name), pattern)
