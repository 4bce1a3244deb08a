"""Running a recipe: the training folder it is bound to, its workers, its time.

A recipe is a sequence of stages. Each leaves its result in the training folder before the next one
starts; a run that was stopped, or killed at any moment, goes on with the same command.
"""

from __future__ import annotations

import tempfile
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from pathlib import Path

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from attnscope.errors import InputError
from attnscope.runs.folder import Run
from attnscope.runs.holding import one_at_a_time
from attnscope.shapes.fitting import OutOfTime, Schedule, Worker


@dataclass(frozen=True)
class Identity:
    """The part of a recipe that a training folder is bound to."""

    recipe: str
    scenes: int
    noise_shift: float
    dropout: float
    seed: int
    start: str | None


@dataclass(frozen=True)
class Recipe(ABC):
    """What every recipe has; subclasses add the schedules of their stages.

    Args:
        scenes: how many scenes are rendered beforehand.
        noise_shift: factor between Stable Diffusion's noise levels and these; see
            :func:`attnscope.shapes.architecture.shifted_betas`.
        dropout: part of the captions that is replaced by "" so that guidance can be used.
        seed: of the scenes, the weights and the noise.
        samples: validation captions that an evaluation draws.
    """

    scenes: int = 50_000
    noise_shift: float = 4.0
    dropout: float = 0.1
    seed: int = 0
    samples: int = 96

    def identity(self, start: Path | None) -> Identity:
        """What may not change between two calls of :func:`train` on one folder."""
        given = None if start is None else str(start.resolve())
        name = type(self).__name__
        return Identity(name, self.scenes, self.noise_shift, self.dropout, self.seed, given)

    def schedules(self) -> dict[str, Schedule]:
        """The schedules of the stages, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Schedule)}

    @abstractmethod
    def run(self, worker: Worker, folder: Path, start: Path | None) -> None:
        """Run every stage that is not done yet; the finished pipeline lands in ``folder / "model"``.

        Raises:
            OutOfTime: the worker's deadline passed.
        """


@one_at_a_time
def train(
    folder: Path,
    recipe: Recipe,
    *,
    workers: int = 1,
    device: str = "cpu",
    minutes: float | None = None,
    start: Path | None = None,
) -> bool:
    """Run every stage of a recipe that is not done yet.

    Args:
        folder: where everything is kept; the finished pipeline lands in ``folder / "model"``.
        recipe: what to train. The schedules may change between calls, so a run can be lengthened;
            what else the recipe says may not.
        workers: processes that share each batch; on a CPU each takes one thread (two of one
            thread each trained 1.8 times as fast as one of two threads).
        device: a torch device.
        minutes: stop after this long; the same command goes on later.
        start: a trained folder to go on from, or the state that a training left.

    Returns:
        Whether everything is done.

    Raises:
        InputError: the folder holds a training of another recipe or other files, or a batch cannot
            be shared evenly by the workers.
    """
    for schedule in recipe.schedules().values():
        if schedule.batch % workers:
            raise InputError(
                f"a batch of {schedule.batch} cannot be shared evenly by {workers} workers: "
                "choose 1, 2 or 4"
            )
    Run.open(folder, "shapes train", recipe.identity(start))
    deadline = float("inf") if minutes is None else time.monotonic() + 60 * minutes
    if workers == 1:
        return _run(Worker(0, 1, torch.device(device), deadline), folder, recipe, start)
    with tempfile.TemporaryDirectory() as meeting:
        spawn(  # type: ignore[no-untyped-call]  # torch annotates no such function
            _join, (workers, meeting, deadline, folder, recipe, start), nprocs=workers, daemon=True
        )
        return (Path(meeting) / "done").exists()


def _join(
    rank: int,
    count: int,
    meeting: str,
    deadline: float,
    folder: Path,
    recipe: Recipe,
    start: Path | None,
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{meeting}/store", rank=rank, world_size=count)
    if _run(Worker(rank, count, torch.device("cpu"), deadline), folder, recipe, start):
        (Path(meeting) / "done").touch()
    dist.destroy_process_group()


def _run(worker: Worker, folder: Path, recipe: Recipe, start: Path | None) -> bool:
    torch.manual_seed(recipe.seed)
    try:
        recipe.run(worker, folder, start)
    except OutOfTime:
        return False
    return True
