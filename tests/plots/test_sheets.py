"""Rows of pictures over steps: maps of words and of points, and what sites return."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from attnscope import plots


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


STEPS = [0, 4, 9]
POINTS = ((0.0, 0.0), (0.5, 0.75))
IMAGES = [np.full((16, 24, 3), shade, np.uint8) for shade in (0, 128, 255)]


def looked(steps=3, points=2):
    return np.random.default_rng(0).random((steps, points, 4, 6))


def components(scale=1.0, offset=0.0):
    return offset + scale * np.random.default_rng(0).normal(size=(3, 3, 4, 6))


def axes():
    return plt.subplots()[1]


def rows(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def test_points_have_a_row_each_under_the_estimates():
    ax = plots.point_maps(looked(), POINTS, STEPS, images=IMAGES, ax=axes())
    assert rows(ax) == ["$\\hat x_0$", "a (0, 0)", "b (0.5, 0.75)"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "4", "9"]
    canvas = ax.images[0].get_array()
    assert canvas.shape == (3 * 17 - 1, 3 * 25 - 1, 3)
    np.testing.assert_array_equal(canvas[:16, 25:49], 128 / 255)


def test_a_point_is_marked_where_it_is_in_every_cell():
    ax = plots.point_maps(looked(), POINTS, STEPS, images=IMAGES, ax=axes())
    rings = {(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines}
    assert rings == {(-0.5 + 25 * n, 16.5) for n in range(3)} | {
        (11.5 + 25 * n, 45.5) for n in range(3)
    }
    letters = {(text.get_text(), *text.get_position()) for text in ax.texts}
    assert letters == {("a", -0.5 + 25 * n, -0.5) for n in range(3)} | {
        ("b", 11.5 + 25 * n, 11.5) for n in range(3)
    }
    bare = plots.point_maps(looked(), POINTS, STEPS, ax=axes())
    assert len(bare.lines) == 6
    assert not bare.texts


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: plots.point_maps(looked(), POINTS, STEPS, images=IMAGES, ax=ax),
        lambda ax: plots.feature_maps([components()], STEPS, sites=["a.b"], images=IMAGES, ax=ax),
        lambda ax: plots.word_maps(looked(), ["red", "circle"], STEPS, images=IMAGES, ax=ax),
    ],
)
def test_a_second_call_on_the_same_axes_doubles_nothing(draw):
    ax = axes()
    draw(ax)
    once = len(ax.images), len(ax.lines), len(ax.texts)
    assert draw(ax) is ax
    assert (len(ax.images), len(ax.lines), len(ax.texts)) == once
    ax.figure.draw_without_rendering()


def test_a_map_is_as_bright_as_its_row_s_largest_value_and_nothing_is_gray():
    maps = np.zeros((3, 1, 2, 2))
    maps[1, 0, 0, 0] = 0.2
    maps[2] = np.nan
    ax = plots.word_maps(maps, ["red"], STEPS, ax=axes())
    canvas = ax.images[0].get_array()
    bright, black = (plt.colormaps["inferno"](end)[:3] for end in (1.0, 0.0))
    np.testing.assert_allclose(canvas[0, 3], bright)
    np.testing.assert_allclose(canvas[1, 4], black)
    np.testing.assert_allclose(canvas[0, 6], to_rgb("0.9"))


def test_components_are_colours_whose_scale_is_that_of_all_steps():
    values = components()
    values[2] = values[0]  # a site that returns the same again has the same colours
    ax = plots.feature_maps([values], STEPS, sites=["mid_block.attn1"], ax=axes())
    canvas = ax.images[0].get_array()
    np.testing.assert_array_equal(canvas[:, :6], canvas[:, 14:20])
    assert rows(ax) == ["mid attn1"]
    assert canvas.min() == 0
    assert canvas.max() == 1
    scaled = plots.feature_maps([components(5.0, 2.0)], STEPS, sites=["mid"], ax=axes())
    plain = plots.feature_maps([components()], STEPS, sites=["mid"], ax=axes())
    np.testing.assert_allclose(scaled.images[0].get_array(), plain.images[0].get_array())


def test_a_component_that_says_nothing_is_gray():
    values = components()
    values[:, 2] = 0
    ax = plots.feature_maps([values], STEPS, sites=["mid"], ax=axes())
    assert set(np.unique(ax.images[0].get_array()[:, :6, 2])) == {0.5}


def test_sites_of_several_resolutions_stand_in_cells_of_one_size():
    large = np.random.default_rng(1).normal(size=(3, 3, 8, 12))
    sites = ["down_blocks.0.attentions.0.attn1", "mid_block.attn1"]
    ax = plots.feature_maps(
        [large, components()], STEPS, sites=sites, explained=[0.5, 0.985], ax=axes()
    )
    assert rows(ax) == ["down 0.0 attn1\n50 %", "mid attn1\n98 %"]
    assert ax.images[0].get_array().shape == (17, 38, 3)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.point_maps(looked(2), POINTS, STEPS), "do not fit 3 steps and 2 points"),
        (lambda: plots.point_maps(looked(points=1), POINTS, STEPS), "do not fit"),
        (lambda: plots.point_maps(looked(), POINTS, STEPS, images=IMAGES[:2]), "one of each step"),
        (lambda: plots.feature_maps([], STEPS, sites=[]), "0 sites"),
        (lambda: plots.feature_maps([components()], STEPS, sites=["a", "b"]), "2 names"),
        (lambda: plots.feature_maps([components()[:2]], STEPS, sites=["a"]), "do not fit 3 steps"),
        (lambda: plots.feature_maps([components()[:, :2]], STEPS, sites=["a"]), r"\[step, 3,"),
        (
            lambda: plots.feature_maps([components()], STEPS, sites=["a"], images=IMAGES[:1]),
            "one of each step",
        ),
    ],
)
def test_what_does_not_fit_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
