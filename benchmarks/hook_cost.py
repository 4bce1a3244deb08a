"""What the hook costs where nothing hides it: tiny modules, with and without a ``Trace``.

    python benchmarks/hook_cost.py

Both arms alternate in one process; the difference is taken pair by pair and divided by the number
of attention calls, so the few calls of the denoiser's own hooks are counted in.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from typing import Any

import diffusers
import torch

from attnscope import Trace

LAYERS, STEPS = 28, 20


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=25)
    options = parser.parse_args()
    torch.set_num_threads(1)
    pipe = tiny()
    microseconds = []
    seconds(pipe, traced=False), seconds(pipe, traced=True)
    for _ in range(options.pairs):
        bare, traced = seconds(pipe, traced=False), seconds(pipe, traced=True)
        microseconds.append((traced - bare) / (STEPS * LAYERS * 2) * 1e6)
    low, _, high = statistics.quantiles(microseconds, n=4)
    print(f"{statistics.median(microseconds):.1f} microseconds per attention call "
          f"(quartiles {low:.1f} to {high:.1f}, {options.pairs} pairs)")  # fmt: skip


def seconds(pipe: Any, *, traced: bool) -> float:
    """Time of one call of the pipeline, without entering and leaving the ``Trace``."""
    states, mask = torch.zeros(1, 4, 16), torch.ones(1, 4)
    with contextlib.ExitStack() as stack:
        if traced:
            stack.enter_context(Trace(pipe, plan="baseline"))
        start = time.perf_counter()
        pipe(
            prompt_embeds=states, negative_prompt_embeds=states, prompt_attention_mask=mask,
            negative_prompt_attention_mask=mask, negative_prompt=None, height=32, width=32,
            use_resolution_binning=False, num_inference_steps=STEPS, output_type="latent",
        )  # fmt: skip
        return time.perf_counter() - start


def tiny() -> Any:
    """PixArt with as many blocks as the large one, each next to nothing."""
    transformer = diffusers.PixArtTransformer2DModel(
        sample_size=4, num_layers=LAYERS, attention_head_dim=8, num_attention_heads=1,
        caption_channels=16, cross_attention_dim=8, in_channels=4, out_channels=8,
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8,) * 4, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, norm_num_groups=4,
    )  # fmt: skip
    pipe = diffusers.PixArtAlphaPipeline(
        transformer=transformer.eval(), vae=vae, text_encoder=None, tokenizer=None,
        scheduler=diffusers.DPMSolverMultistepScheduler(),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


if __name__ == "__main__":
    main()
