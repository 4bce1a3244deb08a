"""What plans are written as for others: a file a format, found by itself.

To add one, write a file here with a function that is decorated with
:func:`~attnscope.plans.formats.base.registered`. It refuses what the format cannot say by one line. Nothing
of others is imported here, and nothing here needs torch.
"""

from importlib import import_module
from pkgutil import iter_modules

from attnscope.plans.formats.base import FORMATS, Format, registered

__all__ = ["FORMATS", "Format", "registered"]

for _file in iter_modules(__path__):
    import_module(f"{__name__}.{_file.name}")
