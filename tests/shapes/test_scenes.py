from itertools import islice, product

import numpy as np
import pytest

from attnscope.shapes import scenes
from attnscope.shapes.scenes import Scene, Thing, caption, generate, render, scene_of

BIG_RED = Thing("large", "striped", "red", "circle")
SMALL_BLUE = Thing("small", "plain", "blue", "square")


def test_a_caption_reads_like_one():
    scene = Scene((BIG_RED, SMALL_BLUE), "above", "gray")
    assert caption(scene) == (
        "a large striped red circle above a small blue square on a gray background"
    )


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_parse_is_the_exact_inverse_of_caption(split):
    for scene in islice(generate(split), 500):
        assert scene_of(caption(scene)) == scene


@pytest.mark.parametrize(
    "text",
    [
        "", "a red circle", "a large red circle on a gray", "a large plain red circle on a gray background",
        "a large red circle beside a small blue square on a gray background",
        "a huge red circle on a gray background", "a large red circle on a mauve background",
        "a large red circle  on a gray background",
    ],
)  # fmt: skip
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match="is not"):
        scene_of(text)


def test_splits_share_no_combination():
    seen = {
        split: {
            (thing.fill, thing.color, thing.shape)
            for scene in islice(generate(split), 3000)
            for thing in scene.things
            if thing.split == split
        }
        for split in ("train", "validation", "test")
    }
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["validation"]
    assert not seen["validation"] & seen["test"]
    assert len(seen["train"]) == 192
    assert len(seen["test"]) == len(seen["validation"]) == 32


def test_training_scenes_hold_training_combinations_only():
    for scene in islice(generate("train"), 1000):
        assert {thing.split for thing in scene.things} == {"train"}


def test_every_pair_of_attributes_occurs_in_training():
    triples = [
        (fill, color, shape)
        for fill, color, shape in product(scenes.FILLS, scenes.COLORS, scenes.SHAPES)
        if Thing("small", fill, color, shape).split == "train"
    ]
    assert len({(fill, color) for fill, color, _ in triples}) == 32
    assert len({(fill, shape) for fill, _, shape in triples}) == 32
    assert len({(color, shape) for _, color, shape in triples}) == 64


def test_the_same_seed_gives_the_same_scenes():
    first, again = islice(generate("test", 3), 20), islice(generate("test", 3), 20)
    assert list(first) == list(again)
    assert list(islice(generate("test", 4), 20)) != list(islice(generate("test", 3), 20))


def test_generate_refuses_an_unknown_split():
    with pytest.raises(ValueError, match="choose train, validation, test"):
        next(generate("holdout"))


def test_canonical_order_is_left_to_right_and_top_to_bottom():
    scene = Scene((BIG_RED, SMALL_BLUE), "right of", "white")
    assert scene.canonical() == Scene((SMALL_BLUE, BIG_RED), "left of", "white")
    assert scene.canonical().canonical() == scene.canonical()


def test_impossible_scenes_are_refused():
    with pytest.raises(ValueError, match="1 or 2 things"):
        Scene((), None, "white")
    with pytest.raises(ValueError, match="needs 2 things"):
        Scene((BIG_RED,), "above", "white")
    with pytest.raises(ValueError, match="relation=None"):
        Scene((BIG_RED, SMALL_BLUE), None, "white")
    with pytest.raises(ValueError, match="color='mauve'"):
        Thing("small", "plain", "mauve", "star")


def object_mask(image):
    """Where an image differs from its corner."""
    return (np.abs(image.astype(int) - image[0, 0].astype(int)).max(axis=2) > 40).astype(bool)


def test_render_gives_an_antialiased_picture():
    image = render(Scene((Thing("large", "plain", "red", "circle"),), None, "white"))
    assert image.shape == (64, 64, 3)
    assert image.dtype == np.uint8
    tones = {tuple(pixel) for pixel in image.reshape(-1, 3)}
    assert len(tones) > 2  # the two colours and the edge between them


@pytest.mark.parametrize("shape", scenes.SHAPES)
@pytest.mark.parametrize("background", scenes.BACKGROUNDS)
def test_things_stay_inside_the_frame_and_are_seen(shape, background):
    rng = np.random.default_rng(0)
    for color in scenes.COLORS:
        scene = Scene((Thing("large", "checkered", color, shape),), None, background)
        mask = object_mask(render(scene, rng))
        assert mask.sum() > 150
        assert not mask[0].any()
        assert not mask[-1].any()
        assert not mask[:, 0].any()
        assert not mask[:, -1].any()


@pytest.mark.parametrize("relation", scenes.RELATIONS)
def test_the_relation_is_where_it_says(relation):
    """Centroids of the two colours, over many placements."""
    rng = np.random.default_rng(1)
    first = Thing("large", "plain", "red", "square")
    second = Thing("large", "plain", "blue", "square")
    for _ in range(50):
        image = render(Scene((first, second), relation, "white"), rng).astype(int)
        red = np.argwhere((image[..., 0] > 180) & (image[..., 2] < 100)).mean(axis=0)
        blue = np.argwhere((image[..., 2] > 180) & (image[..., 0] < 100)).mean(axis=0)
        down, right = red - blue
        along, across = (down, right) if relation in ("above", "below") else (right, down)
        assert np.sign(along) == (-1 if relation in ("above", "left of") else 1)
        assert abs(across) < abs(along)


def test_two_large_things_never_touch():
    rng = np.random.default_rng(2)
    first, second = (Thing("large", "plain", color, "square") for color in ("red", "blue"))
    for _ in range(50):
        mask = object_mask(render(Scene((first, second), "left of", "white"), rng))
        columns = np.flatnonzero(mask.any(axis=0))
        assert (np.diff(columns) > 1).sum() == 1


def test_large_things_are_larger():
    areas = {
        size: object_mask(
            render(Scene((Thing(size, "plain", "red", "star"),), None, "white"))
        ).sum()
        for size in scenes.SIZES
    }
    assert areas["large"] > 1.7 * areas["small"]


def test_without_a_generator_rendering_is_fixed():
    scene = Scene((BIG_RED, SMALL_BLUE), "above", "gray")
    assert np.array_equal(render(scene), render(scene))
    moved = render(scene, np.random.default_rng(0))
    assert not np.array_equal(render(scene), moved)


def test_the_vocabulary_covers_every_caption():
    words = set(scenes.vocabulary())
    for scene in islice(generate("test"), 500):
        assert words.issuperset(caption(scene).split())
