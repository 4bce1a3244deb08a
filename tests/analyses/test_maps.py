"""Maps of words: their groups, and whether they point at what words name."""

from __future__ import annotations

import numpy as np
import pytest

import attnscope
from attnscope.analyses.maps import pointing
from attnscope.analyses.maps.words import groups_of
from attnscope.errors import InputError
from attnscope.runs.paid import ALL, OTHERS
from attnscope.shapes.scenes import caption, generate, render, scene_of

TEXT = "a large red circle left of a small blue star on a beige background"


@pytest.fixture(scope="module")
def shapes():
    return attnscope.load("shapes")


def test_every_token_is_in_a_group(shapes):
    for asked in (None, ["red circle", "star"], ["a", "a large"]):
        groups = groups_of(shapes, TEXT, asked)
        assert {at for group in groups for at in group.positions} == set(range(24))
    names = [group.name for group in groups_of(shapes, TEXT)]
    assert names[0] == "<start>"
    assert names[-2:] == ["<end>", "<padding>"]
    assert names[1:5] == ["a", "large", "red", "circle"]


def test_words_that_are_not_asked_for_are_one_group(shapes):
    names = [group.name for group in groups_of(shapes, TEXT, ["red circle", "star"])]
    assert names == ["<start>", "red circle", "star", OTHERS, "<end>", "<padding>"]
    by_name = {group.name: group for group in groups_of(shapes, TEXT, ["red circle", "star"])}
    assert by_name["red circle"].positions == (3, 4)
    assert not set(by_name[OTHERS].positions) & {3, 4, 10}
    with pytest.raises(InputError, match="the prompt has no 'green': its words are a, large, red"):
        groups_of(shapes, TEXT, ["green"])


@pytest.mark.parametrize("asked", [["red circle", "circle"], ["red circle", "circle left"]])
def test_words_that_overlap_are_one_group_more_with_each_token_once(shapes, asked):
    groups = {group.name: group for group in groups_of(shapes, TEXT, asked)}
    specials = {at for name in ("<start>", "<end>", "<padding>") for at in groups[name].positions}
    assert groups[ALL].positions == tuple(sorted(set(range(24)) - specials))
    apart = {group.name for group in groups_of(shapes, TEXT, ["red", "circle"])}
    assert ALL not in apart
    assert ALL not in {group.name for group in groups_of(shapes, TEXT)}


def test_words_that_are_called_like_what_is_added_are_words(shapes):
    names = [group.name for group in groups_of(shapes, "start a red end padding circle")]
    assert names == [
        "<start>",
        "start",
        "a",
        "red",
        "end",
        "padding",
        "circle",
        "<end>",
        "<padding>",
    ]


def test_things_are_found_where_they_were_drawn():
    scenes = [scene for scene, _ in zip(generate("test", 3), range(200), strict=False)]
    found = 0
    for number, scene in enumerate(scenes):
        image = render(scene, np.random.default_rng(number))
        masks = pointing.silhouettes(image, scene)
        if masks is None:
            continue
        found += 1
        assert len(masks) == len(scene.things)
        if len(masks) == 2:
            axis = 1 if scene.relation in ("left of", "right of") else 0
            first, second = (np.nonzero(mask)[axis].mean() for mask in masks)
            assert (first < second) == (scene.relation in ("left of", "above"))
            for thing, mask in zip(
                scene.things, masks, strict=True
            ):  # tints and shades are like it
                alone = pointing.silhouettes(
                    render(scene_of(f"{thing.phrase} on a {scene.background} background")),
                    scene_of(f"{thing.phrase} on a {scene.background} background"),
                )
                assert alone is not None
                assert mask.sum() == pytest.approx(alone[0].sum(), rel=0.4)
    assert found > 190


def test_what_cannot_be_told_apart_is_none():
    scene = scene_of(TEXT)
    empty = np.full((64, 64, 3), 200, np.uint8)
    assert pointing.silhouettes(empty, scene) is None
    one = empty.copy()
    one[20:40, 20:40] = 0
    assert pointing.silhouettes(one, scene) is None


def test_pointing_and_overlap_of_maps_that_are_known():
    where = np.zeros((4, 4), bool)
    where[1, 1] = where[1, 2] = True
    right = where.astype(float)
    half, wrong = np.zeros((4, 4)), np.zeros((4, 4))
    half[1, 1], half[3, 3] = 2, 1
    wrong[3, 3], wrong[3, 2] = 2, 1
    maps = np.stack([right, half, wrong])
    assert pointing.pointing(maps, where).tolist() == [True, True, False]
    np.testing.assert_allclose(pointing.overlap(maps, where), [1, 1 / 3, 0])
    other = np.zeros((4, 4), bool)
    other[3, 3] = True
    np.testing.assert_allclose(pointing.share(maps, where, other), [1, 0.5, 0])


def test_a_mask_at_the_resolution_of_a_map():
    mask = np.zeros((8, 8), bool)
    mask[:4, :3] = True  # 1, and a half, of the four cells of a side of two
    assert pointing.cells(mask, 2, 2).tolist() == [[True, False], [False, False]]
    dot = np.zeros((8, 8), bool)
    dot[7, 7] = True  # less than a quarter of any
    assert pointing.cells(dot, 2, 2).tolist() == [[False, False], [False, True]]


def test_words_of_things_are_those_of_the_caption():
    for scene, _ in zip(generate("test", 1), range(100), strict=False):
        words = caption(scene).split()
        for named in pointing.words_of_things(scene):
            assert words[named.word] == getattr(scene.things[named.thing], named.kind)
        for named, others in pointing.others(scene, len(words)):
            assert named.word not in others
