"""Figures of the paper and of what the commands find, drawn from run directories without a model.

Files are found by themselves. To add a figure of a command's runs, write a file here with a function
that is decorated with :func:`~attnscope.figures.registry.draws`.
"""

from importlib import import_module
from pkgutil import iter_modules

for _file in iter_modules(__path__):
    import_module(f"{__name__}.{_file.name}")
