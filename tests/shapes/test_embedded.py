"""The model in the box: what it must be, and what it must be able to do."""

import subprocess
import sys
from itertools import islice

import numpy as np
import pytest
import torch

import attnscope
from attnscope.analyses import alignment
from attnscope.models.calling import call
from attnscope.models.names import MODELS, SHAPES_FOLDER
from attnscope.runs.columns import READ
from attnscope.shapes.reader import agreement, load_reader
from attnscope.shapes.reader import alignment as scores
from attnscope.shapes.scenes import caption, generate, render


@pytest.fixture(scope="module")
def pipe():
    return attnscope.load("shapes", device="cpu")


def test_plain_diffusers_loads_it_without_attnscope():
    script = (
        "import sys; from diffusers import StableDiffusionPipeline\n"
        "pipe = StableDiffusionPipeline.from_pretrained(sys.argv[1])\n"
        "image = pipe('a large red circle on a white background', num_inference_steps=2).images[0]\n"
        "assert image.size == (64, 64) and 'attnscope' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(SHAPES_FOLDER)], check=True)


def test_its_weights_are_safetensors_of_20_megabytes_at_most():
    files = [path for path in SHAPES_FOLDER.rglob("*") if path.is_file()]
    weights = [path for path in files if path.suffix == ".safetensors"]
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".txt", ".md", ".csv"}
    assert sum(path.stat().st_size for path in weights) <= 20e6


def test_it_loads_in_single_precision(pipe):
    for part in (pipe.unet, pipe.vae, pipe.text_encoder):
        assert {p.dtype for p in part.parameters()} == {torch.float32}


def test_the_reader_reads_held_out_renders():
    """At least 98 % for every attribute, for places and for backgrounds."""
    rng = np.random.default_rng(0)
    scenes = list(islice(generate("test", seed=5), 600))
    images = np.stack([render(scene, rng) for scene in scenes])
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    seen = scores(agreement(load_reader(SHAPES_FOLDER).read(pixels), scenes))
    assert all(seen[name] >= 0.98 for name in READ if name != "all"), seen


def test_it_draws_what_held_out_captions_ask_for(pipe):
    """Well above what images of other captions score (0.57, 0.31, 0.16, 0.17, 0.15).

    Not so for the relation: it stands at chance. The model card has the figures of 1,000 captions.
    """
    settings = alignment.AlignmentSettings(limit=24, steps=25, guidance=MODELS["shapes"].guidance)
    result = alignment.measure(pipe, SHAPES_FOLDER, settings)
    assert result.images.shape == (24, 64, 64, 3)
    floors = {"size": 0.8, "fill": 0.7, "color": 0.7, "shape": 0.7, "background": 0.8}
    assert all(result.scores[name] >= floor for name, floor in floors.items()), result.scores


def test_guidance_and_text_matter(pipe):
    """With the captions of other images, the reader sees other things."""
    scenes = list(islice(generate("test"), 16))
    options = {"seeds": list(range(16)), "steps": 10, "guidance": 3.0, "output_type": "np"}
    made = call(pipe, [caption(scene) for scene in scenes], **options)
    pixels = torch.from_numpy(made).permute(0, 3, 1, 2).float() * 2 - 1
    read = load_reader(SHAPES_FOLDER).read(pixels)
    right, wrong = (scores(agreement(read, asked)) for asked in (scenes, scenes[1:] + scenes[:1]))
    assert right["color"] > wrong["color"] + 0.2
    assert right["background"] > wrong["background"] + 0.3


def test_its_attention_is_measured_as_numpy_measures_it(pipe):
    outputs = {}
    sites = attnscope.find_sites(pipe.unet)
    handles = [
        pipe.unet.get_submodule(site.name).register_forward_hook(
            lambda module, args, output, name=site.name: outputs.setdefault(name, []).append(
                output.double().numpy().copy()
            )
        )
        for site in sites
    ]
    captions = [caption(scene) for scene in islice(generate("test"), 2)]
    options = {"seeds": [0, 1], "steps": 6, "guidance": 3.0, "output_type": "latent"}
    call(pipe, captions, **options)
    for handle in handles:
        handle.remove()
    with attnscope.Trace(pipe, observers=[attnscope.StepDistance()]) as trace:
        call(pipe, captions, **options)
    measured = trace.records().set_index(["site", "step", "branch", "sample"])["l2"]
    for site in sites:
        for step in range(1, 6):
            change = outputs[site.name][step] - outputs[site.name][step - 1]
            for row, norm in enumerate(np.linalg.norm(change.reshape(4, -1), axis=1)):
                key = (site.name, step, ("uncond", "cond")[row // 2], row % 2)
                assert measured[key] == pytest.approx(norm, rel=1e-4)
