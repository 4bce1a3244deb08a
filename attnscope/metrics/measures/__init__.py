"""Measures of image quality: what is to be said of each, and how it is taken. Files are found by themselves.

To add one, write a file here with a function that takes it, decorated with
:func:`~attnscope.metrics.measures.base.measures`; judging takes it then, and tables, verdicts and
figures ask what it says. Nothing here imports torch before something is measured.
"""

from importlib import import_module
from pkgutil import iter_modules

from attnscope.metrics.measures.base import (
    MEASURES,
    Measure,
    Seen,
    in_order,
    measures,
    ranked,
    takers,
)

__all__ = ["DRAWN", "LEADING", "MEASURES", "PANELS", "Measure", "Seen", "measures", "takers"]

for _file in iter_modules(__path__):
    import_module(f"{__name__}.{_file.name}")
in_order()

LEADING = ranked("leading")
"""Measures to show in tables where there is no room for all."""
DRAWN = tuple(name for name in LEADING if MEASURES[name].part_of is None)
"""Those that figures have axes for, the first ones first."""
PANELS = ranked("panel")
"""Those that speed is drawn against, the first ones first."""
