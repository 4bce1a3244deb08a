"""The folder of a model is data: nothing in it runs, leads elsewhere or fills the memory."""

import json
import pickle

import pytest
import torch

import attnscope
from attnscope.errors import InputError
from attnscope.models import architectures, folders, memory, random_weights
from attnscope.models.names import describe


def say(folder, name, **more):
    """Let a JSON file of a model say something else."""
    path = folder / name
    said = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(said | more))


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("model_index.json", {"_class_name": ["mine", "MyPipeline"]}, "a pipeline of its own"),
        ("model_index.json", {"unet": ["my_unet", "MyUNet"]}, "is or names unet of 'my_unet'"),
        ("model_index.json", {"unet": ["os", "system"]}, "is or names unet of 'os'"),
        ("model_index.json", {"../unet": ["diffusers", "UNet2DConditionModel"]}, "no name of a part but a path"),
        ("model_index.json", {"auto_map": {"ModularPipeline": "mine.Pipeline"}}, "code to be run, auto_map"),
        ("config.json", {"auto_map": {"AutoModel": "org/name--mine.Model"}}, "code to be run, auto_map"),
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
    (folder / "text_encoder" / "custom_generate").mkdir()
    for name in (
        "unet/diffusers.py",
        "text_encoder/transformers.py",
        "text_encoder/custom_generate/generate.py",
    ):  # some versions would run them
        (folder / name).write_text(script)
        with pytest.raises(InputError, match=f"{name} of .* code in the place of a "):
            attnscope.load(str(folder), offline=True)
        (folder / name).unlink()
    assert not marker.exists()


def with_code_of_its_own(folder):
    """A part's own code, and configurations that name it for every class that could look for it."""
    marker = folder.parent / "it-ran"
    named = {f"Auto{what}": "mine.Mine" for what in ("Config", "Model", "Tokenizer", "Processor")}
    for part, name in (
        ("text_encoder", "config"),
        ("tokenizer", "tokenizer_config"),
        ("unet", "config"),
    ):
        (folder / part / "mine.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
        say(folder, f"{part}/{name}.json", auto_map=named)
    return marker


def test_code_that_is_named_beside_a_class_of_the_libraries_is_left_alone(folder, monkeypatch):
    """As the language models of Kolors have it: their class is in diffusers by now."""
    marker = with_code_of_its_own(folder)
    monkeypatch.setattr("builtins.input", lambda text: pytest.fail(f"it asks {text}"))
    pipe = attnscope.load(str(folder), offline=True)
    assert type(pipe.text_encoder).__name__ == "CLIPTextModel"
    assert not marker.exists()
    for kind in (["kolors", "ChatGLMModel"], ["transformers", "T5TokenizerFast"]):
        said = {"auto_map": {"AutoModel": "mine.Mine"}}
        folders._check_said(folder, "text/config.json", said, {"text": kind})


@pytest.mark.parametrize(
    "kind", [["transformers", "AutoModel"], ["transformers", "MineModel"], ["diffusers", "AutoModel"],
             ["kolors", "MineModel"], [None, None], ["transformers"], "transformers"],
)  # fmt: skip
def test_code_is_refused_where_it_would_be_looked_for_or_nothing_else_is_there(folder, kind):
    marker = with_code_of_its_own(folder)
    say(folder, "model_index.json", text_encoder=kind)
    with pytest.raises(
        InputError, match=r"text_encoder/config.json of .* code to be run, auto_map"
    ):
        describe(str(folder))
    assert not marker.exists()


@pytest.mark.parametrize(
    "more", [{"unet": ["my_unet", "MyUNet"]}, {"num_inference_layers": 10**6}], ids=str
)
def test_the_index_of_a_folder_is_looked_at_before_it_is_known_what_is_asked_of_it(folder, more):
    say(folder, "model_index.json", **more)
    with pytest.raises(InputError, match=r"model_index.json of "):
        describe(str(folder))


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


def test_weights_may_lie_elsewhere(folder):
    (weights,) = (folder / "unet").glob("*.safetensors")
    elsewhere = folder.parent / "elsewhere" / "0001"
    elsewhere.parent.mkdir()
    weights.rename(elsewhere)
    weights.symlink_to(elsewhere)
    assert attnscope.load(str(folder), offline=True).unet is not None
    weights.unlink()
    weights.symlink_to(elsewhere.parent)  # a folder, of who knows what
    with pytest.raises(InputError, match="is a link that leaves the folder"):
        attnscope.load(str(folder), offline=True)
    weights.unlink()
    (folder.parent / "secret").write_text("not a tensor")
    weights.symlink_to(folder.parent / "secret")
    with pytest.raises(
        InputError, match=r"unet/.*safetensors is damaged \(.*\); fetch it again"
    ) as told:
        attnscope.load(str(folder), offline=True)
    assert "not a tensor" not in str(told.value)


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_weights_that_were_cut_off_are_named_and_no_pickle_is_advised(folder, part):
    (weights,) = (folder / part).glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError) as told:
        attnscope.load(str(folder), offline=True)
    assert f"{part}/{weights.name} is damaged (" in str(told.value)
    assert "pickle" not in str(told.value)
    assert "\n" not in str(told.value)


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
