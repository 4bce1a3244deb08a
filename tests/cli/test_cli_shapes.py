"""The command that trains: what it refuses, and what it starts from."""

import json
import shutil
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from attnscope.cli.shapes import OF_SHAPES, _columns, start_folder
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
        (["--batch-size", "8"], "No such option: --batch-size"),
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


def test_models_and_steps_are_scored_side_by_side(attnscope, tmp_path):
    options = ["--model", "shapes-lcm,shapes-dit", "--steps", "2,3", "--limit", 2]
    sheet = tmp_path / "sheet.png"
    code, out, err = attnscope("shapes", "score", *options, "--sheet", sheet)
    assert code == 0, err
    assert out.count("shapes-lcm") == out.count("shapes-dit") == 2
    with Image.open(sheet) as image:
        assert image.height < 1.5 * image.width
    code, out, err = attnscope("shapes", "score", *options, "--json")
    told = [(row["model"], row["steps"], row["n"]) for row in json.loads(out)]
    assert told == [(m, s, 2) for m in ("shapes-lcm", "shapes-dit") for s in (2, 3)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--steps", "0"], "is not whole numbers from 1"),
        (["--steps", "1,x"], "is not whole numbers from 1"),
        (["--steps", ""], "is empty"),
        (["--guidance", ""], "is not numbers with commas"),
        (["--guidance", "x"], "is not numbers with commas"),
        (["--model", "shapes-lcm", "--steps", "60"], "is refused by the scheduler"),
        (["--model", "shapes-lcm,shapes-dit", "--steps", "1"], "choose 2 steps or more"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_anything_is(attnscope, options, said):
    code, out, err = attnscope("shapes", "score", "--limit", 1, *options)
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())
    assert "images" not in err


def test_what_two_readers_see_does_not_stand_side_by_side(attnscope, tmp_path):
    shutil.copytree(SHAPES_FOLDER, tmp_path / "mine")
    with (tmp_path / "mine" / "reader.safetensors").open("ab") as file:
        file.write(b" ")
    code, _, err = attnscope(
        "shapes", "score", "--limit", 1, "--model", f"shapes,{tmp_path / 'mine'}"
    )
    assert code == 2
    assert "has another reader than 'shapes'" in " ".join(err.split())


@pytest.mark.parametrize(
    ("made_by", "said"),
    [
        ([("a", 4, 3.0)], ["guidance 3"]),
        ([("a", 4, 3.0), ("a", 4, 4.5)], ["guidance 3", "guidance 4.5"]),
        ([("a", 25, 3.0), ("b", 25, 3.0)], ["a", "b"]),
        ([("a", 25, 3.0), ("b", 4, 3.0)], ["a, 25 steps", "b, 4 steps"]),
        ([("a", 2, 3.0), ("a", 4, 3.0)], ["2 steps", "4 steps"]),
        (
            [("a", 2, 3.0), ("a", 4, 3.0), ("b", 2, 3.0), ("b", 4, 3.0)],
            ["a, 2 steps", "a, 4 steps", "b, 2 steps", "b, 4 steps"],
        ),
    ],
)
def test_a_column_says_how_it_differs(made_by, said):
    names = ("model", "steps", "guidance")
    assert _columns([dict(zip(names, row, strict=True)) for row in made_by]) == said


@pytest.mark.parametrize("model", OF_SHAPES)
@pytest.mark.parametrize(
    "command",
    [
        ["convergence", "--limit", 1, "--steps", 3],
        ["ablate", "--limit", 1, "--steps", 3, "--gate", 1, "--features", "none"],
        ["ablate", "--limit", 1, "--steps", 8, "--attention", "self", "--gate", 5, "--interval", 2,
         "--features", "none"],
        ["generate", "--limit", 1, "--steps", 3, "--tgate", "m=2", "--compare"],
        ["bench", "--steps", 3, "--tgate", "m=2", "--repeats", 1, "--rivals", "none"],
        ["cost", "--tgate", "m=2,k=2"],
    ],
    ids=lambda command: " ".join(map(str, command[:1])),
)  # fmt: skip
def test_every_command_takes_every_model_in_the_box(attnscope, tmp_path, command, model):
    options = ["--out", tmp_path / "run"]
    code, out, err = attnscope(*command, "--model", model, *options)
    assert code == 0, err
    assert out
    assert "alignment is left out" not in err
