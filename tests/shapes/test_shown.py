"""What patches show of a scene, and the loss that makes them tell it."""

from itertools import islice

import numpy as np
import pytest
import torch

from attnscope.shapes import t5
from attnscope.shapes.captions import Captions
from attnscope.shapes.denoising import Emphasis
from attnscope.shapes.reader import ABSENT, encode
from attnscope.shapes.recipes.dit import TransformerDenoising, transformer
from attnscope.shapes.scenes import Scene, Thing, generate, render
from attnscope.shapes.shown import Shown, covered

SCENES = list(islice(generate("train"), 40))


@pytest.mark.parametrize("side", [8, 16])
def test_patches_that_a_thing_covers_differ_from_the_background(side):
    """Against the images themselves."""
    inside, outside = [], []
    for index, scene in enumerate(SCENES):
        image = render(scene, np.random.default_rng([0, index])).astype(int)
        patches = covered(scene, np.random.default_rng([0, index]), side)
        assert set(np.unique(patches)) == {0, *range(1, len(scene.things) + 1)}
        differs = np.abs(image - image[0, 0]).sum(-1) > 30
        blocks = differs.reshape(side, 64 // side, side, 64 // side).mean((1, 3))
        inside.append(blocks[patches > 0].mean())
        outside.append(blocks[patches == 0].mean())
    assert np.mean(inside) > 0.7
    assert np.mean(outside) < 0.1


def test_the_first_thing_is_the_left_or_the_upper_one():
    things = (Thing("large", "plain", "red", "circle"), Thing("large", "plain", "blue", "circle"))
    for relation, first in (("left of", 1), ("right of", 2), ("above", 1), ("below", 2)):
        scene = Scene(things, relation, "white")
        image = render(scene)
        rows, columns = np.nonzero(covered(scene, None, 8) == first)
        red = image[rows * 8 + 4, columns * 8 + 4]
        assert (red[:, 0] > red[:, 2]).all()


def test_a_patch_is_asked_for_the_attributes_of_its_own_thing():
    shown = Shown(SCENES, 0, 8, 32)
    targets = shown.targets(torch.arange(len(SCENES)))
    for index, scene in enumerate(SCENES):
        patches = covered(scene, np.random.default_rng([0, index]), 8).ravel()
        assert (targets[index][patches == 0] == ABSENT).all()
        assert (targets[index][patches == 1] == torch.tensor(encode(scene)[2:6])).all()
        if scene.relation:
            assert (targets[index][patches == 2] == torch.tensor(encode(scene)[6:])).all()


def test_patches_that_know_lose_nothing_and_others_what_chance_costs():
    shown = Shown(SCENES, 0, 8, 22)
    examples = torch.arange(len(SCENES))
    assert shown(torch.zeros(40, 64, 22), examples).item() == pytest.approx(
        np.log([2, 4, 8, 8]).sum(), abs=1e-5
    )
    known = torch.zeros(40, 64, 22)
    offsets = torch.tensor([0, 2, 6, 14])
    targets = shown.targets(examples)
    known.scatter_(2, (targets + offsets).clamp(min=0), 1.0)
    with torch.no_grad():
        shown.head.weight.copy_(20 * torch.eye(22))
        assert shown(known, examples) < 1e-3


def test_a_transformer_learns_what_its_patches_show_and_leaves_no_hook():
    torch.manual_seed(0)
    tokenizer = t5.tokenizer()
    model = transformer(depth=2, width=96)
    latents = np.random.default_rng(0).normal(size=(40, 4, 16, 16)).astype(np.float16)
    settings = {"noise_shift": 4.0, "dropout": 0.0, "emphasis": Emphasis()}
    shown = Shown(SCENES, 0, 8, 96)
    data = (latents, Captions.of(SCENES, tokenizer), tokenizer)
    denoising = TransformerDenoising(
        t5.text_encoder(tokenizer), model, *data, shown=shown, showing=0.1, **settings
    )
    assert denoising.twin().shown._patches is shown._patches
    with torch.no_grad():
        denoising.twin().shown.head.weight.zero_()
        assert shown.head.weight.abs().max() > 0
        both = denoising(torch.arange(8), torch.Generator().manual_seed(0))
        denoising.showing = 0.0
        alone = denoising(torch.arange(8), torch.Generator().manual_seed(0))
        denoising.showing = 0.1
    assert both > alone + 0.1
    denoising(torch.arange(8), torch.Generator().manual_seed(0)).backward()
    assert shown.head.weight.grad.abs().max() > 0
    assert not any(block._forward_hooks for block in model.transformer_blocks)
    other = TransformerDenoising(
        denoising.encoder, model, *data, shown=Shown(SCENES, 0, 8, 96), **settings
    )
    other.resume(denoising.extras())
    assert torch.equal(other.shown.head.weight, shown.head.weight)
