"""The training loop that every stage shares: workers, schedule, averages, checkpoints, log.

A stage is an :class:`Objective` (a module whose ``forward`` maps a batch of example numbers to a
loss) and a number of steps. Which examples and which noise a step sees follows from the seed, the
step and the worker alone, so a run that was killed goes on exactly where its last checkpoint was.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from attnscope.files import write_whole

AnyObjective = TypeVar("AnyObjective", bound="Objective")

LOG_COLUMNS = (
    "stage",
    "step",
    "examples",
    "seconds",
    "loss",
    "learning_rate",
    "size",
    "fill",
    "color",
    "shape",
    "attributes",
    "relation",
    "background",
    "order",
    "all",
)

CHECKPOINT_SECONDS = 180.0
"""How much work a kill costs at most, and a step more."""


class Objective(nn.Module):
    """What a stage trains: parameters, and a loss of a batch.

    Subclasses implement ``forward(examples, generator)`` with ``examples`` an int64 tensor
    ``[batch]`` of example numbers below :attr:`size`, on the CPU, and a CPU generator.

    Args:
        size: how many examples there are.
        shared: large data that copies need not repeat.
    """

    def __init__(self, size: int, shared: tuple[Any, ...] = ()) -> None:
        super().__init__()
        self.size = size
        self._shared = shared

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """The numbers of the examples of one batch: int64 ``[count]``, by default any of them."""
        return torch.randint(self.size, (count,), generator=generator)

    def twin(self) -> Self:
        """A copy with weights of its own and the same data."""
        return deepcopy(self, {id(data): data for data in self._shared})


@dataclass(frozen=True)
class Worker:
    """One of the processes that train together, each on its own share of every batch."""

    rank: int
    count: int
    device: torch.device
    deadline: float
    """Seconds on the monotonic clock after which nothing new is started."""

    @property
    def leads(self) -> bool:
        """Whether this is the worker that writes files."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for all workers."""
        if self.count > 1:
            dist.barrier()

    def out_of_time(self) -> bool:
        """Whether the deadline has passed; the leader's clock decides for all."""
        late = torch.tensor(float(time.monotonic() > self.deadline))
        if self.count > 1:
            dist.broadcast(late, src=0)
        return bool(late)

    def total(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all workers."""
        if self.count > 1:
            dist.all_reduce(values)
        return values


class OutOfTime(Exception):  # noqa: N818  # nothing went wrong
    """The minutes that were given are over; the same command goes on from here."""


@dataclass(frozen=True)
class Schedule:
    """How one stage is fitted.

    The learning rate rises over ``warmup`` steps, stays, and falls linearly to zero over the last
    ``cooldown`` part of the steps, so a run can be lengthened until the cooldown begins.
    """

    steps: int
    batch: int
    learning_rate: float
    warmup: int = 100
    cooldown: float = 0.3
    average_decay: float = 0.999
    evaluate_every: int = 0

    def factor(self, step: int) -> float:
        """The learning rate of a 0-based step, as a part of :attr:`learning_rate`."""
        rising = (step + 1) / self.warmup
        falling = (self.steps - step) / max(1.0, self.cooldown * self.steps)
        return min(1.0, rising, falling)


def fit(
    stage: str,
    objective: AnyObjective,
    schedule: Schedule,
    worker: Worker,
    folder: Path,
    seed: int,
    evaluate: Callable[[AnyObjective], dict[str, float]] = lambda average: {},
) -> AnyObjective:
    """Fit an objective, or go on where an earlier call stopped.

    Args:
        stage: name of the checkpoint and of the rows in the log.
        objective: what to fit.
        schedule: for how long.
        worker: the process this is.
        folder: where checkpoints and the log are.
        seed: of examples and noise.
        evaluate: further columns for the log, from the averaged weights.

    Returns:
        A copy that carries the exponential moving average of the weights.

    Raises:
        OutOfTime: the worker's deadline passed; everything needed to go on is in ``folder``.
    """
    objective = objective.to(worker.device)
    average = objective.twin().requires_grad_(False).eval()
    optimizers = _optimizers(objective, schedule.learning_rate)
    checkpoint = folder / f"{stage}.checkpoint"
    step, seconds = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=worker.device, weights_only=True)
        objective.load_state_dict(state["objective"])
        average.load_state_dict(state["average"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        step, seconds = state["step"], state["seconds"]

    def save() -> None:
        if not worker.leads:
            return
        state = {
            "objective": objective.state_dict(),
            "average": average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            "step": step,
            "seconds": seconds,
        }
        write_whole(checkpoint, lambda path: torch.save(state, path))

    model = DistributedDataParallel(objective) if worker.count > 1 else objective
    share = schedule.batch // worker.count
    log = Log(folder / "log.csv", stage, step) if worker.leads else None
    running, since, started = torch.zeros(()), 0, time.monotonic() - seconds
    saved_at = time.monotonic()
    while step < schedule.steps:
        if step % 20 == 0 and worker.out_of_time():
            save()
            raise OutOfTime
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate * schedule.factor(step)
        generator = torch.Generator().manual_seed(hash((seed, step, worker.rank)) % 2**63)
        examples = objective.draw(share, generator)
        with torch.autocast(worker.device.type, torch.bfloat16):
            loss = model(examples, generator)
        loss.backward()
        nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        step += 1
        _follow(average, objective, min(schedule.average_decay, step / (step + 10)))
        running, since = running + loss.detach().float().cpu(), since + 1
        seconds = time.monotonic() - started
        evaluating = schedule.evaluate_every and step % schedule.evaluate_every == 0
        if evaluating or step % 50 == 0 or step == schedule.steps:
            scores = evaluate(average) if evaluating else {}
            if log is not None:
                log.write(
                    step=step,
                    examples=step * schedule.batch,
                    seconds=round(seconds, 1),
                    loss=round(float(running / since), 5),
                    learning_rate=optimizers[0].param_groups[0]["lr"],
                    **{name: round(score, 4) for name, score in scores.items()},
                )
            running, since = torch.zeros(()), 0
        if time.monotonic() - saved_at > CHECKPOINT_SECONDS or step == schedule.steps:
            save()
            saved_at = time.monotonic()
    worker.barrier()
    return average


def _optimizers(objective: nn.Module, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the network, AdamW for everything else.

    Rows of a table that are looked up (tokens, relative positions, PixArt's shifts and scales) are
    vectors of their own, not a map of vectors to vectors.

    Muon: Jordan et al. 2024; "match_rms_adamw" gives its updates the size of AdamW's, so that both
    take one learning rate (Liu et al. 2025, "Muon is Scalable for LLM Training", section 2.2).
    """
    tables = {
        id(module.weight) for module in objective.modules() if isinstance(module, nn.Embedding)
    }

    def is_matrix(name: str, parameter: Tensor) -> bool:
        mixes = not any(word in name for word in ("embedding", "table"))
        return parameter.ndim == 2 and mixes and id(parameter) not in tables

    named = [(n, p) for n, p in objective.named_parameters() if p.requires_grad]
    matrices = [p for name, p in named if is_matrix(name, p)]
    others = [p for name, p in named if not is_matrix(name, p)]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, learning_rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    ]
    if matrices:
        optimizers.append(
            torch.optim.Muon(
                matrices, learning_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
            )
        )
    return optimizers


@torch.no_grad()
def _follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)


class Log:
    """The training log, a CSV; rows past the checkpoint that a run goes on from are dropped."""

    def __init__(self, path: Path, stage: str, step: int) -> None:
        self.path, self.stage = path, stage
        rows = []
        if path.exists():
            with path.open(newline="") as file:
                rows = [_comparable(row) for row in csv.DictReader(file) if self._keeps(row, step)]

        def rewrite(partial: Path) -> None:
            with partial.open("w", newline="") as file:
                writer = csv.DictWriter(file, LOG_COLUMNS)
                writer.writeheader()
                writer.writerows(rows)

        write_whole(path, rewrite)

    def _keeps(self, row: dict[str, str], step: int) -> bool:
        """Whether a row is whole, and not past the checkpoint."""
        whole = row.get(LOG_COLUMNS[-1]) is not None and row["step"].isdigit()
        return whole and (row["stage"] != self.stage or int(row["step"]) <= step)

    def write(self, **values: float) -> None:
        """Append one row of this stage."""
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, LOG_COLUMNS).writerow({"stage": self.stage, **values})


def _comparable(row: dict[str, str]) -> dict[str, str]:
    """A row of a log; one that was read when ``relation`` was the axis alone keeps what means the same."""
    if "attributes" in row:
        return row
    return row | dict.fromkeys(("size", "fill", "color", "shape", "relation"), "")
