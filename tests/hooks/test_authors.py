"""The authors' own outputs, where they lie beside the project: what they computed, we compute."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file

from attnscope import TGate, Trace

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "tgate_reference"
CASES = sorted(FOLDER.glob("cases/*"))
SCHEDULERS = {"dpm": DPMSolverMultistepScheduler, "euler": EulerDiscreteScheduler}

pytestmark = pytest.mark.skipif(not CASES, reason="the authors' outputs are not on this machine")


def load(case):
    about = json.loads((case / "args.json").read_text())
    folder = FOLDER / "models" / about["model"]
    parts = {
        "vae": AutoencoderKL.from_pretrained(folder / "vae"),
        "scheduler": SCHEDULERS[about["scheduler"]].from_pretrained(case / "scheduler"),
        "text_encoder": None,
        "tokenizer": None,
    }
    inputs = load_file(case / "inputs.safetensors")
    if about["model"] == "pixart":
        denoiser = PixArtTransformer2DModel.from_pretrained(folder / "transformer")
        pipe = PixArtAlphaPipeline(transformer=denoiser, **parts)
        inputs |= {"negative_prompt": None, "use_resolution_binning": False}
        inputs |= {"height": 32, "width": 32}
    else:
        denoiser = UNet2DConditionModel.from_pretrained(folder / "unet")
        pipe = StableDiffusionPipeline(
            unet=denoiser, safety_checker=None, feature_extractor=None,
            requires_safety_checker=False, **parts,
        )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)

    def call():
        return pipe(
            num_inference_steps=about["steps"],
            guidance_scale=about["guidance_scale"],
            generator=torch.Generator().manual_seed(about["generator_seed"]),
            output_type="latent",
            **inputs,
        ).images

    plan = TGate(
        gate=about["gate_step"],
        interval=about["sp_interval"],
        late_interval=about["fi_interval"],
        warmup=about["warm_up"],
    )
    return pipe, call, plan, load_file(case / "outputs.safetensors")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_latents_are_the_authors_own(case):
    pipe, call, plan, expected = load(case)
    assert (call() - expected["baseline"]).abs().max() < 1e-3
    with Trace(pipe, plan=plan):
        ours = call()
    assert (ours - expected["official"]).abs().max() < 1e-3
    assert (expected["baseline"] - expected["official"]).abs().max() > 1e-2
    assert (call() - expected["baseline"]).abs().max() < 1e-3
