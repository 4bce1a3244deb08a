"""A filmstrip refuses what cannot be shown, and says what is shown at first."""

import numpy as np
import pytest

from attnscope.errors import InputError
from attnscope.pages.filmstrip import Chooser, Filmstrip, Layer, Word
from attnscope.pages.pictures import Picture

FRAMES = [Picture(np.zeros((4, 4, 3), np.uint8), "") for _ in range(3)]
STEPS = ["step 0", "step 1", "step 2"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": []}, "one step and one layer at least"),
        ({"layers": []}, "one step and one layer at least"),
        ({"steps": STEPS[:2]}, "layer 'a' has 3 frames: give one for each of the 2 steps"),
        ({"layers": [Layer("a", FRAMES)] * 2}, "there are two layers 'a'"),
        ({"words": [Word("w", ["z"])]}, r"no such layer: 'z' \(choose of a, b\)"),
        ({"layers": [Layer("a", FRAMES, over="q")]}, "no such layer: 'q'"),
        ({"others": [Chooser("points", [Word("w", ["y"])])]}, "no such layer: 'y'"),
    ],
)
def test_a_filmstrip_that_cannot_be_shown_is_refused(change, said):
    given = {"steps": STEPS, "layers": [Layer("a", FRAMES), Layer("b", FRAMES)]} | change
    with pytest.raises(InputError, match=said):
        Filmstrip("f", **given)


def test_the_first_word_with_layers_is_chosen_and_layers_without_a_word_are_shown():
    layers = [Layer("image", FRAMES), Layer("b", FRAMES, over="image"), Layer("c", FRAMES)]
    film = Filmstrip("f", STEPS, layers, [Word("a"), Word("b", ["b"]), Word("c", ["c", "b"])])
    assert [chooser.chosen for chooser in film.choosers] == [Word("b", ["b"])]
    assert [film.hidden(layer) for layer in layers] == [False, False, True]
    assert [film.named(layer) for layer in layers] == [[], [1, 2], [2]]
    assert [(u.name, [o.name for o in over]) for u, over in film.places] == [("image", ["b"]), ("c", [])]  # fmt: skip


def test_what_is_chosen_besides_words_has_numbers_of_its_own_and_a_first_one_of_its_own():
    layers = [Layer(name, FRAMES) for name in "abcd"]
    points = Chooser("points", [Word("p", ["c"]), Word("q", ["d"])])
    film = Filmstrip(
        "f", STEPS, layers, [Word("x"), Word("y", ["a"]), Word("z", ["b"])], others=[points]
    )
    numbers = [[number for number, _ in film.numbered(chooser)] for chooser in film.choosers]
    assert numbers == [[0, 1, 2], [3, 4]]
    assert [film.named(layer) for layer in layers] == [[1], [2], [3], [4]]
    assert [film.hidden(layer) for layer in layers] == [False, True, False, True]
    alone = Filmstrip("f", STEPS, layers, others=[points])
    assert [film.label for film in alone.choosers] == ["points"]
    assert [alone.hidden(layer) for layer in layers] == [False, False, False, True]
