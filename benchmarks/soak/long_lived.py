"""A process that lives long: calls under an acceleration, traces entered and left, threads side by side.

    python benchmarks/soak/long_lived.py --times 1000 --threads 50

The pipelines are tiny ones built in code. Memory is that of the process and the number of objects that
Python's collector knows, after a tenth of the times (so that caches are filled) and at the end; what comes
out each time has to be what came out the first time, or alone. Figures go to
``docs/reliability/long-lived.csv``.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import toys  # noqa: E402

from attnscope import StepDistance, TGate, Trace, accelerate  # noqa: E402

RESULT = ROOT / "docs/reliability/long-lived.csv"
_PLAN = TGate(gate=2, interval=2, warmup=0)


def memory() -> dict[str, float]:
    """Of this process in MB, and how many objects there are."""
    gc.collect()
    return {"mb": psutil.Process().memory_info().rss / 1e6, "objects": len(gc.get_objects())}


def repeated(what: str, times: int, act: Callable[[int], Any]) -> dict[str, Any]:
    """Do something over and over; its first result is compared with all others."""
    first, equal, early = act(0), 1, memory()
    for number in range(1, times):
        equal += bool(torch.equal(act(number), first))
        if number == times // 10:
            early = memory()
    late = memory()
    return {
        "what": what, "times": times, "equal": equal,
        "mb_early": round(early["mb"], 1), "mb_late": round(late["mb"], 1),
        "objects_early": early["objects"], "objects_late": late["objects"],
    }  # fmt: skip


def calls(folder: Path, times: int) -> dict[str, Any]:
    """One pipeline, accelerated once, called over and over."""
    pipe = toys.stable_diffusion(folder)
    with accelerate(pipe, _PLAN):
        return repeated("calls under accelerate", times, lambda number: toys.call(pipe, steps=4))


def traces(folder: Path, times: int) -> dict[str, Any]:
    """One pipeline, on which a trace with an observer is entered and left; every tenth time it is called."""
    pipe = toys.stable_diffusion(folder)
    seen: dict[str, torch.Tensor] = {}

    def act(number: int) -> torch.Tensor:
        with (
            warnings.catch_warnings(action="ignore"),  # most see no denoising
            Trace(pipe, plan=_PLAN, observers=[StepDistance()]) as trace,
        ):
            if number % 10 == 0:
                toys.call(pipe, steps=4)
        if number % 10 == 0:
            seen["last"] = torch.tensor(trace.records()["l2"].to_numpy())
        hooked = [name for name, part in pipe.unet.named_modules() if "forward" in vars(part)]
        return torch.zeros(1) if hooked else seen["last"]

    return repeated("traces entered and left", times, act)


def threads(folder: Path, count: int) -> dict[str, Any]:
    """Pipelines in threads of their own, each accelerated, as they are alone."""

    def made(seed: int) -> torch.Tensor:
        with accelerate(pipes[seed], _PLAN):
            result: torch.Tensor = toys.call(pipes[seed], steps=4, seed=seed)
        return result

    pipes = [toys.stable_diffusion(folder) for _ in range(count)]
    alone = [made(seed) for seed in range(count)]
    found: dict[int, torch.Tensor] = {}
    early = memory()
    start = threading.Barrier(count)

    def work(seed: int) -> None:
        start.wait()
        found[seed] = made(seed)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    equal = sum(
        seed in found and bool(torch.equal(found[seed], alone[seed])) for seed in range(count)
    )
    late = memory()
    return {
        "what": "threads with a pipeline each", "times": count, "equal": equal,
        "mb_early": round(early["mb"], 1), "mb_late": round(late["mb"], 1),
        "objects_early": early["objects"], "objects_late": late["objects"],
    }  # fmt: skip


def main() -> None:
    """Live long, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--times", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=50)
    parser.add_argument("--only", nargs="*", default=["calls", "traces", "threads"])
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.only:
            act, times = {"calls": (calls, asked.times), "traces": (traces, asked.times),
                          "threads": (threads, asked.threads)}[name]  # fmt: skip
            rows.append(act(Path(folder), times))
            print(rows[-1], flush=True)
            pd.DataFrame(rows).to_csv(asked.out, index=False)
    sys.exit(any(row["equal"] != row["times"] for row in rows))


if __name__ == "__main__":
    main()
