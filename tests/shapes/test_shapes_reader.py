"""Training the reader: on what it will judge, and apart from it."""

import numpy as np
import pandas as pd
import pytest
import torch

from attnscope.models.names import SHAPES_FOLDER
from attnscope.shapes import reader
from attnscope.shapes.exporting import Start
from attnscope.shapes.fitting import Schedule
from attnscope.shapes.latents import scenes_of
from attnscope.shapes.objectives import ReadingObjective, to_float
from attnscope.shapes.recipes.reader import ReaderRecipe
from attnscope.shapes.scenes import render
from attnscope.shapes.train import train

SCENES = scenes_of(("train", "test"), 8, 3)


@pytest.fixture(scope="module")
def reading():
    given = Start.read(SHAPES_FOLDER, "unet")
    images = np.stack([render(scene, np.random.default_rng(i)) for i, scene in enumerate(SCENES)])
    with torch.no_grad():
        latents = given.autoencoder.encode(to_float(images)).latent_dist.mean.half().numpy()
    return ReadingObjective(
        images, SCENES, latents, given.autoencoder, given.reader.requires_grad_(True)
    )


def test_scenes_are_of_the_splits_in_turn():
    assert [scene.split for scene in SCENES] == ["train", "test"] * 4


def test_half_of_a_batch_went_through_the_autoencoder(reading):
    """It is the image, a little blurred; and the reader is all that learns."""
    examples = torch.arange(8)
    seen = []
    hook = reading.model.register_forward_pre_hook(lambda model, args: seen.append(args[0]))
    reading(examples, torch.Generator().manual_seed(0)).backward()
    hook.remove()
    drawn = to_float(reading._images)
    assert torch.equal(seen[0][:4], drawn[:4])
    off = (seen[0][4:] - drawn[4:]).abs().mean((1, 2, 3))
    assert (off > 0.001).all()
    assert (off < 0.1).all()
    assert all(p.grad is None for p in reading._autoencoder[0].parameters())
    learning = {name for name, _ in reading.named_parameters()}
    assert learning == {f"model.{name}" for name, _ in reading.model.named_parameters()}
    assert reading.twin()._autoencoder is reading._autoencoder


def test_it_begins_as_the_reader_that_is_given(reading):
    images = to_float(reading._images)
    assert torch.equal(reading.model.read(images), reader.load_reader(SHAPES_FOLDER).read(images))


@pytest.mark.slow
def test_a_reader_is_trained_and_scored_on_decoded_scenes(tmp_path):
    schedule = Schedule(steps=2, batch=4, learning_rate=1e-5, warmup=1, evaluate_every=2)
    recipe = ReaderRecipe(scenes=9, samples=30, denoiser=schedule)
    assert train(tmp_path / "t", recipe, start=SHAPES_FOLDER)
    log = pd.read_csv(tmp_path / "t" / "log.csv")
    # Hardly trained it is the shipped one.
    assert log[["size", "fill", "color", "shape"]].iloc[-1].min() > 0.85
    made = reader.load_reader(tmp_path / "t" / "model")
    assert all(p.isfinite().all() for p in made.parameters())
