"""What an image shows against what its caption asks for, as a person would say it."""

from dataclasses import replace
from itertools import islice, permutations

import numpy as np
import pytest
import torch

from attnscope.models.names import SHAPES_FOLDER
from attnscope.runs.columns import READ
from attnscope.shapes.reader import HEADS, agreement, alignment, encode, load_reader
from attnscope.shapes.scenes import (
    BACKGROUNDS,
    COLORS,
    FILLS,
    RELATIONS,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    generate,
    render,
    scene_of,
)

ATTRIBUTES = ("size", "fill", "color", "shape")
CIRCLE = Thing("large", "plain", "red", "circle")
SQUARE = Thing("small", "plain", "blue", "square")
ASKED = Scene((CIRCLE, SQUARE), "left of", "white")
TURNED = {"left of": "above", "right of": "below", "above": "right of", "below": "left of"}
MIRRORED = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


@pytest.fixture(scope="module")
def reader():
    return load_reader(SHAPES_FOLDER)


def read_as(scene):
    """The reading of an image that shows a scene; a head that does not apply says anything."""
    return [code if code >= 0 else 0 for code in encode(scene)]


def seen(shown, asked):
    """By name, for one image that shows a scene."""
    values = agreement(torch.tensor([read_as(shown)]), [asked])[0].tolist()
    return dict(zip(READ, values, strict=True))


def read_pixels(reader, images, asked):
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    table = agreement(reader.read(pixels), asked)
    return [dict(zip(READ, row, strict=True)) for row in table.tolist()]


def right(**wrong):
    return dict.fromkeys(READ, 1.0) | wrong


# --- the cases that a person would name


def test_what_is_drawn_as_asked_is_right_in_everything():
    for relation in RELATIONS:
        scene = replace(ASKED, relation=relation)
        assert seen(scene, scene) == right()


def test_things_in_each_others_place_are_right_things_in_wrong_places():
    for relation in RELATIONS:
        asked = replace(ASKED, relation=relation)
        swapped = replace(asked, things=asked.things[::-1])
        assert seen(swapped, asked) == right(relation=0.0, all=0.0)


def test_the_same_scene_told_from_the_other_thing_is_the_same():
    for relation in RELATIONS:
        asked = replace(ASKED, relation=relation)
        retold = Scene(asked.things[::-1], MIRRORED[relation], asked.background)
        assert seen(retold, asked) == right()


def test_a_scene_turned_by_a_quarter_stands_wrong():
    for relation in RELATIONS:
        for turned in (TURNED[relation], MIRRORED[TURNED[relation]]):
            asked = replace(ASKED, relation=relation)
            assert seen(replace(asked, relation=turned), asked) == right(relation=0.0, all=0.0)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("attribute", ATTRIBUTES)
@pytest.mark.parametrize("swapped", [False, True])
def test_one_wrong_attribute_is_wrong_alone(attribute, place, swapped):
    other = {"size": {"large": "small", "small": "large"}, "fill": {"plain": "dotted"}}
    thing = ASKED.things[place]
    value = other.get(attribute, {}).get(getattr(thing, attribute))
    value = value or {"color": "green", "shape": "star"}[attribute]
    things = list(ASKED.things)
    things[place] = replace(thing, **{attribute: value})
    shown = replace(ASKED, things=tuple(things[::-1] if swapped else things))
    wrong = {attribute: 0.5, "attributes": 7 / 8, "all": 0.0}
    assert seen(shown, ASKED) == right(**wrong, relation=0.0 if swapped else 1.0)


def test_another_background_is_wrong_alone():
    assert seen(replace(ASKED, background="navy"), ASKED) == right(background=0.0, all=0.0)


def test_a_caption_of_two_things_alike_has_no_wrong_order():
    twins = Scene((CIRCLE, CIRCLE), "above", "white")
    assert seen(twins, twins) == right()
    assert seen(replace(twins, relation="left of"), twins) == right(relation=0.0, all=0.0)
    odd = replace(twins, things=(SQUARE, CIRCLE))
    assert seen(odd, twins)["relation"] == 1.0
    assert seen(odd, twins)["attributes"] == pytest.approx(5 / 8)


def test_one_thing_drawn_twice_gives_the_order_the_benefit_of_the_doubt():
    """Nothing in the image stands where it should not; what is missing is an attribute."""
    twice = replace(ASKED, things=(CIRCLE, CIRCLE))
    wrong = {"size": 0.5, "color": 0.5, "shape": 0.5, "attributes": 5 / 8, "all": 0.0}
    assert seen(twice, ASKED) == right(**wrong)


def test_a_missing_thing_is_neither_seen_nor_placed():
    """Whichever the one thing is, it is found; the one that is missing has nothing right."""
    half = dict.fromkeys([*ATTRIBUTES, "attributes"], 0.5)
    for thing in ASKED.things:
        shown = Scene((thing,), None, "white")
        assert seen(shown, ASKED) == right(**half, relation=0.0, all=0.0)


def test_what_the_reader_says_of_a_thing_that_it_does_not_see_counts_for_nothing():
    read = torch.tensor([read_as(ASKED)])
    read[0, list(HEADS).index("relation")] = 0
    values = dict(zip(READ, agreement(read, [ASKED])[0].tolist(), strict=True))
    assert values["attributes"] == 0.5
    assert values["relation"] == values["all"] == 0


def test_a_caption_of_one_thing_has_no_relation():
    alone = Scene((CIRCLE,), None, "white")
    values = seen(alone, alone)
    assert np.isnan(values.pop("relation"))
    assert set(values.values()) == {1.0}
    wrong = seen(Scene((replace(CIRCLE, color="pink"),), None, "white"), alone)
    assert (wrong["color"], wrong["attributes"], wrong["all"]) == (0.0, 0.75, 0.0)
    assert wrong["size"] == wrong["fill"] == wrong["shape"] == wrong["background"] == 1.0


def test_a_thing_that_nobody_asked_for_spoils_the_whole_and_hides_nothing():
    """The asked thing is found whichever of the two it is."""
    for shown in (ASKED, replace(ASKED, things=ASKED.things[::-1])):
        for thing in ASKED.things:
            values = seen(shown, Scene((thing,), None, "white"))
            assert np.isnan(values.pop("relation"))
            assert values.pop("all") == 0.0
            assert set(values.values()) == {1.0}


# --- on pictures, through the reader in the box


def test_the_reader_says_the_same_of_pictures(reader):
    shown = render(ASKED)
    swapped = replace(ASKED, things=ASKED.things[::-1])
    images = [shown, render(swapped), shown[:, ::-1], np.rot90(shown), np.rot90(shown, 3)]
    images.append(render(replace(ASKED, things=(CIRCLE, replace(SQUARE, color="green")))))
    images = [np.ascontiguousarray(image) for image in images]
    places = right(relation=0.0, all=0.0)
    wrong = right(color=0.5, attributes=7 / 8, all=0.0)
    assert read_pixels(reader, images, [ASKED] * 6) == [right(), *[places] * 4, wrong]


def test_on_renders_of_swapped_scenes_attributes_stay_and_places_go(reader):
    """Of 200 held-out scenes with two things, drawn as asked and in each other's place."""
    scenes = list(islice((s for s in generate("test", seed=11) if len(s.things) == 2), 200))
    swapped = [replace(scene, things=scene.things[::-1]) for scene in scenes]
    rng = np.random.default_rng(0)
    as_asked = read_pixels(reader, [render(scene, rng) for scene in scenes], scenes)
    in_place_of_each_other = read_pixels(reader, [render(s, rng) for s in swapped], scenes)
    means = [
        {name: np.mean([row[name] for row in rows]) for name in READ}
        for rows in (as_asked, in_place_of_each_other)
    ]
    assert min(means[0][name] for name in READ if name != "all") > 0.97
    assert means[1]["relation"] == means[1]["all"] == 0
    assert min(means[1][name] for name in [*ATTRIBUTES, "attributes", "background"]) > 0.97


# --- against the definition, written out without tensors


def stands(first, second):
    """The relations of the first place to the second, from coordinates; y points down."""
    (x, y), (u, v) = first, second
    return {name for name, true in {"left of": x < u, "right of": x > u,
                                    "above": y < v, "below": y > v}.items() if true}  # fmt: skip


def placed(scene):
    """Things with coordinates."""
    across = {"left of": (0, 1), "right of": (1, 0), None: (0,)}.get(scene.relation)
    if across is not None:
        return [(thing, (x, 0)) for thing, x in zip(scene.things, across, strict=True)]
    down = {"above": (0, 1), "below": (1, 0)}[scene.relation]
    return [(thing, (0, y)) for thing, y in zip(scene.things, down, strict=True)]


def by_definition(shown, asked):
    """All values of the better assignment; several sets of them where two are as good."""
    things = [*placed(shown), (None, None)][: max(2, len(shown.things))]
    found = []
    for chosen in permutations(things, len(asked.things)):
        agreed = {
            name: [
                thing is not None and getattr(thing, name) == getattr(wanted, name)
                for (thing, _), wanted in zip(chosen, asked.things, strict=True)
            ]
            for name in ATTRIBUTES
        }
        total = sum(sum(values) for values in agreed.values())
        here = [place for _, place in chosen]
        true = len(here) == 2 and None not in here and asked.relation in stands(*here)
        found.append((total, true, {name: np.mean(values) for name, values in agreed.items()}))
    best = max(total for total, _, _ in found)
    ways = [(true, parts) for total, true, parts in found if total == best]
    ways = [way for way in ways if way[0]] or ways
    background = float(shown.background == asked.background)
    sets = []
    for true, parts in ways:
        count = len(shown.things) == len(asked.things)
        whole = best == 4 * len(asked.things) and count and background
        whole = whole and (len(asked.things) == 1 or true)
        sets.append(parts | {
            "attributes": best / (4 * len(asked.things)), "background": background,
            "relation": float(true) if len(asked.things) == 2 else None, "all": float(whole),
        })  # fmt: skip
    return sets


def scenes_of(rng, values):
    """A random scene; few values make ties, twins and near misses frequent."""
    pick = lambda names: names[int(rng.integers(min(values, len(names))))]  # noqa: E731
    count = int(rng.integers(1, 3))
    things = tuple(
        Thing(pick(SIZES), pick(FILLS), pick(COLORS), pick(SHAPES)) for _ in range(count)
    )
    relation = RELATIONS[int(rng.integers(4))] if count == 2 else None
    return Scene(things, relation, pick(BACKGROUNDS))


@pytest.mark.parametrize("values", [1, 2, 3, 8])
def test_every_pair_of_scenes_is_compared_as_the_definition_says(values):
    rng = np.random.default_rng(values)
    pairs = [(scenes_of(rng, values), scenes_of(rng, values)) for _ in range(1500)]
    table = agreement(torch.tensor([read_as(a) for a, _ in pairs]), [b for _, b in pairs])
    seen_relations = set()
    for row, (shown, asked) in zip(table.tolist(), pairs, strict=True):
        ours = {name: None if np.isnan(v) else v for name, v in zip(READ, row, strict=True)}
        expected = by_definition(shown, asked)
        assert ours in [{name: way[name] for name in READ} for way in expected], (shown, asked)
        seen_relations.add(ours["relation"])
    assert seen_relations == {None, 0.0, 1.0}


def test_all_is_what_it_was_when_heads_were_compared_one_by_one():
    """``all`` of runs judged before may be compared: it asked for the order then, too."""
    rng = np.random.default_rng(0)
    pairs = [(scenes_of(rng, 2), scenes_of(rng, 2)) for _ in range(1500)]
    pairs += [(scene, scene) for scene in islice(generate("test"), 20)]
    table = agreement(torch.tensor([read_as(a) for a, _ in pairs]), [b for _, b in pairs])
    every = [encode(shown) == encode(asked) for shown, asked in pairs]
    assert table[:, READ.index("all")].tolist() == every
    assert any(every)


def test_values_are_numbers_of_images_and_relation_is_a_mean_of_captions_with_two_things():
    alone = scene_of("a small red star on a navy background")
    asked = [ASKED, alone, ASKED, alone, alone]
    swapped = replace(ASKED, things=ASKED.things[::-1])
    shown = [ASKED, alone, swapped, ASKED, alone]
    agreed = agreement(torch.tensor([read_as(scene) for scene in shown]), asked)
    assert agreed.dtype == torch.float32
    assert agreed.shape == (5, len(READ))
    scores = alignment(agreed)
    assert list(scores) == list(READ)
    assert scores["relation"] == 0.5
    assert scores["all"] == pytest.approx(3 / 5)
    assert scores["attributes"] == pytest.approx(
        np.mean([scores[name] for name in ATTRIBUTES]), abs=1e-6
    )
    assert np.isnan(alignment(agreement(torch.tensor([read_as(alone)]), [alone]))["relation"])
