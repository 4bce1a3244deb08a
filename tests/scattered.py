"""A crew that makes batches as others would, without other processes."""

import pickle
from dataclasses import replace

from attnscope.runs.batches import Fitting
from attnscope.runs.crew import Crew, Done


class Scattered(Crew):
    """Sends every batch to a model that was loaded by its name, and makes the last one first.

    Args:
        most: batches after which it is stopped, as by Ctrl-C.
    """

    elsewhere = True

    def __init__(self, most=10**9):
        super().__init__()
        self.most, self.models, self.made, self.closed = most, {}, [], 0

    def _each(self, tasks, size, progress):
        for task in reversed(list(tasks)):
            if len(self.made) >= self.most:
                raise KeyboardInterrupt
            sent = pickle.loads(pickle.dumps(task))
            model = self.models.setdefault(sent.work.model.key, sent.work.model)
            work = replace(sent.work, model=model)
            for items, made in Fitting(size).through(
                sent.items, lambda items, work=work, sent=sent: work(work.model.pipe, items, sent.number)
            ):  # fmt: skip
                self.made.append(type(work).__name__)
                yield Done(task, items, made, 1)

    def close(self):
        self.closed += 1
