"""Plots of maps of words."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from attnscope import plots

WORDS = ["<start>", "$$", "a_$b^", "red", "<padding> (T5)"]


@pytest.fixture
def ax():
    with plots.paper_style():
        figure, made = plt.subplots()
    yield made
    plt.close(figure)


def table():
    rows = [
        (step, word, site, head, 0.1 * (place + 1), 0.5, 1.0, 2.0)
        for step in range(3)
        for place, word in enumerate(WORDS)
        for site, heads in (("down_blocks.0.attn2", 2), ("mid_block.attn2", 4))
        for head in range(heads)
    ]
    columns = ["step", "word", "site", "head", "mass", "peak", "spread", "entropy"]
    return pd.DataFrame(rows, columns=columns)


def test_words_are_drawn_as_they_are_written(ax):
    plots.word_maps(np.ones((2, len(WORDS), 4, 6)), WORDS, [0, 5], ax=ax)
    ax.figure.canvas.draw()  # what cannot be read as mathematics would be refused here
    shown = [label.get_text().replace("\\", "") for label in ax.get_yticklabels()]
    assert shown == WORDS
    plots.attention_entropy(table(), ax=ax)
    ax.figure.canvas.draw()


def test_a_row_is_on_a_scale_of_its_own(ax):
    maps = np.zeros((2, 2, 4, 4))
    maps[0, 0, 1, 1], maps[1, 1, 2, 2] = 1.0, 0.01
    plots.word_maps(maps, ["a", "b"], [0, 1], ax=ax)
    pixels = np.asarray(ax.images[0].get_array())
    bright = pixels.sum(-1)
    inside = bright[bright < 2.99]  # gaps are white
    assert (inside == inside.max()).sum() == 2


def test_what_the_tokenizer_adds_is_gray(ax):
    plots.attention_entropy(table(), ax=ax)
    colors = {line.get_label(): line.get_color() for line in ax.lines}
    assert colors["<start>"] == colors["<padding> (T5)"] == "0.5"
    assert colors["red"] != "0.5"
    assert [plots.is_added(word) for word in WORDS] == [True, False, False, False, True]


def test_heads_are_columns_and_what_a_site_lacks_is_empty(ax):
    plots.head_map(table(), words=["red", "$$"], ax=ax)
    grid = np.asarray(ax.images[0].get_array(), dtype=float)
    assert grid.shape == (2, 4)
    np.testing.assert_allclose(grid[1], 0.2 + 0.4)
    assert np.isnan(grid[0, 2:]).all()


def test_what_does_not_fit_is_refused(ax):
    with pytest.raises(ValueError, match="do not fit 1 steps and 2 words"):
        plots.word_maps(np.ones((2, 2, 4, 4)), ["a", "b"], [0], ax=ax)
    with pytest.raises(ValueError, match="give one of each step"):
        plots.word_maps(np.ones((1, 1, 4, 4)), ["a"], [0], images=[], ax=ax)
    with pytest.raises(ValueError, match="the table has no word blue"):
        plots.attention_entropy(table(), words=["blue"], ax=ax)
    with pytest.raises(ValueError, match="the table has no word blue"):
        plots.head_map(table(), words=["blue"], ax=ax)
