"""What a user could pick instead of a plan: a file a package, found by itself.

Each rival goes through its own package, as its authors offer it, on a pipeline of its own over the
same weights, since some never unpatch. Nothing of them is imported before it is asked for; one that
cannot run says why. To add one, write a file here with a context manager that is decorated with
:func:`~attnscope.analyses.bench.rivals.base.registered`. Nothing here needs torch to be named.
"""

from importlib import import_module
from pkgutil import iter_modules

from attnscope.analyses.bench.rivals.base import (
    RIVALS,
    Call,
    Rival,
    Task,
    in_order,
    registered,
    twin,
)

__all__ = ["RIVALS", "Call", "Rival", "Task", "registered", "twin"]

for _file in iter_modules(__path__):
    import_module(f"{__name__}.{_file.name}")
in_order()
