"""The plot of a plan that names its modules."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from attnscope import plots
from attnscope.figures.schedule import schedule
from attnscope.plans.reuse import TGate
from attnscope.plans.reweight import Reweight
from attnscope.plans.text_form import Combined
from attnscope.plans.timetable import Timetable

LEVELS = (float("-inf"), -1.0, 0.5, 2.0)


def rows(*letters):
    return tuple(("resnet", f"down_blocks.0.resnets.{n}", row) for n, row in enumerate(letters))


def drawn(plan, **over):
    ax = plots.plan(plan.over(4, **over).table(), ax=plt.subplots()[1])
    ax.figure.draw_without_rendering()
    return ax


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def cells(ax):
    """The words of every cell, by row, from the colours that are seen."""
    (mesh,) = [child for child in ax.get_children() if isinstance(child, QuadMesh)]
    known = list(plots.ACTION_COLORS)
    return [[known[int(code)] for code in row] for row in np.asarray(mesh.get_array())]


def test_every_cell_has_the_colour_of_what_the_module_does():
    ax = drawn(Timetable(LEVELS, rows("#.#~", "#..."), "bbcc"))
    assert cells(ax) == [["compute", "reuse", "compute", "forecast"], ["compute"] + ["reuse"] * 3]
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["computed", "reused", "forecast", "both branches", "conditional branch"]


def test_few_modules_have_a_row_each_and_many_share_those_that_are_the_same():
    few = drawn(Timetable(LEVELS, rows(*["#.#."] * 3), "bbbb"))
    assert len(cells(few)) == 3
    many = drawn(Timetable(LEVELS, rows(*["#.#."] * 9, *["#..."] * 9), "bbbb"))
    assert len(cells(many)) == 2
    labels = [label.get_text() for label in many.get_yticklabels()]
    assert labels == ["resnet down 0.{0-8} (9)", "resnet down 0.{9-17} (9)", "Guidance"]


def test_log_snr_stands_above_the_steps_and_pure_noise_is_minus_infinity():
    ax = drawn(Timetable(LEVELS, rows("#.#."), "bbbb"))
    (above,) = ax.child_axes
    told = dict(
        zip(above.get_xticks(), [t.get_text() for t in above.get_xticklabels()], strict=True)
    )
    assert told == {0: r"$-\infty$", 1: "-1.0", 2: "0.5", 3: "2.0"}
    assert drawn(TGate(2)).child_axes == []


def test_guidance_that_goes_on_has_a_dot():
    ax = drawn(Timetable(LEVELS, rows("#.#."), "bbcc", (0, 0, 0, 0.5)))
    (dots,) = [c for c in ax.collections if not isinstance(c, QuadMesh)]
    assert [x for x, _ in dots.get_offsets()] == [3]
    assert "last guidance goes on" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_second_call_takes_the_place_of_the_first():
    table = Timetable(LEVELS, rows("#.#~", "#..."), "bbcc").over(4).table()
    ax = plt.subplots()[1]
    counts = []
    for _ in range(2):
        plots.plan(table, ax=ax)
        counts.append((len(ax.collections), len(ax.child_axes), len(ax.patches)))
    assert counts[0] == counts[1]


def test_a_rule_beside_a_timetable_keeps_its_row():
    both = Combined((Timetable(LEVELS, rows("#.#."), "bbbb"), "cross-reuse:m=2"))
    ax = drawn(both, levels=LEVELS)
    assert [t.get_text() for t in ax.get_yticklabels()][:2] == ["resnet down 0.0", "cross all"]
    assert cells(ax)[1] == ["compute", "compute", "reuse", "reuse"]


@pytest.mark.parametrize("modules", [False, True])
def test_words_to_which_attention_is_scaled_have_rows_below_all_others(modules):
    scaled = Reweight(("$red",), factor=0, first=1, last=3)
    plan = (
        Combined((Timetable(LEVELS, rows("##..", "#..."), "bbcc"), scaled)) if modules else scaled
    )
    ax = drawn(plan)
    assert [label.get_text() for label in ax.get_yticklabels()][-1] == "Attention to \\$red \u00d70"
    last = [bar for bar in ax.patches if isinstance(bar, Rectangle)][-4:]
    wanted = [plots.ACTION_COLORS[what] for what in ("unscaled", "removed", "removed", "unscaled")]
    assert [to_hex(bar.get_facecolor()) for bar in last] == wanted
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names[-2:] == ["word as it is", "word removed"]


def test_the_legend_of_scaled_words_stays_inside_the_figure():
    plan = Combined((TGate(2, 1), Reweight(("background", "red"), factor=0.5, first=1)))
    with plots.paper_style():
        figure = schedule(plan.over(4).table())
        figure.draw_without_rendering()
    box = figure.axes[0].get_legend().get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1
