"""What a convergence run measures, of a pipeline that is there and of no model with a name."""

from types import SimpleNamespace

from attnscope.analyses.convergence.controls import Controlling, checked_items
from attnscope.analyses.convergence.measure import Watching
from attnscope.runs.crew import ALONE, Task
from attnscope.runs.progress import SILENT
from attnscope.tables import concatenate


def curves(pipe, settings, prompts, inputs, *, batch_size, progress=SILENT, **options):
    """The table ``records``, made batch by batch as a run makes it."""
    work = Watching(_model(pipe, options), settings)
    return _table(work, list(zip(prompts, inputs, strict=True)), batch_size, progress)


def controlled(pipe, settings, prompts, inputs, *, batch_size, progress=SILENT, **options):
    """The table ``controls``."""
    work = Controlling(_model(pipe, options), settings)
    return _table(work, checked_items(pipe, prompts, inputs), batch_size, progress)


def _model(pipe, options):
    return SimpleNamespace(pipe=pipe, described=SimpleNamespace(options=options))


def _table(work, items, batch_size, progress):
    done = ALONE.each([Task(0, items, work)], size=batch_size, progress=progress)
    return concatenate([part for one in done for part in one.made.parts.values()])
