"""What a run records is what was really used: batch, scheduler, steps, weights."""

import json

import pandas as pd
import pytest
import toys
from diffusers import HeunDiscreteScheduler, PNDMScheduler
from PIL import Image

from attnscope.models import calling, names
from attnscope.runs.folder import Run


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """Figures take most of a command's time here, and are not what is asked."""
    monkeypatch.setattr("attnscope.figures.saving.save_figures", lambda run: [])


def command(name, folder, captions, out, *more):
    gate = ["--gate", "50%"] if name == "ablate" else []
    return [name, "--model", folder, "--captions", captions, "--steps", 3, "--height", 16,
            "--device", "cpu", "--out", out, *gate, *more]  # fmt: skip


@pytest.fixture
def small_memory(monkeypatch):
    """One image at a time fits, two do not."""
    call = calling.call

    def limited(pipe, inputs, **options):
        if len(inputs) > 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return call(pipe, inputs, **options)

    monkeypatch.setattr(calling, "call", limited)


def batches(run):
    return [run.about["machine"]["batch_size"]] + [
        change["machine"]["batch_size"] for change in run.about.get("later", [])
    ]


@pytest.mark.parametrize("name", ["generate", "convergence", "ablate"])
def test_the_batch_is_no_larger_than_there_are_prompts(attnscope, folder, captions, tmp_path, name):
    assert attnscope(*command(name, folder, captions, tmp_path / "run", "-q"))[0] == 0
    assert batches(Run(tmp_path / "run")) == [2]


@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize("name", ["generate", "convergence", "ablate"])
def test_a_batch_that_was_halved_is_recorded(attnscope, folder, captions, tmp_path, name):
    code, _, err = attnscope(*command(name, folder, captions, tmp_path / "run", "-q"))
    assert code == 0
    assert "going on with batches of 1" in err
    assert batches(Run(tmp_path / "run"))[-1] == 1


def test_a_run_that_goes_on_elsewhere_says_so(tmp_path, captions):
    from attnscope.analyses.ablation.arms import AblationSettings

    settings = AblationSettings((), "none", "", 1, "cross", ("1",), ())
    Run.open(tmp_path / "run", "ablate", settings, device="cpu", batch_size=4)
    Run.open(tmp_path / "run", "ablate", settings, device="cpu", batch_size=4)
    assert "later" not in Run(tmp_path / "run").about
    Run.open(tmp_path / "run", "ablate", settings, device="cuda", batch_size=4)
    run = Run.open(tmp_path / "run", "ablate", settings, device="cuda", batch_size=2)
    assert run.about["machine"]["device"] == "cpu"
    assert [change["machine"] for change in run.about["later"]] == [
        {"device": "cuda"}, {"batch_size": 2},
    ]  # fmt: skip
    assert Run(tmp_path / "run").about == run.about


@pytest.mark.parametrize(
    ("own", "made"),
    [(lambda c: PNDMScheduler.from_config(c, skip_prk_steps=True), 4), (HeunDiscreteScheduler.from_config, 5)],
)  # fmt: skip
def test_steps_of_a_models_own_scheduler_are_those_that_it_makes(
    attnscope, sd, captions, tmp_path, own, made
):
    sd.scheduler = own(sd.scheduler.config)
    sd.save_pretrained(tmp_path / "own")
    for name in ("ablate", "convergence", "generate"):
        code, out, err = attnscope(*command(name, tmp_path / "own", captions, tmp_path / name))
        assert (code, err) == (0, ""), name
        if name == "convergence":
            assert f"{made} steps (3 asked for)" in " ".join(out.split())
        if name == "generate":
            assert f"guided steps: {made} of {made}" in out
    arms = pd.read_parquet(tmp_path / "ablate" / "arms.parquet")
    assert set(arms["steps"]) == {made}
    assert set(arms["gate"].dropna()) == {round(made / 2)}
    noise = pd.read_parquet(tmp_path / "ablate" / "noise.parquet")
    assert noise["step"].nunique() == made
    (subject,) = Run(tmp_path / "ablate").settings["subjects"]
    assert (subject["steps"], subject["own_steps"]) == ([3], [made])


def test_an_ablation_whose_scheduler_makes_other_steps_is_refused(
    attnscope, folder, captions, tmp_path, monkeypatch
):
    monkeypatch.setattr("attnscope.analyses.checks.steps_of", lambda scheduler, steps: steps + 1)
    monkeypatch.setattr("attnscope.models.chosen.own_scheduler", lambda model: None)
    code, _, err = attnscope(*command("ablate", folder, captions, tmp_path / "run"))
    assert code == 2
    assert "makes 4 steps of --steps 3, where 3 are recorded" in err
    assert not (tmp_path / "run").exists()


def test_a_benchmark_says_how_many_steps_were_made(attnscope, folder, tmp_path):
    args = ["bench", "--model", folder, "--tgate", "m=1", "--steps", 3, "--height", 16, "--device",
            "cpu", "--repeats", 1, "--rivals", "none", "--scheduler", "heun", "--out",
            tmp_path / "run"]  # fmt: skip
    code, out, _ = attnscope(*args)
    assert code == 0
    assert "5 steps (3 asked for)" in " ".join(out.split())


def test_images_say_by_which_scheduler_they_were_made(attnscope, folder, captions, tmp_path):
    attnscope(*command("generate", folder, captions, tmp_path / "run", "-q"))
    with Image.open(tmp_path / "run" / "images" / "00000.png") as image:
        about = json.loads(image.text["attnscope"])
    assert about["scheduler"] is None
    assert about["scheduler_class"] == "DPMSolverMultistepScheduler"


def test_weights_that_are_no_safetensors_have_a_fingerprint_too(folder):
    model = names.describe(str(folder))
    seen = {names.fingerprint(model)}
    for content in (b"one", b"two"):
        (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(content)
        seen.add(names.fingerprint(model))
    assert len(seen) == 3


def test_a_unet_that_stands_in_for_the_models_own_is_in_the_fingerprint(tmp_path, monkeypatch):
    found = {
        "stabilityai/stable-diffusion-xl-base-1.0": "base",
        "latent-consistency/lcm-sdxl": "unet",
    }
    monkeypatch.setattr(names, "_cached", lambda repository, name: tmp_path / found[repository])
    assert names.fingerprint(names.MODELS["lcm-sdxl"]) == "base+unet"
    assert names.fingerprint(names.MODELS["sdxl"]) == "base"


@pytest.mark.parametrize("scale", ["nan", "-1", "3,inf"])
def test_scores_refuse_what_is_no_guidance_scale(attnscope, scale):
    code, out, err = attnscope("shapes", "score", "--limit", 1, "--steps", 1, "--guidance", scale)
    assert (code, out) == (2, "")
    assert "is out of range: choose 0 (none) or more" in err


def test_attention_that_never_moves_stands_in_the_json_too(
    attnscope, tokenizer_folder, captions, tmp_path
):
    toys.stable_diffusion_xl(tokenizer_folder, sample_size=8).save_pretrained(tmp_path / "xl")
    args = command("convergence", tmp_path / "xl", captions, tmp_path / "run", "--json")
    code, out, _ = attnscope(*args)
    assert code == 0
    assert json.loads(out)["unchanging"] == [{"kind": "cross", "branch": "uncond"}]
