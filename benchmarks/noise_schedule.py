"""When does text matter? The embedded model on its own noise levels, and on four times those.

    python benchmarks/noise_schedule.py --limit 96

Three trajectories of 25 steps, as in section 3.2 of the paper: S (text throughout), S^F (text in
the first m steps, the encoding of "" after) and S^L (the encoding of "" first, then text). In large
models S^F is as good as S, and S^L is far worse. The same weights are sampled on the noise levels
they ship with (log SNR shifted by 2 ln 4 against Stable Diffusion's) and on the unshifted ones.
"""

from __future__ import annotations

import argparse
from itertools import islice
from typing import Any

import pandas as pd
import torch

from attnscope import Baseline, NullTextEarly, NullTextLate, Plan, Trace, load
from attnscope.pipelines import SHAPES_FOLDER, describe
from attnscope.prompts import image_seed
from attnscope.shapes.reader import alignment, load_reader, matches
from attnscope.shapes.scenes import caption, generate

STEPS = 25


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--limit", type=int, default=96)
    parser.add_argument("--gates", type=int, nargs="+", default=[5, 10])
    options = parser.parse_args()
    pipe, reader = load("shapes", device="cpu"), load_reader(SHAPES_FOLDER)
    scenes = list(islice(generate("test"), options.limit))
    rows = []
    for shift in (4, 1):
        arms: dict[str, Plan] = {"S": Baseline()}
        for gate in options.gates:
            arms |= {f"S^F {gate}": NullTextLate(gate), f"S^L {gate}": NullTextEarly(gate)}
        for arm, plan in arms.items():
            images = sample(pipe, [caption(s) for s in scenes], shift, plan)
            scores = alignment(matches(reader.read(images), scenes))
            rows.append({"noise shift": shift, "arm": arm, "n": len(scenes), **scores})
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f"))


def sample(pipe: Any, captions: list[str], shift: int, plan: Plan) -> torch.Tensor:
    """Images in [-1, 1] of a trajectory."""
    with Trace(pipe, plan=plan):
        made = pipe(
            captions,
            timesteps=timesteps(pipe, shift),
            guidance_scale=describe("shapes").guidance,
            generator=[
                torch.Generator().manual_seed(image_seed(0, i)) for i in range(len(captions))
            ],
            output_type="pt",
        ).images
    return made * 2 - 1


def timesteps(pipe: Any, shift: int) -> list[int]:
    """Timesteps with the noise levels of the shipped schedule times ``4 / shift``."""
    pipe.scheduler.set_timesteps(STEPS)
    levels = ((1 - pipe.scheduler.alphas_cumprod) / pipe.scheduler.alphas_cumprod).sqrt()
    wanted = levels[pipe.scheduler.timesteps] * 4 / shift
    return [int((levels - level).abs().argmin()) for level in wanted]


if __name__ == "__main__":
    main()
