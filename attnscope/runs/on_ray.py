"""Batches made by workers of Ray, here or on a cluster.

A worker is an actor (:mod:`attnscope.runs.ray_hand`) that loads the model once and is given one batch after
the other; the driver, which is the process that opened the run, hands out batches, fetches what came of them
and writes it. A worker that dies costs its batch, which another one makes again.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from attnscope.errors import InputError, in_a_line
from attnscope.runs.about import versions
from attnscope.runs.crew import Crew, Done, Task
from attnscope.runs.cut import WHOLE, Share
from attnscope.runs.progress import Progress
from attnscope.runs.ray_cluster import Cluster
from attnscope.runs.ray_hand import Hand

_DEATHS = 3
"""Workers that one batch may take with it, and that may die in a row before any is ready."""
_PATIENCE = 60
"""Seconds after which it is said that nobody makes anything."""


@dataclass
class _Worker:
    """A worker as the driver knows it."""

    number: int
    actor: Any
    asked: Any
    task: Task | None = None
    pid: int | None = None
    ready: bool = False


class RayCrew(Crew):
    """Workers of Ray.

    Args:
        workers: how many; ``None`` is one a GPU of the cluster, or a CPU if it has none.
        address: of a cluster, or ``auto``; ``None`` starts Ray on this machine, and stops it at the end.
        gpus: of each worker, such as 0.5; ``None`` is one where models are on GPUs.
        share: which of a run's batches are made at all.

    Raises:
        InputError: Ray is not installed, or there is no cluster, or too few GPUs on this machine.
    """

    elsewhere = True

    def __init__(
        self,
        workers: int | None = None,
        address: str | None = None,
        gpus: float | None = None,
        share: Share = WHOLE,
    ) -> None:
        super().__init__(share)
        self._asked, self._gpus = workers, gpus
        self._cluster = Cluster(address, cpus=workers)
        self._ray = self._cluster.ray
        self._workers: list[_Worker] = []
        self._made = 0
        self._device = "cpu"

    def device(self, asked: str) -> str:
        """The device that ``auto`` comes to for the workers.

        Raises:
            InputError: one GPU is named, of which there may be many.
        """
        if asked.startswith("cuda:"):
            raise InputError(f"device {asked!r} is one GPU, and workers have one each: say 'cuda'")
        has_gpus = self._cluster.resources.get("GPU", 0) > 0
        self._device = ("cuda" if has_gpus else "cpu") if asked == "auto" else asked
        return self._device

    @property
    def count(self) -> int:
        """How many workers there are to be."""
        if self._asked is not None:
            return self._asked
        found = self._cluster.resources
        on_gpus = int(found.get("GPU", 0) / self._gpus_each) if self._gpus_each else 0
        return max(1, on_gpus or int(found.get("CPU", 1)))

    @property
    def threads(self) -> int:
        """Of the CPU, of each worker: on this machine they share its cores, elsewhere each has one."""
        import torch

        if self._cluster.address is not None:
            return 1
        return min(torch.get_num_threads(), max(1, _cores() // self.count))

    @property
    def _gpus_each(self) -> float:
        return (1.0 if self._gpus is None else self._gpus) if self._device == "cuda" else 0.0

    def close(self) -> None:
        """Let go of the workers, and stop Ray if it was started here."""
        for worker in self._workers:
            with contextlib.suppress(Exception):
                self._ray.kill(worker.actor)
        self._workers = []
        self._cluster.close()

    def _hire(self) -> None:
        """Start one more worker."""
        self._made += 1
        kind = self._ray.remote(num_cpus=0 if self._gpus_each else 1, num_gpus=self._gpus_each)
        actor = kind(Hand).remote(self.threads, os.getcwd(), [p for p in sys.path if p])
        self._workers.append(_Worker(self._made, actor, actor.hello.remote()))

    def _check_room(self) -> None:
        """On this machine nobody will bring more GPUs.

        Raises:
            InputError: there are too few.
        """
        there = self._cluster.resources.get("GPU", 0)
        if self._cluster.address is None and self._gpus_each * self.count > there:
            raise InputError(
                f"{self.count} workers of {self._gpus_each:g} GPUs each, and there are {there:g}: choose "
                "fewer `workers`, or a part of a GPU for each such as `gpus_per_worker=0.5`"
            )

    def _each(self, tasks: Iterable[Task], size: int | None, progress: Progress) -> Iterator[Done]:
        """Hand out batches and fetch what comes of them."""
        queue, deaths = _Queue(tasks), Counter[int]()
        if queue.is_empty:
            return
        self._cluster.connect()
        self._check_room()
        while len(self._workers) < self.count:
            self._hire()
        try:
            yield from self._until_all_are_made(queue, deaths, size, progress)
        finally:  # where it ends early, nobody wants what they are at
            for worker in [worker for worker in self._workers if worker.task is not None]:
                self._workers.remove(worker)
                self._ray.kill(worker.actor)

    def _until_all_are_made(
        self, queue: _Queue, deaths: Counter[int], size: int | None, progress: Progress
    ) -> Iterator[Done]:
        """Wait for answers, one after the other."""
        waited = 0.0
        while True:
            self._hand_out(queue, size, progress)
            busy = [worker for worker in self._workers if worker.asked is not None]
            if queue.is_empty and not any(worker.task for worker in self._workers):
                return  # whoever still starts is not waited for
            ready, _ = self._ray.wait([worker.asked for worker in busy], timeout=1.0)
            waited = 0.0 if ready or any(worker.task for worker in busy) else waited + 1.0
            if waited and waited % _PATIENCE == 0:
                progress.say(
                    f"no worker is there for {waited:g} s: the cluster may have no room for one"
                )
            for worker in [worker for worker in busy if worker.asked in ready]:
                yield from self._fetch(worker, queue, deaths, size, progress)

    def _hand_out(self, queue: _Queue, size: int | None, progress: Progress) -> None:
        """Give whoever is free the next batch."""
        for worker in self._workers:
            if worker.ready and worker.asked is None and (task := queue.next()) is not None:
                worker.task = task
                worker.asked = worker.actor.make.remote(task, size)
                progress.happened("begun", batch=task.number, worker=worker.number)

    def _fetch(
        self,
        worker: _Worker,
        queue: _Queue,
        deaths: Counter[int],
        size: int | None,
        progress: Progress,
    ) -> Iterator[Done]:
        """Take an answer of a worker, and give it the next batch before anything is written."""
        start = time.perf_counter()
        task = worker.task
        try:
            answer = self._ray.get(worker.asked)
        except self._ray.exceptions.RayTaskError as error:
            raise RuntimeError(f"worker {worker.number}: {in_a_line(error)}") from error
        except self._ray.exceptions.RayError as error:
            self._lose(worker, error, queue, deaths, progress)
            return
        worker.asked = worker.task = None
        if task is None:
            self._greet(worker, answer, progress)
            deaths.pop(-1, None)
            return
        if answer.refused:
            raise InputError(
                f"{answer.refused}; what was made is kept, and the same command goes on"
            )
        if answer.unexpected:
            raise RuntimeError(f"worker {worker.number}, batch {task.number}: {answer.unexpected}")
        fetched = (time.perf_counter() - start) / len(answer.pieces)
        self._hand_out(queue, size, progress)
        if answer.halved is not None:
            progress.halved(answer.halved)
        for at, count, made, seconds in answer.pieces:
            yield Done(task, task.items[at : at + count], made, worker.number, seconds, fetched)

    def _greet(self, worker: _Worker, hello: dict[str, Any], progress: Progress) -> None:
        """A worker is there.

        Raises:
            InputError: it computes by other versions.
        """
        own = versions()
        if other := [name for name in own if own[name] != hello["versions"].get(name)]:
            told = ", ".join(
                f"{name} {hello['versions'].get(name)} there and {own[name]} here" for name in other
            )
            raise InputError(
                f"worker {worker.number} on {hello['node']} has other versions: {told}"
            )
        worker.ready, worker.pid = True, hello["pid"]
        progress.happened("worker", worker=worker.number, pid=worker.pid, node=hello["node"])

    def _lose(
        self,
        worker: _Worker,
        error: Exception,
        queue: _Queue,
        deaths: Counter[int],
        progress: Progress,
    ) -> None:
        """A worker died: its batch is made again, and another worker takes its place.

        Raises:
            InputError: the batch took several with it, or several died before they were ready.
        """
        self._workers.remove(worker)
        task, reason = worker.task, in_a_line(error)
        number = -1 if task is None else task.number
        progress.happened(
            "lost", worker=worker.number, pid=worker.pid, reason=reason,
            batch=None if task is None else task.number,
        )  # fmt: skip
        deaths[number] += 1
        if deaths[number] >= _DEATHS:
            what = "workers die before they are ready" if task is None else (
                f"batch {number} took {_DEATHS} workers with it"
            )  # fmt: skip
            raise InputError(
                f"{what}: {reason}; they may need more memory than there is: choose fewer `workers` or a "
                "smaller `batch_size`; what was made is kept, and the same command goes on"
            )
        told = "" if task is None else f", and batch {number} is made again"
        progress.say(f"worker {worker.number} was lost: another one takes its place{told}")
        if task is not None:
            queue.put_back(task)
        self._hire()


class _Queue:
    """Batches that nobody makes yet; those that were lost come first."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._left, self._again = iter(tasks), deque[Task]()
        self._first = next(self._left, None)

    @property
    def is_empty(self) -> bool:
        """Whether there is none."""
        return self._first is None and not self._again

    def next(self) -> Task | None:
        """The next one, if there is any."""
        if self._again:
            return self._again.popleft()
        task, self._first = self._first, next(self._left, None)
        return task

    def put_back(self, task: Task) -> None:
        """One that was lost."""
        self._again.append(task)


def _cores() -> int:
    """Of the CPU, that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux alone
    return len(allowed(0)) if allowed else os.cpu_count() or 1
