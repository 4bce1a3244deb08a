"""Maps of words, of points and features of sites move with the image, at the steps that each has."""

import numpy as np
import pytest
import reported

from attnscope.errors import InputError
from attnscope.observers import components, named_maps
from attnscope.pages.commands.map_strips import MOST_POINTS, MOST_SITES, strip
from attnscope.pages.page import report
from attnscope.plots import feature_colors

TEXT = "red circle"


def made(path, **options):
    run = reported.maps(path, [TEXT], **options)
    return run, strip(run, 0, TEXT, run.read_table("pictures"), {0: -4.0, 1: -3.0, 2: np.nan})


def frames(film, name):
    layer = next(layer for layer in film.layers if layer.name == name)
    return [frame.source for frame in layer.frames]


def test_every_step_has_a_name_and_every_layer_as_many_frames(tmp_path):
    _, film = made(tmp_path / "a", steps=3)
    assert film.steps == ["step 0 · log-SNR -4.0", "step 1 · log-SNR -3.0", "step 2"]
    under = [layer.name for layer, _ in film.places]
    assert under[:3] == [
        "the image that the step predicts", "where the word is attended to", "where the image looks from the point",
    ]  # fmt: skip
    assert under[3:] == [f"down 0.0.0 attn{n}: 88% of its variance" for n in (1, 2)]
    assert [chooser.label for chooser in film.choosers] == [
        "Words of the prompt",
        "Point of the image",
    ]


def test_the_word_of_the_prompt_that_is_attended_to_most_is_chosen_at_first(tmp_path):
    run, _ = made(tmp_path / "a", steps=3)
    path = run.path / "maps/00000.safetensors"
    maps, about = named_maps.read(path)
    for place in (1, 2):
        maps.values[0, 1, place, 2, 3] = 5.0  # brighter than all others
        maps.values[0, 1, 0, 0, 0] = 9.0  # but for what the tokenizer added
        path.write_bytes(named_maps.packed(maps, prompt=TEXT, kinds=about["kinds"]))
        film = strip(run, 0, TEXT, run.read_table("pictures"), {})
        assert film.choosers[0].chosen is film.words[place]
        assert not film.hidden(
            next(la for la in film.layers if la.name == film.words[place].layers[0])
        )
        maps.values[0, 1, place, 2, 3] = 0.0


def test_the_map_of_a_point_is_bright_where_it_looks_most_and_has_a_ring_where_it_is(tmp_path):
    run, film = made(tmp_path / "a", steps=3)
    maps, _ = named_maps.read(run.path / "points/00000.safetensors")
    values = maps.values[0, :, 1]  # of the point 0.9, 0.1
    step, row, column = np.unravel_index(values.argmax(), values.shape)
    pixels = frames(film, "from b (0.9, 0.1)")
    block = len(pixels[0]) // 4
    middle = (row * block + block // 2, column * block + block // 2)
    alpha = np.array([frame[..., 3] for frame in pixels])
    assert alpha[(step, *middle)] == alpha[:, block // 2 :: block, block // 2 :: block].max() == 204
    last = len(pixels[0]) - 1
    y, x = round(0.1 * last), round(0.9 * last)
    beside = pixels[step][y, x - 7 : x, :3]
    assert {(255, 255, 255), (0, 0, 0)} <= {tuple(color.tolist()) for color in beside}


def test_a_step_at_which_a_plan_left_points_out_shows_the_image_alone(tmp_path):
    _, film = made(tmp_path / "a", steps=3, points_until=2)
    of_point = frames(film, "from a (0.25, 0.5)")
    assert [bool(frame.any()) for frame in of_point] == [True, True, False]
    assert len({frame.shape for frame in of_point}) == 1
    assert all(frame.any() for frame in frames(film, "2. red"))


def test_colours_of_a_site_are_those_of_figures_in_blocks(tmp_path):
    run, film = made(tmp_path / "a", steps=3)
    (own, _), _ = components.read(run.path / "features/00000.safetensors")
    expected = (feature_colors(own.values) * 255).round().astype(np.uint8)
    seen = frames(film, "down 0.0.0 attn1: 88% of its variance")
    for step in range(3):
        np.testing.assert_array_equal(seen[step][::32, ::32], expected[step])
        assert seen[step].shape == (128, 128, 3)


def test_a_run_without_points_and_features_has_words_alone(tmp_path):
    run, film = made(tmp_path / "a", more=False)
    assert len(film.places) == 2
    text = report([run])
    assert "Where points look" not in text
    assert "What sites return" not in text


def test_a_page_has_the_numbers_behind_points_and_sites(tmp_path):
    text = report([reported.maps(tmp_path / "a", [TEXT])])
    for title in ("Where points look", "Every point at every step", "Variance that principal components explain",
                  "How widely the image looks from each point", "where points look and what sites return"):  # fmt: skip
        assert title in text
    assert "50.0%" in text  # the first component's


def test_what_there_is_no_room_for_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(reported, "POINTS", tuple((n / 20, 0.5) for n in range(MOST_POINTS + 2)))
    monkeypatch.setattr(
        reported, "SITES", [(f"mid.{n}.attn1", "self") for n in range(MOST_SITES + 3)]
    )
    run = reported.maps(tmp_path / "a", [TEXT], sites=MOST_SITES + 3)
    text = report([run])
    assert f"The maps above are of the first {MOST_POINTS} of {MOST_POINTS + 2} points." in text
    assert f"The first {MOST_SITES} of {MOST_SITES + 3} sites are shown as colours." in text


def test_a_file_of_points_that_is_gone_is_named(tmp_path):
    run = reported.maps(tmp_path / "a", [TEXT])
    (run.path / "points/00000.safetensors").unlink()
    with pytest.raises(InputError, match="points"):
        report([run])
