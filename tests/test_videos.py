"""Videos: a GIF and a sheet of frames, from a toy Latte through the commands."""

import itertools
import json
import subprocess

import numpy as np
import pytest
import torch
import toys
from diffusers import LattePipeline, LatteTransformer3DModel
from PIL import Image
from transformers import T5EncoderModel

from attnscope import videos
from attnscope.analyses.paper.stand_ins import GIVEN, LATTE, SVD, placed, prepare
from attnscope.errors import InputError
from attnscope.models.architectures import find
from attnscope.models.names import MODELS, SHAPES_FOLDER, describe
from attnscope.runs.folder import Run
from attnscope.versions import fast_tokenizer
from attnscope.videos import gifs_of, write_gif, write_mp4

SMALL = ["--steps", 3, "--height", 32, "--width", 32, "--device", "cpu"]


def pictures(count, size=8):
    values = np.linspace(0, 250, count).astype(np.uint8)
    return [Image.fromarray(np.full((size, size, 3), value, np.uint8)) for value in values]


def test_a_gif_has_the_frames_in_their_order_and_goes_on_for_ever(tmp_path):
    write_gif(pictures(4), tmp_path / "a.gif", rate=10)
    with Image.open(tmp_path / "a.gif") as video:
        assert (video.n_frames, video.info["loop"], video.info["duration"]) == (4, 0, 100)
        shown = []
        for number in range(4):
            video.seek(number)
            shown.append(np.asarray(video.convert("RGB")).mean())
    assert shown == sorted(shown)
    assert shown[-1] - shown[0] > 200
    with pytest.raises(InputError, match="two frames or more, not 1"):
        write_gif(pictures(1), tmp_path / "b.gif")


def test_an_mp4_has_the_frames_in_their_order(tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="pip install 'attnscope[videos]'")
    write_mp4(pictures(4, size=32), tmp_path / "a.mp4", rate=10)
    assert (tmp_path / "a.mp4").read_bytes()[4:8] == b"ftyp"
    decoded = subprocess.run(
        [ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", tmp_path / "a.mp4", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
        capture_output=True, check=True,
    )  # fmt: skip
    shown = np.frombuffer(decoded.stdout, np.uint8).reshape(4, 32, 32, 3).mean((1, 2, 3))
    expected = [np.asarray(picture).mean() for picture in pictures(4, size=32)]
    assert shown == pytest.approx(expected, abs=4)  # it is lossy


def test_what_no_mp4_can_be_is_refused_by_name(tmp_path, monkeypatch):
    for frames, told in ((pictures(1), "two frames or more"), (pictures(2, size=7), "not 7x7: write a GIF")):  # fmt: skip
        with pytest.raises(InputError, match=told):
            write_mp4(frames, tmp_path / "b.mp4")
    monkeypatch.setattr(videos, "writes_mp4", lambda: False)
    with pytest.raises(InputError, match=r"pip install 'attnscope\[videos\]'"):
        write_mp4(pictures(2), tmp_path / "b.mp4")
    assert not list(tmp_path.iterdir())


def test_images_have_no_gif(tmp_path):
    import pandas as pd

    table = pd.DataFrame({"arm": ["plan"] * 2, "prompt_id": [0, 1], "frame": 0, "path": "x.png"})
    assert gifs_of(tmp_path, table, "arm") == []


@pytest.fixture
def latte(tokenizer_folder, tmp_path):
    """A Latte of random weights in a folder, sixteen frames, that reads the words of shapes-dit."""
    texts = SHAPES_FOLDER.with_name("shapes-dit")
    encoder = T5EncoderModel.from_pretrained(texts / "text_encoder")
    config = json.loads(toys.latte_architecture().config)
    config |= {"video_length": 16, "caption_channels": encoder.config.d_model}
    parts = toys.pixart(tokenizer_folder).components
    torch.manual_seed(0)
    pipe = LattePipeline(
        transformer=LatteTransformer3DModel(**config), vae=parts["vae"], text_encoder=encoder,
        scheduler=parts["scheduler"], tokenizer=fast_tokenizer(texts / "tokenizer", "T5Tokenizer"),
    )  # fmt: skip
    pipe.save_pretrained(tmp_path / "latte")
    return tmp_path / "latte"


def test_a_short_name_leads_to_the_architecture_of_its_hub_id():
    assert describe("latte").source == "maxin-cn/Latte-1"
    assert MODELS["latte"].task == "text"
    found = find("latte", offline=True)
    assert (found.class_name, found.frames, found.steps) == ("LatteTransformer3DModel", 16, 50)


def test_a_video_of_every_plan_is_made_shown_and_measured(attnscope, latte, tmp_path):
    run = tmp_path / "run"
    code, _out, err = attnscope(
        "generate",
        "a red circle",
        "--model",
        latte,
        "--plans",
        "baseline;m=2",
        "--out",
        run,
        *SMALL,
    )
    assert code == 0, err
    images = Run(run).read_table("images")
    count = images.groupby("plan")["frame"].nunique()
    assert (count == 16).all()
    for name in images["key"].unique():
        with Image.open(run / "images" / name / "00000.gif") as video:
            assert video.n_frames == count.iloc[0]
    assert (run / "figures" / "frames.png").exists()
    table = Run(run).read_table("plans").set_index("plan")
    assert table.loc["tgate:m=2,k=1,w=2,f=1", "guided_steps"] == 2
    assert json.loads((run / "run.json").read_text())["settings"]["plans"][0] == "baseline"


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    """Pipelines of random weights in a folder: Stable Video Diffusion and Latte, and what they are given."""
    folder = tmp_path_factory.mktemp("stand-ins")
    prepare(frozenset({SVD, LATTE, *GIVEN["images"], *GIVEN["opensora"]}), folder)
    return {
        "svd": ["--model", placed(SVD, folder), *(placed(word, folder) for word in GIVEN["images"])],
        "latte": ["--model", placed(LATTE, folder), *(placed(word, folder) for word in GIVEN["opensora"])],
    }  # fmt: skip


def steady(run, images):
    """The mean over videos of how far adjacent frames are apart, written out with numpy."""
    means = []
    for _, video in images.sort_values("frame").groupby("prompt_id"):
        frames = [np.asarray(Image.open(run / path), float) / 255 for path in video["path"]]
        means.append(
            np.mean([np.linalg.norm(b - a) / a.size**0.5 for a, b in itertools.pairwise(frames)])
        )
    return np.mean(means)


OF_VIDEOS = {
    "ablate": ("arms", ["--attention", "self", "--gate", 2, "--interval", 2]),
    "bench": ("frontier", ["--frontier", "--repeats", 1, "--plans", "baseline;tgate-spatial:m=2,k=2"]),
    "generate": ("quality", ["--judge", "--compare", "--tgate", "m=2"]),
}  # fmt: skip


@pytest.mark.parametrize("model", ["svd", "latte"])
@pytest.mark.parametrize("command", OF_VIDEOS)
def test_every_command_that_judges_says_how_steady_videos_are(
    attnscope, stand_ins, tmp_path, command, model
):
    name, options = OF_VIDEOS[command]
    run = tmp_path / "run"
    code, out, err = attnscope(
        command, *stand_ins[model], *options, "--limit", 2, "--steps", 4, "--height", 64, "--width", 64,
        "--device", "cpu", "--out", run,
    )  # fmt: skip
    assert code == 0, err
    assert "frame distance" in out
    table, images = Run(run).read_table(name), Run(run).read_table("images")
    told = table[table["measure"] == "frames"].set_index("arm")["value"]
    for arm, own in images.groupby("arm"):
        assert own["frame"].max() >= 7
        assert told[arm] == pytest.approx(steady(run, own), rel=1e-6)


def test_the_clip_score_of_a_video_is_that_of_its_frames(
    attnscope, stand_ins, tmp_path, monkeypatch
):
    """No CLIP is here: what stands in for it tells how bright a frame is."""
    from attnscope import metrics

    def brightness(images, captions, clip, **options):
        assert clip == "a/clip"
        return np.array([np.asarray(image, float).mean() for image in images])

    monkeypatch.setattr(metrics, "clip_score", brightness)
    run = tmp_path / "run"
    code, out, err = attnscope(
        "generate", *stand_ins["latte"], "--judge", "--clip", "a/clip", "--limit", 2, "--steps", 2,
        "--height", 64, "--width", 64, "--device", "cpu", "--out", run,
    )  # fmt: skip
    assert code == 0, err
    assert "CLIP score" in out
    quality = Run(run).read_table("quality").set_index("measure")
    paths = Run(run).read_table("images")["path"]
    mean = np.mean([np.asarray(Image.open(run / path), float).mean() for path in paths])
    assert quality.loc["clip", "value"] == pytest.approx(mean)
    assert quality.loc["clip", "n"] == 2  # two videos, however many frames
