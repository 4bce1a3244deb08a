"""The folder of a model is data: nothing in it runs, leads elsewhere or fills the memory."""

import json
import pickle

import pytest
import torch

import attnscope
from attnscope.errors import InputError
from attnscope.models import architectures, memory, random_weights
from attnscope.models.names import describe


def say(folder, name, **more):
    """Let a JSON file of a model say something else."""
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("model_index.json", {"_class_name": ["mine", "MyPipeline"]}, "a pipeline of its own"),
        ("model_index.json", {"unet": ["my_unet", "MyUNet"]}, "is or names unet of 'my_unet'"),
        ("model_index.json", {"unet": ["os", "system"]}, "is or names unet of 'os'"),
        ("model_index.json", {"../unet": ["diffusers", "UNet2DConditionModel"]}, "no name of a part but a path"),
        ("text_encoder/config.json", {"auto_map": {"AutoModel": "mine.Model"}}, "code to be run, auto_map"),
        ("unet/config.json", {"auto_map": {"AutoModel": "org/name--mine.Model"}}, "code to be run, auto_map"),
        ("text_encoder/config.json", {"num_hidden_layers": 10**6}, "no model has more than 1000"),
        ("unet/config.json", {"layers_per_block": [1, 10**9]}, "no model has more than 1000"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**11}, "no model has more than 1000000"),
        ("unet/config.json", {"block_out_channels": [160_000, 320_000]}, "asks for"),
        ("vae/config.json", {"latent_channels": 10**9}, "asks for inf GB of weights"),
    ],
)  # fmt: skip
def test_what_is_more_than_data_is_refused_before_anything_is_loaded(
    attnscope, folder, tmp_path, monkeypatch, name, more, message
):
    def never(*args, **options):
        raise AssertionError("it was loaded")

    import diffusers

    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", never)
    say(folder, name, **more)
    code, out, err = attnscope("generate", "a circle", "--model", folder, "--height", 32,
                               "--device", "cpu", "--out", tmp_path / "run")  # fmt: skip
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert name in err
    assert not (tmp_path / "run").exists()


def test_code_beside_the_weights_never_runs(folder):
    marker = folder.parent / "it-ran"
    script = f"open({str(marker)!r}, 'w').close()\n"
    for name in ("pipeline.py", "unet/unet.py", "text_encoder/modeling.py"):
        (folder / name).write_text(script)
    assert attnscope.load(str(folder), offline=True).unet is not None
    for name in (
        "unet/diffusers.py",
        "text_encoder/transformers.py",
    ):  # some versions would run them
        (folder / name).write_text(script)
        with pytest.raises(InputError, match=f"{name} of .* code in the place of a library"):
            attnscope.load(str(folder), offline=True)
        (folder / name).unlink()
    assert not marker.exists()


class _Bomb:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


def test_a_pickle_in_the_place_of_weights_is_not_opened(folder):
    marker = folder.parent / "it-ran"
    for part, name in (("unet", "diffusion_pytorch_model"), ("text_encoder", "pytorch_model")):
        for weights in (folder / part).glob("*.safetensors"):
            weights.unlink()
        (folder / part / f"{name}.bin").write_bytes(pickle.dumps(_Bomb(marker)))
    with pytest.raises(InputError, match="has no safetensors weights"):
        attnscope.load(str(folder), offline=True)
    with pytest.raises(InputError, match="cannot be loaded"):  # torch itself takes tensors alone
        attnscope.load(str(folder), offline=True, allow_pickle=True)
    assert not marker.exists()


@pytest.mark.parametrize("place", ["/etc", "../elsewhere", "unet/nothing"])
def test_a_link_that_leaves_the_folder_is_refused(folder, place):
    (folder.parent / "elsewhere").mkdir()
    (folder / "extra").symlink_to(place)
    with pytest.raises(
        InputError, match=r"extra of .* is a link (that leaves the folder|to nothing)"
    ):
        attnscope.load(str(folder), offline=True)


def test_links_within_a_folder_and_to_the_hubs_blobs_are_followed(folder, tmp_path):
    (folder / "unet2").symlink_to("unet")
    assert describe(str(folder)).source == str(folder)
    snapshot = tmp_path / "models--x--y" / "snapshots" / "abc"
    snapshot.parent.mkdir(parents=True)
    folder.rename(snapshot)
    blob = snapshot.parents[1] / "blobs" / "123"
    blob.parent.mkdir()
    (snapshot / "vae" / "config.json").rename(blob)
    (snapshot / "vae" / "config.json").symlink_to("../../../blobs/123")
    assert attnscope.load(str(snapshot), offline=True).vae is not None


@pytest.mark.parametrize("name", ["../../weights.safetensors", "/etc/passwd", "..\\x.safetensors"])
def test_parts_of_weights_are_files_beside_their_index(folder, name):
    index = {"metadata": {}, "weight_map": {"a": "ok.safetensors", "b": name}}
    (folder / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(
        json.dumps(index)
    )
    with pytest.raises(InputError, match="is a path out of its folder"):
        attnscope.load(str(folder), offline=True)


def test_whatever_a_library_raises_at_a_folder_is_one_line(folder):
    (folder / "tokenizer" / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(InputError, match="cannot be loaded: "):
        attnscope.load(str(folder), offline=True)


def test_random_weights_that_fit_nowhere_are_not_made(monkeypatch):
    monkeypatch.setattr(memory, "_count", lambda module: 10**15)
    with pytest.raises(
        InputError, match=r"shapes needs 4e\+06 GB of memory for its weights, and .* are free"
    ):
        random_weights.build(architectures.find("shapes"))


def test_what_files_of_weights_hold_is_read_from_their_heads(folder):
    pipe = attnscope.load(str(folder), offline=True)
    values = sum(tensor.numel() for tensor in pipe.unet.state_dict().values())
    (file,) = (folder / "unet").glob("*.safetensors")
    assert memory._elements(file) == values
    assert memory._asked(folder / "unet" / "config.json") == values
    file.write_bytes(b"\xff" * 20)
    assert memory._elements(file) == 0
    assert torch.get_default_device().type == "cpu"
