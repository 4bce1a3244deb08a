"""Folders that the trainings leave, untrained, in attnscope's own commands."""

from itertools import islice

import numpy as np
import pandas as pd
import pytest
import torch

from attnscope.models.names import SHAPES_FOLDER, describe
from attnscope.shapes import architecture, t5
from attnscope.shapes.captions import Captions
from attnscope.shapes.denoising import Emphasis
from attnscope.shapes.exporting import Start, export
from attnscope.shapes.recipes.dit import TransformerDenoising, transformer
from attnscope.shapes.recipes.lcm import ConsistencyDistillation
from attnscope.shapes.scenes import generate


@pytest.fixture(params=["shapes-dit", "shapes-lcm"])
def trained(request, tmp_path, tokenizer_folder):
    """A folder as ``shapes train`` leaves it."""
    torch.manual_seed(0)
    scenes = list(islice(generate("train"), 2))
    latents = np.zeros((2, 4, 16, 16), dtype=np.float16)
    settings = {"noise_shift": 4.0, "dropout": 0.0, "emphasis": Emphasis()}
    if request.param == "shapes-dit":
        tokenizer = t5.tokenizer()
        denoising = TransformerDenoising(
            t5.text_encoder(tokenizer), transformer(depth=1, width=96), latents,
            Captions.of(scenes, tokenizer), tokenizer, **settings,
        )  # fmt: skip
    else:
        tokenizer = architecture.tokenizer(tokenizer_folder)
        denoising = ConsistencyDistillation(
            t5.text_encoder(tokenizer), architecture.unet(), None, latents,
            Captions.of(scenes, tokenizer), tokenizer, **settings,
        )  # fmt: skip
    given = Start.read(SHAPES_FOLDER, "unet")
    export(tmp_path / request.param, denoising, given.autoencoder, given.reader)
    return tmp_path / request.param


def test_it_is_called_as_it_was_trained_to_be(trained):
    described = describe(str(trained))
    assert described.guidance == 3.0
    assert described.steps == (4 if trained.name == "shapes-lcm" else 25)


def test_it_generates(attnscope, trained, tmp_path):
    code, _, err = attnscope(
        "generate", "--model", trained, "--steps", 2, "--out", tmp_path / "run", "--limit", 2,
        "--plan", "tgate:gate=1", "-q",
    )  # fmt: skip
    assert code == 0, err
    assert len(list((tmp_path / "run" / "images").glob("*.png"))) == 2


def test_its_attention_is_measured(attnscope, trained, tmp_path):
    code, _, err = attnscope(
        "convergence", "--model", trained, "--steps", 3, "--out", tmp_path / "run", "--limit", 2,
        "-q",
    )  # fmt: skip
    assert code == 0, err
    tables = [pd.read_parquet(path) for path in (tmp_path / "run").rglob("*.parquet")]
    assert any(len(table) for table in tables)


def test_it_is_scored_in_its_own_number_of_steps(attnscope, trained, monkeypatch):
    from attnscope.analyses import alignment

    asked = []
    original = alignment.AlignmentSettings

    def settings(**values):
        asked.append(values["steps"])
        return original(**{**values, "steps": 2})

    monkeypatch.setattr(alignment, "AlignmentSettings", settings)
    code, out, err = attnscope("shapes", "score", "--model", trained, "--limit", 2, "--json")
    assert code == 0, err
    assert '"all"' in out
    assert asked == [describe(str(trained)).steps]
