"""What is recorded of a size is what was made."""

import dataclasses
import io
import json
from types import SimpleNamespace

import converging
import numpy as np
import pytest
import toys
from ablating import sample_arm
from PIL import Image

from attnscope.analyses import generation
from attnscope.analyses.ablation import arms
from attnscope.analyses.convergence.measure import ConvergenceSettings
from attnscope.errors import InputError
from attnscope.models import architectures, calling, image_sizes
from attnscope.runs.folder import Run
from attnscope.runs.prompts import Prompt

PROMPT = Prompt(0, toys.PROMPTS[0])
SUBJECT = {"model": "toy", "weights": None, "dtype": "float32", "guidance": 5.0, "steps": (2,),
           "schedulers": (None,)}  # fmt: skip


def settings_of(kind, **size):
    common = {
        "model": "toy", "weights": None, "captions": "none", "prompts_digest": "", "steps": 2,
        "scheduler": None, "guidance": 5.0, "seed": 0, "dtype": "float32",
        "height": None, "width": None, **size,
    }  # fmt: skip
    return kind(**{f.name: common[f.name] for f in dataclasses.fields(kind) if f.name in common},
                **{"plan": "baseline", "compare": False} if kind is generation.GenerationSettings
                else {"limit": 1, "kinds": ("cross", "self"), "sites": None})  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        ({"height": 40}, (40, 40)),
        ({"width": 24}, (24, 24)),
        ({"height": 40, "width": 24}, (40, 24)),
        ({}, (32, 32)),
    ],
)
def test_one_side_alone_means_a_square_in_every_analysis(sd, asked, made, tmp_path):
    (image,) = calling.call(sd, [PROMPT.text], seeds=[0], steps=2, guidance=5.0, **asked)
    assert (image.height, image.width) == made
    model = SimpleNamespace(described=SimpleNamespace(options={}))
    work = generation.Drawing(model, settings_of(generation.GenerationSettings, **asked))
    drawn = work(sd, [(PROMPT, PROMPT.text)], 0)
    (file,), table = drawn.files.values(), drawn.parts["images"]
    with Image.open(io.BytesIO(file)) as image:
        assert (image.height, image.width) == made
    assert table[["height", "width"]].to_numpy().tolist() == [list(made)]
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sd.unet, "forward", _spying(sd.unet.forward, seen))
        settings = settings_of(ConvergenceSettings, **asked)
        converging.curves(sd, settings, [PROMPT], [PROMPT.text], batch_size=1)
    assert set(seen) == {tuple(side // sd.vae_scale_factor for side in made)}


def _spying(forward, seen):
    def spied(sample, *args, **kwargs):
        seen.append(tuple(sample.shape[-2:]))
        return forward(sample, *args, **kwargs)

    return spied


def test_an_ablation_of_one_side_alone_is_square(sd, tmp_path):
    subject = arms.Subject(**SUBJECT)
    settings = arms.AblationSettings((subject,), "none", "", 1, "cross", ("1",), (), height=40)
    run = Run.open(tmp_path / "run", "ablate", settings)
    arm = arms.arms_of(settings)[0]
    sample_arm(sd, arm, settings, [PROMPT], [PROMPT.text], run, batch_size=1)
    (path,) = (tmp_path / "run" / "images").rglob("*.png")
    with Image.open(path) as image:
        assert image.size == (40, 40)


def test_the_size_of_a_subject_goes_before_that_of_all(sd, tmp_path):
    subject = arms.Subject(**SUBJECT, height=24, width=40)
    settings = arms.AblationSettings((subject,), "none", "", 1, "cross", ("1",), ())
    run = Run.open(tmp_path / "run", "ablate", settings)
    arm = arms.arms_of(settings)[0]
    sample_arm(sd, arm, settings, [PROMPT], [PROMPT.text], run, batch_size=1)
    (path,) = (tmp_path / "run" / "images").rglob("*.png")
    with Image.open(path) as image:
        assert image.size == (40, 24)


def test_the_own_size_of_a_pipeline_is_what_it_makes_when_told_nothing(tokenizer_folder):
    for name in ("sd", "sdxl"):
        pipe = toys.FAMILIES[name](tokenizer_folder)
        (image,) = pipe(toys.PROMPTS[0], num_inference_steps=1).images
        assert image_sizes.own_size(pipe) == (image.height, image.width), name
    pipe = toys.stable_diffusion(tokenizer_folder, sample_size=(12, 20))
    (image,) = pipe(toys.PROMPTS[0], num_inference_steps=1).images
    assert image_sizes.own_size(pipe) == (image.height, image.width) == (24, 40)
    assert image_sizes.own_size(toys.stable_video_diffusion(tokenizer_folder)) == (576, 1024)
    assert image_sizes.own_size(toys.wan()) == (480, 832)


def test_what_is_known_without_weights_is_the_pipelines_own_size(tokenizer_folder, tmp_path):
    for name, build in toys.FAMILIES.items():
        pipe = build(tokenizer_folder)
        pipe.save_pretrained(tmp_path / name)
        found = architectures.find(str(tmp_path / name))
        assert found.is_known
        assert (found.height, found.width) == image_sizes.own_size(pipe), name


@pytest.mark.parametrize("asked", [{"height": 36}, {"height": 32, "width": 12}, {"width": -8}])
def test_a_size_that_would_be_rounded_or_break_is_refused(sd, asked):
    with pytest.raises(InputError, match=r"is not a multiple of 8, which .* \(choose \d+ or \d+\)"):
        calling.call(sd, [PROMPT.text], seeds=[0], steps=1, guidance=1.0, **asked)


def test_patches_count_in_what_a_pipeline_takes(tokenizer_folder):
    pipe = toys.pixart(tokenizer_folder)
    pipe.vae_scale_factor = 8  # as the true one's; patches of 2 x 2 latents
    with pytest.raises(InputError, match="height=40 is not a multiple of 16"):
        calling.call_options(pipe, seeds=[0], steps=2, guidance=1.0, height=40)
    assert calling.call_options(pipe, seeds=[0], steps=2, guidance=1.0, height=48)["width"] == 48


def test_an_image_of_another_size_than_was_asked_for_is_refused(sd, monkeypatch):
    """As of pipelines that round, whose patches nobody here knows."""
    real = type(sd).__call__

    def rounding(pipe, *args, height=None, width=None, **kwargs):
        return real(pipe, *args, height=height // 16 * 16, width=width // 16 * 16, **kwargs)

    monkeypatch.setattr(type(sd), "__call__", rounding)
    for output_type in ("pil", "latent"):
        with pytest.raises(InputError, match="made 32x32 where 40x40 was asked for"):
            calling.call(sd, [PROMPT.text], seeds=[0], steps=1, guidance=1.0, height=40,
                         output_type=output_type)  # fmt: skip


@pytest.fixture
def no_figures(monkeypatch):
    """Figures take most of a command's time here, and are not what is asked."""
    monkeypatch.setattr("attnscope.figures.saving.save_figures", lambda run: [])


def commands(folder, captions, out):
    common = ["--model", folder, "--captions", captions, "--steps", 2, "--device", "cpu", "-q"]
    return {
        "generate": ["generate", *common, "--out", out],
        "convergence": ["convergence", *common, "--out", out],
        "ablate": ["ablate", *common, "--gate", 1, "--out", out],
    }


@pytest.mark.parametrize("command", ["generate", "convergence", "ablate"])
@pytest.mark.parametrize(
    ("asked", "made"),
    [
        (["--height", 40], (40, 40)),
        (["--width", 24], (24, 24)),
        (["--height", 40, "--width", 24], (40, 24)),
        ([], (32, 32)),
    ],
)
@pytest.mark.usefixtures("no_figures")
def test_a_run_records_the_size_that_was_made(
    attnscope, folder, captions, tmp_path, command, asked, made
):
    code, _, err = attnscope(*commands(folder, captions, tmp_path / "run")[command], *asked)
    assert (code, err) == (0, "")
    settings = Run(tmp_path / "run").settings
    assert (settings["height"], settings["width"]) == made
    for path in (tmp_path / "run" / "images").rglob("*.png"):
        with Image.open(path) as image:
            assert (image.height, image.width) == made
            if command == "generate":
                about = json.loads(image.text["attnscope"])
                assert (about["height"], about["width"]) == made
    if command == "ablate":
        assert [(s["height"], s["width"]) for s in settings["subjects"]] == [made]


@pytest.mark.parametrize("command", ["generate", "convergence", "ablate"])
@pytest.mark.usefixtures("no_figures")
def test_the_size_stands_in_what_is_printed(attnscope, folder, captions, tmp_path, command):
    args = [part for part in commands(folder, captions, tmp_path / "run")[command] if part != "-q"]
    _, out, _ = attnscope(*args, "--height", 40, "--width", 24)
    assert "24x40" in " ".join(out.split())


@pytest.mark.usefixtures("no_figures")
def test_models_of_different_sizes_are_recorded_apart(
    attnscope, tokenizer_folder, captions, tmp_path
):
    for name, side in (("small", 8), ("large", 16)):
        pipe = toys.stable_diffusion(tokenizer_folder, sample_size=side)
        pipe.save_pretrained(tmp_path / name)
    both = f"{tmp_path / 'small'},{tmp_path / 'large'}"
    code, _, err = attnscope("ablate", "--model", both, "--captions", captions, "--steps", 2,
                             "--gate", 1, "--device", "cpu", "--out", tmp_path / "run", "-q")  # fmt: skip
    assert (code, err) == (0, "")
    settings = Run(tmp_path / "run").settings
    assert (settings["height"], settings["width"]) == (None, None)
    assert [(s["height"], s["width"]) for s in settings["subjects"]] == [(16, 16), (32, 32)]
    found = {}
    for path in (tmp_path / "run" / "images").rglob("*.png"):
        with Image.open(path) as image:
            found.setdefault(path.parent.name.split("-")[0], set()).add(image.size)
    assert found == {"small": {(16, 16)}, "large": {(32, 32)}}


def test_a_size_that_the_patches_of_a_model_do_not_take_is_refused_before_anything_is_written(
    attnscope, tokenizer_folder, tmp_path
):
    toys.stable_video_diffusion(tokenizer_folder).save_pretrained(tmp_path / "svd")
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "images" / "black.png")
    config = tmp_path / "svd" / "unet" / "config.json"
    assert len(json.loads(config.read_text())["block_out_channels"]) == 2
    code, _, err = attnscope("generate", "--model", tmp_path / "svd", "--images",
                             tmp_path / "images", "--height", 36, "--out", tmp_path / "run")  # fmt: skip
    assert code == 2
    assert "36 is not a multiple of" in err
    assert not (tmp_path / "run").exists()


def test_a_benchmark_refuses_a_size_before_anything_is_written(attnscope, folder, tmp_path):
    """The toy's autoencoder takes multiples of 2; its pipeline takes those of 8."""
    code, _, err = attnscope("bench", "--model", folder, "--tgate", "m=1", "--steps", 2, "--height",
                             36, "--device", "cpu", "--out", tmp_path / "run")  # fmt: skip
    assert code == 2
    assert "height=36 is not a multiple of 8" in err
    assert not (tmp_path / "run").exists()
