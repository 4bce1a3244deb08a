"""What does a call of a denoiser on one row cost, against a call on two?

Dropping a guidance branch halves the rows. If a call on one row took half the time of a call on
two, the speed-up of the cut-off would be its ideal; what is above one half is lost, for weights are
read from memory for one row as for two, and small products use a processor less well.
"""

from __future__ import annotations

import argparse

import pandas as pd
import torch

from attnscope.analyses.bench.instruments import Stopwatch
from attnscope.models import architectures, building


def main() -> None:
    """Alternate calls on one row and on two, and print the ratio of every pair."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="sd15")
    parser.add_argument("--height", type=int)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    found = architectures.find(options.model).resized(options.height)
    denoiser = building.build(found, device=options.device, dtype=options.dtype)
    stopwatch = Stopwatch(options.device)
    given = {rows: building.inputs(denoiser, found, rows=rows) for rows in (1, 2)}
    times = []
    with torch.inference_mode():
        for pair in range(-1, options.pairs):  # the first warms up
            order = (1, 2) if pair % 2 else (2, 1)
            times.append(
                {rows: stopwatch.time(lambda r=rows: denoiser(**given[r]))[1] for rows in order}
            )
    table = pd.DataFrame(times[1:])
    ratio = table[1] / table[2]
    print(f"{found.name} at {found.width}x{found.height}, {options.dtype}, {options.device}, "
          f"{torch.get_num_threads()} threads, {options.pairs} pairs")  # fmt: skip
    for name, values in (("one row, s", table[1]), ("two rows, s", table[2]), ("one/two", ratio)):
        print(f"{name:12s} median {values.median():.3f} "
              f"(range {values.min():.3f} to {values.max():.3f})")  # fmt: skip


if __name__ == "__main__":
    main()
