"""The command that trains: what it refuses, and what it starts from."""

from itertools import islice

import numpy as np
import pytest

from attnscope.cli.shapes import start_folder
from attnscope.models.names import SHAPES_FOLDER
from attnscope.shapes import architecture
from attnscope.shapes.captions import Captions
from attnscope.shapes.denoising import Emphasis, UNetDenoising
from attnscope.shapes.exporting import Start, export
from attnscope.shapes.scenes import generate


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--model", "sdxl"],
            "--model 'sdxl' is not trained here: choose shapes, shapes-dit, shapes-lcm, reader",
        ),
        (["--model", "shapes-dit", "--start", "nothing"], "leave --start out"),
        (["--start", "nowhere"], "no such model: 'nowhere'"),
        (
            ["--teacher", "shapes"],
            "--teacher is for --model shapes-dit or shapes-lcm, not for 'shapes'",
        ),
        (["--model", "shapes-dit", "--teacher", "nowhere"], "no such model: 'nowhere'"),
        (["--batch-size", "8"], "No such option: --batch-size (Possible options: --batch)"),
        (["--model", "reader", "--noise-shift", "2"], "the reader is trained without noise"),
        (["--batch", "3", "--workers", "2"], "cannot be shared evenly by 2 workers"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(attnscope, tmp_path, options, said):
    code, out, err = attnscope("shapes", "train", "--out", tmp_path / "t", *options)
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())
    assert not (tmp_path / "t").exists()


def test_a_model_that_knows_no_places_cannot_teach_them(attnscope, tmp_path, tokenizer_folder):
    given = Start.read(SHAPES_FOLDER, "unet")
    tokenizer = architecture.tokenizer(tokenizer_folder)
    scenes = list(islice(generate("train"), 2))
    of_clip = UNetDenoising(
        architecture.text_encoder(tokenizer), None, np.zeros((2, 4, 16, 16), np.float16),
        Captions.of(scenes, tokenizer), tokenizer, noise_shift=4.0, dropout=0.0,
        emphasis=Emphasis(),
    )  # fmt: skip
    export(tmp_path / "clip", of_clip, given.autoencoder, given.reader)
    command = ("shapes", "train", "--out", tmp_path / "t", "--model", "shapes-dit", "--scenes", 2,
               "--workers", 1, "--teacher", tmp_path / "clip")  # fmt: skip
    code, out, err = attnscope(*command)
    assert (code, out) == (2, "")
    assert "cannot teach what stands where" in err


def test_a_training_starts_from_a_model_or_from_a_state(tmp_path):
    assert start_folder("shapes") == SHAPES_FOLDER
    for part in ("unet", "text_encoder"):
        (tmp_path / "state" / part).mkdir(parents=True)
    assert start_folder(str(tmp_path / "state")) == tmp_path / "state"
