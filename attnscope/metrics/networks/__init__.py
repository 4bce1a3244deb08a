"""Networks whose features FID and KID compare: a file a network, found by itself.

To add one, write a file here with a function that builds it and is decorated with
:func:`~attnscope.metrics.networks.base.registered`. Nothing here imports torch before it is asked to
build something.
"""

from importlib import import_module
from pkgutil import iter_modules

from attnscope.metrics.networks.base import NETWORKS, Network, registered

__all__ = ["FEATURES", "NETWORKS", "Network", "registered"]

for _file in iter_modules(__path__):
    import_module(f"{__name__}.{_file.name}")

FEATURES = ("auto", "none", *NETWORKS)
"""What a command may be asked for: what fits, none at all, or those of one network."""
