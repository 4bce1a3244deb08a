"""Where attention happens in a denoiser.

``attention`` finds the sites, ``around`` what stands around them, ``outputs`` tells how large what they
return is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnscope.lazy import lazily

if TYPE_CHECKING:
    from attnscope.sites.around import find_around as find_around
    from attnscope.sites.attention import Site as Site
    from attnscope.sites.attention import find_sites as find_sites
    from attnscope.sites.attention import select_sites as select_sites
    from attnscope.sites.denoiser import Denoiser as Denoiser
    from attnscope.sites.names import short_site as short_site

__getattr__, __dir__, __all__ = lazily(__name__, __file__)
