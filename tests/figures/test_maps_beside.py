"""When words are looked at, beside when the same attention changes."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import reported

from attnscope.figures.maps_beside import attention_and_change
from attnscope.plots import paper_style


@pytest.fixture
def tables(tmp_path):
    run = reported.maps(tmp_path / "run", ["a red thing", "a blue one"], steps=6)
    attention = run.read_table("attention").replace({"word": {"start": "<start>"}})
    return attention, run.read_table("distances")


@pytest.fixture(autouse=True)
def style():
    with paper_style():
        yield
    plt.close("all")


def test_attention_stands_above_change_over_steps_and_over_noise(tables):
    figure = attention_and_change(*tables)
    above, above_snr, below, below_snr = figure.axes
    sums = {line.get_label(): line.get_ydata() for line in above.lines}
    assert set(sums) == {"all words", "<start>"} == {line.get_label() for line in above_snr.lines}
    np.testing.assert_allclose(sums["all words"], 0.2 + 0.3)
    steps, levels = (ax.lines[0] for ax in (below, below_snr))
    np.testing.assert_array_equal(steps.get_xdata(), range(1, 6))
    np.testing.assert_allclose(steps.get_ydata(), [(1 / s + 1 / (s + 1)) / 2 for s in range(1, 6)])
    np.testing.assert_array_equal(levels.get_xdata(), np.arange(1, 6) - 4.0)
    np.testing.assert_array_equal(levels.get_ydata(), steps.get_ydata())
    assert "log-SNR" in below_snr.get_xlabel()


def test_where_noise_levels_are_not_known_steps_stand_alone(tables):
    figure = attention_and_change(*(table.assign(log_snr=np.nan) for table in tables))
    assert len(figure.axes) == 2


def test_of_one_step_nothing_moves(tables):
    attention, distances = tables
    assert attention_and_change(attention[attention["step"] == 0], distances.iloc[:0]) is None
