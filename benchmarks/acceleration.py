"""How much faster a plan makes a pipeline of true size, against the ideal and against ``tgate``.

    pip install tgate==1.0.0        # the authors' package, for its arm
    python benchmarks/acceleration.py --model sd15 --size 512 --tgate m=10,k=5 --steps 25

Weights are random, since time does not depend on them; text encoder and autoencoder are left out.
All arms take turns in one process, their order shuffled in every repetition, and every ratio is
taken within a repetition:

- ``baseline``: the pipeline as it is.
- ``inactive``: inside a ``Trace`` that computes everything and watches nothing.
- ``attnscope``: the plan. ``cutoff``: the dropped guidance branch alone.
- ``tgate``: the authors' package, on a pipeline of its own over the same weights, since it never
  unpatches.

The ideal is what ``attnscope cost`` says: the arithmetic of the plan when time is proportional to
multiply-accumulates, the two products inside attention included.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import gc
import json
import platform
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch

import attnscope
from attnscope import architectures
from attnscope.cost import cost_of, counts_of
from attnscope.plan import GuidanceCutoff, Plan, parse

MODELS = ("sd15", "sdxl", "pixart")


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=MODELS, default="sd15")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--tgate", default="m=10,k=5")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="write the times as JSON too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    plan = parse(options.tgate)
    pipe = build(options.model).to(options.device, getattr(torch, options.dtype))
    pipe.set_progress_bar_config(disable=True)
    inputs = prompt_inputs(options)
    cutoff = GuidanceCutoff(plan.gate, keep="uncond")
    arms: dict[str, Callable[[], Any]] = {
        "baseline": lambda: pipe(**inputs),
        "inactive": lambda: traced(pipe, inputs, "baseline"),
        "attnscope": lambda: traced(pipe, inputs, plan),
        "cutoff": lambda: traced(pipe, inputs, cutoff),
    }
    theirs = their_pipeline(pipe, options.model)
    if theirs is not None:
        settings = {"gate_step": plan.gate, "sp_interval": plan.interval,
                    "fi_interval": plan.late_interval, "warm_up": plan.warmup}  # fmt: skip
        arms["tgate"] = lambda: theirs.tgate(**inputs, **settings)
    seconds = measure(arms, options)
    counts = counts_of(options.model, height=options.size)
    ideal = {"attnscope": cost_of(counts, plan, options.steps).speedup(),
             "cutoff": cost_of(counts, cutoff, options.steps).speedup()}  # fmt: skip
    report(options, plan, seconds, ideal)
    if options.out:
        options.out.write_text(json.dumps({"options": vars(options), "seconds": seconds, "ideal": ideal},
                                          default=str, indent=1))  # fmt: skip


def measure(
    arms: dict[str, Callable[[], Any]], options: argparse.Namespace
) -> dict[str, list[float]]:
    """Seconds of every arm and repetition, after one warm-up each."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    latents = {}
    with torch.inference_mode():
        for name, run in arms.items():
            latents[name] = run().images
        for repetition in range(options.repetitions):
            order = list(arms)
            random.Random(repetition).shuffle(order)
            for name in order:
                gc.collect()
                seconds[name].append(timed(arms[name], options.device))
            print(f"repetition {repetition + 1} of {options.repetitions}", flush=True)
    assert torch.equal(latents["baseline"], latents["inactive"])
    if "tgate" in latents:
        off = (latents["tgate"] - latents["attnscope"]).abs().max().item()
        print(f"largest difference between attnscope's and tgate's latents: {off:.2g}")
        assert off < 1e-2 * latents["tgate"].abs().max(), "attnscope and tgate make other images"
    return seconds


def timed(run: Callable[[], Any], device: str) -> float:
    """Seconds that a call takes on the host or, by events, on a GPU."""
    if device == "cpu":
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / 1000


def traced(pipe: Any, inputs: dict[str, Any], plan: Plan | str) -> Any:
    """One call inside a ``Trace``, whose making and leaving count."""
    with attnscope.Trace(pipe, plan=plan):
        return pipe(**inputs)


def build(model: str) -> Any:
    """A pipeline with a randomly initialised denoiser of true size and next to no autoencoder."""
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8,) * 4, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, norm_num_groups=4,
    )  # fmt: skip
    scheduler = diffusers.DPMSolverMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
    )
    diffusers.utils.logging.set_verbosity_error()
    parts = {"vae": vae, "scheduler": scheduler, "text_encoder": None, "tokenizer": None}
    denoiser = architectures.build(architectures.find(model), device="cpu")
    if model == "pixart":
        return diffusers.PixArtAlphaPipeline(transformer=denoiser, **parts)
    if model == "sdxl":
        return diffusers.StableDiffusionXLPipeline(
            unet=denoiser, text_encoder_2=None, tokenizer_2=None, **parts
        )
    return diffusers.StableDiffusionPipeline(
        unet=denoiser, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False, **parts,
    )  # fmt: skip


def prompt_inputs(options: argparse.Namespace) -> dict[str, Any]:
    """Keywords of a pipeline's call: random embeddings in place of a prompt's."""
    generator = torch.Generator().manual_seed(1)
    width = {"sd15": 768, "sdxl": 2048, "pixart": 4096}[options.model]

    def noise(*shape: int) -> torch.Tensor:
        values = torch.randn(shape, generator=generator)
        return values.to(options.device, getattr(torch, options.dtype))

    tokens = architectures.find(options.model).tokens
    shape = (1, tokens, width)
    side = options.size // 8
    inputs: dict[str, Any] = {
        "prompt_embeds": noise(*shape),
        "negative_prompt_embeds": noise(*shape),
        "latents": noise(1, 4, side, side),
        "height": options.size,
        "width": options.size,
        "num_inference_steps": options.steps,
        "guidance_scale": 7.5,
        "output_type": "latent",
    }
    if options.model == "sdxl":
        inputs["pooled_prompt_embeds"] = noise(1, 1280)
        inputs["negative_pooled_prompt_embeds"] = noise(1, 1280)
    if options.model == "pixart":
        mask = torch.ones(1, tokens, device=options.device)
        inputs |= {
            "negative_prompt": None, "use_resolution_binning": False,
            "prompt_attention_mask": mask, "negative_prompt_attention_mask": mask,
        }  # fmt: skip
    return inputs


def their_pipeline(pipe: Any, model: str) -> Any:
    """The authors' pipeline on a copy of the modules that shares all weights; ``None`` without it."""
    with contextlib.suppress(ImportError):
        import tgate

        kinds = {
            "sd15": "TgateSDLoader",
            "sdxl": "TgateSDXLLoader",
            "pixart": "TgatePixArtAlphaLoader",
        }
        name = "transformer" if model == "pixart" else "unet"
        module = getattr(pipe, name)
        shared = [*module.parameters(), *module.buffers()]
        copied = copy.deepcopy(module, {id(tensor): tensor for tensor in shared})
        made = type(pipe)(**{**pipe.components, name: copied})
        made.set_progress_bar_config(disable=True)
        return getattr(tgate, kinds[model])(made)
    print("the package tgate is not installed: its arm is left out")
    return None


def report(
    options: argparse.Namespace,
    plan: Plan,
    seconds: dict[str, list[float]],
    ideal: dict[str, float],
) -> None:
    """Print the table: speed-up, part of the ideal, and against ``tgate``."""
    device = torch.cuda.get_device_name() if options.device != "cpu" else platform.machine()
    print(f"\n{options.model} at {options.size}x{options.size}, {options.steps} steps, {plan}, "
          f"{options.dtype}, {device}, {options.threads} threads, {options.repetitions} repetitions, "
          f"torch {torch.__version__}, diffusers {diffusers.__version__}")  # fmt: skip
    print("| arm | seconds, median (range) | speed-up | ideal | of the ideal | against tgate |")
    print("|---|---|---|---|---|---|")
    for name, values in seconds.items():
        gained = ratio(seconds["baseline"], values)
        cells = [name, spread(values, ".2f"), spread(gained, ".3f")]
        cells.append(f"{ideal[name]:.3f}" if name in ideal else "")
        cells.append(f"{statistics.median(gained) / ideal[name]:.3f}" if name in ideal else "")
        against = ratio(seconds["tgate"], values) if "tgate" in seconds else []
        cells.append(spread(against, ".3f") if against else "")
        print("| " + " | ".join(cells) + " |")


def ratio(over: list[float], under: list[float]) -> list[float]:
    """Ratios within repetitions."""
    return [a / b for a, b in zip(over, under, strict=True)]


def spread(values: list[float], form: str) -> str:
    """Median and range."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


if __name__ == "__main__":
    main()
