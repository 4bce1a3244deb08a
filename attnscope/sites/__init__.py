"""Where attention happens in a denoiser.

``attention`` finds the sites, ``around`` what stands around them, ``outputs`` tells how large what they
return is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnscope.lazy import load_from

if TYPE_CHECKING:
    from attnscope.sites.around import find_around
    from attnscope.sites.attention import Site, find_sites, select_sites
    from attnscope.sites.denoiser import Denoiser
    from attnscope.sites.names import short_site

_HOMES = {
    "attention": ["Site", "find_sites", "select_sites"],
    "around": ["find_around"],
    "denoiser": ["Denoiser"],
    "names": ["short_site"],
}

__all__ = [
    "Denoiser",
    "Site",
    "find_around",
    "find_sites",
    "select_sites",
    "short_site",
]

__getattr__ = load_from(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
