"""What watching costs: the same generation with and without an observer on all sites.

    python benchmarks/observer_overhead.py --model shapes --batch-size 16
    python benchmarks/observer_overhead.py --observer maps
    python benchmarks/observer_overhead.py --observer maps --random-weights sd15 --size 256 --batch-size 1

--random-weights takes the true architecture of a model without its weights, on which time and memory do
not depend. Both arms alternate in one process; the ratio is taken pair by pair. Peak memory is that of a
process of its own for each arm.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import torch

from attnscope import AttentionMaps, StepDistance, Trace, load
from attnscope.models import architectures, random_weights
from attnscope.models.calling import call

_GUIDANCE = 4.0


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model", default="shapes")
    which.add_argument(
        "--random-weights", metavar="MODEL", help="such as sd15, without its weights"
    )
    parser.add_argument("--size", type=int, help="pixels a side, with --random-weights")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--observer", choices=["distances", "maps"], default="distances")
    parser.add_argument("--arm", choices=["plain", "watched"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.random_weights is None and (options.size or options.dtype != "float32"):
        parser.error("--size and --dtype are of --random-weights: name a model by it")
    pipe, given = prepared(options)
    if options.arm:
        generate(pipe, given, options, watched=options.arm == "watched")
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    for arm in (False, True):
        generate(pipe, given, options, watched=arm)
    plain, watched = [], []
    for _ in range(options.repetitions):
        plain.append(generate(pipe, given, options, watched=False))
        watched.append(generate(pipe, given, options, watched=True))
    ratios = [b / a for a, b in zip(plain, watched, strict=True)]
    name = options.model
    if options.random_weights is not None:
        size = f"{given['width']}x{given['height']}"
        name = f"{options.random_weights} of random weights, {size}, {options.dtype}"
    print(f"{name}, {options.steps} steps, batch {options.batch_size}, "
          f"{options.threads} threads, {options.repetitions} pairs, torch {torch.__version__}")  # fmt: skip
    for name, values in (("plain s", plain), ("watched s", watched), ("watched/plain", ratios)):
        print(f"{name:14} median {statistics.median(values):.3f} "
              f"(range {min(values):.3f} to {max(values):.3f})")  # fmt: skip
    memory = {arm: peak_megabytes(arm) for arm in ("plain", "watched")}
    batch = options.batch_size
    if options.observer == "maps":
        embeds = given.get("prompt_embeds")
        text = pipe.tokenizer.model_max_length if embeds is None else embeds.shape[1]
        size = {name: given.get(name) for name in ("height", "width")}
        foreseen = AttentionMaps().nbytes(
            pipe, steps=options.steps, words=text, batch=batch, **size
        )
    else:
        foreseen = StepDistance().nbytes(pipe, batch=batch)
    kept = foreseen / 2**20
    print(f"peak memory    plain {memory['plain']:.0f} MB, watched {memory['watched']:.0f} MB, "
          f"ratio {memory['watched'] / memory['plain']:.3f}; foreseen {kept:.1f} MB more")  # fmt: skip


def prepared(options: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """The pipeline, and what it is called with in the place of prompts."""
    if options.random_weights is None:
        return load(options.model), {}
    found = architectures.find(options.random_weights)
    found = found.resized(options.size, options.size) if options.size else found
    pipe = random_weights.build(found, dtype=options.dtype)
    given = random_weights.call_keywords(
        pipe, found, steps=options.steps, guidance=_GUIDANCE, batch=options.batch_size
    )
    return pipe, given


def generate(
    pipe: Any, given: dict[str, Any], options: argparse.Namespace, *, watched: bool
) -> float:
    """Seconds of one batch."""
    prompts = ["a large striped red circle above a small blue square on a gray background"]
    with contextlib.ExitStack() as stack:
        if watched:
            observer = AttentionMaps() if options.observer == "maps" else StepDistance()
            stack.enter_context(Trace(pipe, observers=[observer]))
        start = time.perf_counter()
        if given:
            pipe(**given)
        else:
            call(pipe, prompts * options.batch_size, seeds=range(options.batch_size),
                 steps=options.steps, guidance=_GUIDANCE, output_type="latent")  # fmt: skip
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_megabytes(arm: str) -> float:
    """Peak memory of a process that generates one batch."""
    command = [sys.executable, *sys.argv, "--arm", arm]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
