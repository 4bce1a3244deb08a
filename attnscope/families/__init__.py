"""What is true of one family of denoisers alone: a file a family, found by itself.

Whoever has to know such a fact asks the family of a denoiser, of a pipeline, or of a class by its
name; see :class:`~attnscope.families.base.Family` for the questions and for the answers of a family
that is not known. To add one, write a file here with a subclass that names its classes. Nothing
here imports torch before it is asked to build something.
"""

from importlib import import_module
from pkgutil import iter_modules

from attnscope.families.base import (
    Family,
    denoiser_named,
    known,
    never_batched,
    of_denoiser,
    of_pipeline,
    pipeline_named,
    stream_of_block,
)
from attnscope.families.values import CallSizes, Stream, TextKeys

__all__ = [
    "CallSizes",
    "Family",
    "Stream",
    "TextKeys",
    "denoiser_named",
    "known",
    "never_batched",
    "of_denoiser",
    "of_pipeline",
    "pipeline_named",
    "stream_of_block",
]

for _file in iter_modules(__path__):
    import_module(f"{__name__}.{_file.name}")
