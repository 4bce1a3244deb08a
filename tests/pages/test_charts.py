"""Charts: every value stands where its scale says, and what it is called is text."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from attnscope.pages.charts import (
    Curve,
    Dot,
    HeatRow,
    Place,
    Stack,
    curves,
    dots,
    heat,
    lines,
    points,
    schedule,
    stacks,
)
from attnscope.pages.svg import Scale, number, scale, shortened, tag
from attnscope.plans import Reweight, TGate

NS = {"s": "http://www.w3.org/2000/svg"}
HOSTILE = "<script>alert('1')</script> & \""


def tree(svg):
    return ET.fromstring(str(svg))


def texts(svg):
    return [element.text for element in tree(svg).iterfind(".//s:text", NS)]


def of_class(svg, name):
    return [e for e in tree(svg).iter() if name in (e.get("class") or "").split()]


def test_what_an_element_holds_is_escaped():
    assert tag("a", HOSTILE, data_key=HOSTILE, x=1.23456, class_="c", y=None) == (
        '<a data-key="&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &#34;" x="1.2" class="c">'
        "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &#34;</a>"
    )


def test_scales_go_from_end_to_end():
    up = Scale(0, 10, 100, 0)
    assert (up(0), up(5), up(10)) == (100, 50, 0)
    log = Scale(1, 100, 0, 10, log=True)
    np.testing.assert_allclose([log(1), log(10), log(100), log(0)], [0, 5, 10, 0], atol=1e-9)
    assert Scale(3, 3, 0, 10)(3) == 5
    assert Scale(0, 1, 0, 10).ticks() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert Scale(0.4, 30, 0, 10, log=True).ticks() == [0.5, 1, 2, 5, 10, 20]
    assert Scale(1, 1e6, 0, 10, log=True).ticks() == [10.0**n for n in range(7)]


def test_a_scale_holds_what_is_finite():
    made = scale([1.0, np.nan, 3.0, np.inf], 0, 100)
    assert made.low < 1
    assert made.high > 3
    assert scale([2.0], 0, 1, zero=True).low == 0
    assert scale([], 0, 1).low < scale([], 0, 1).high
    assert scale([0.0, -1.0, 5.0], 0, 1, log=True).low == pytest.approx(5 / 1.15)


def test_numbers_and_names_are_as_short_as_they_may_be():
    assert [number(v) for v in (0.12345, float("nan"), float("inf"))] == ["0.123", "-", "∞"]
    assert shortened("tgate:m=10,k=5,w=2,f=1", 12) == "tgate:m…,f=1"
    assert shortened("short", 12) == "short"


def test_lines_stand_where_their_values_are_and_say_all_of_a_step():
    given = [Curve("a", [1, 2, 3], [0.0, 1.0, 2.0], [0.0, 0.5, 1.0], [1.0, 1.5, 2.5]), Curve(HOSTILE, [1, 3], [2.0, np.nan])]  # fmt: skip
    svg = lines("title", given, "step", "y")
    columns = of_class(svg, "column")
    assert [c.get("data-tip") for c in columns] == [
        f"step 1\na: 0 (0 to 1)\n{HOSTILE}: 2",
        "step 2\na: 1 (0.5 to 1.5)",
        "step 3\na: 2 (1 to 2.5)",
    ]
    assert HOSTILE in texts(svg)
    path = next(e for e in of_class(svg, "curve") if e.tag.endswith("path"))
    at = [tuple(map(float, p.split())) for p in re.findall(r"[ML]([\d. ]+)", path.get("d"))]
    assert [x for x, _ in at] == pytest.approx([46, 218, 390])
    assert at[0][1] - at[1][1] == pytest.approx(at[1][1] - at[2][1], abs=0.2)
    assert len(of_class(svg, "band")) == 1


def test_points_of_thin_curves_lead_to_their_rows():
    svg = curves("t", [Curve("site", [1, 2], [1.0, 0.0], of="cross", key="the.site")], "step", "y", log=True)  # fmt: skip
    (group,) = of_class(svg, "thin")
    assert (group.get("data-key"), group.get("data-name")) == ("the.site", "site")
    assert [m.get("data-tip") for m in of_class(svg, "mark")] == ["step 1: 1"]  # 0 has no logarithm
    assert "ink-cross" in group.get("class")


def test_a_heat_map_has_a_cell_for_every_value_and_the_ends_of_its_colours():
    rows = [HeatRow(f"row {n}", [1.0, 10.0, 0.0], f"key{n}", "cross") for n in range(3)]
    svg = heat("t", rows, [1, 2, 3], "step", "change")
    groups = of_class(svg, "row")
    assert [g.get("data-key") for g in groups] == ["key0", "key1", "key2"]
    cells = [[c.get("fill") for c in g.iterfind("s:rect", NS)] for g in groups]
    assert cells == [[cells[0][0], cells[0][1], "none"]] * 3
    bar = [e.get("fill") for e in tree(svg).find("s:g", NS).iterfind("s:rect", NS)]
    assert (cells[0][0], cells[0][1]) == (bar[0], bar[-1])
    assert {"1", "10", "cross", "row 0"} <= set(texts(svg))
    many = heat("t", rows * 30, [1, 2, 3], "step", "change")
    assert "row 0" not in texts(many)


def test_dots_have_whiskers_where_they_have_intervals():
    svg = dots("t", [Dot("a", 1.0, 0.5, 2.0, "k"), Dot("b", 3.0), Dot("c", float("nan"))], "x", line=1.0)  # fmt: skip
    marks = of_class(svg, "mark")
    assert len(marks) == 2
    (whisker,) = of_class(svg, "whisker")
    low, high, at = (float(v) for v in (whisker.get("x1"), whisker.get("x2"), marks[0].get("cx")))
    assert (at - low) / (high - low) == pytest.approx(1 / 3, abs=0.01)
    tips = [g.get("data-tip") for g in of_class(svg, "dot")]
    assert tips == ["a: 1 (0.5 to 2)", "b: 3", "c: -"]
    assert of_class(svg, "reference")[0].get("x1") == marks[0].get("cx")


def test_parts_of_a_stack_are_as_wide_as_they_are_large():
    svg = stacks("t", [Stack("a", {"cross": 1.0, "rest": 3.0}), Stack("b", {"cross": 2.0, "rest": -1.0})], "s", quiet=("rest",))  # fmt: skip
    wide = [float(bar.get("width")) for bar in of_class(svg, "bar")]
    assert wide == pytest.approx([98, 294, 196, 0])
    assert [("ink-rest" in b.get("class")) for b in of_class(svg, "bar")] == [False, True] * 2


def test_points_without_a_value_are_left_out_and_letters_are_told_below():
    given = [Place("first", 1.0, 2.0, 1.0, 3.0, "k", "a"), Place("gone", float("nan"), 1.0)]
    svg = points("t", given, "speed-up", "SSIM")
    assert len(of_class(svg, "mark")) == 1
    assert of_class(svg, "dot")[0].get("data-tip") == "first\nspeed-up: 1\nSSIM: 2 (1 to 3)"
    assert "a  first" in texts(svg)


def test_a_schedule_says_what_a_plan_does_at_every_step():
    table = TGate(3, 2, 0).over(6).table()
    svg = schedule("t", table)
    for row, name in (("self", "self-attention"), ("cross", "cross-attention"), ("branches", "guidance")):  # fmt: skip
        (group,) = [g for g in tree(svg).iterfind("s:g", NS) if g.get("data-name") == name]
        does = [c.get("class").removeprefix("cell do-") for c in group.iterfind("s:rect", NS)]
        assert does == list(table.loc[table["row"] == row, "what"])


def test_a_schedule_says_which_words_are_scaled_when_and_by_what():
    svg = schedule("t", Reweight((HOSTILE, "red"), factor=3, first=1).over(3).table())
    rows = {g.get("data-name"): g for g in tree(svg).iterfind("s:g", NS)}
    assert list(rows)[3:] == [f"attention to {word} \u00d73" for word in (HOSTILE, "red")]
    cells = list(rows["attention to red \u00d73"].iterfind("s:rect", NS))
    assert [c.get("class") for c in cells] == [f"cell do-{what}" for what in ("unscaled", "more", "more")]  # fmt: skip
    assert [c.get("data-tip") for c in cells][:2] == [
        "step 0: word as it is", "step 1: more attention (times 3)",
    ]  # fmt: skip


def test_modules_that_do_the_same_share_a_row_of_a_schedule():
    from attnscope.plans.timetable import Timetable

    rows = tuple(("resnet", f"down_blocks.0.resnets.{n}", "#..#.") for n in range(20))
    plan = Timetable(tuple(np.linspace(-4, 4, 5)), rows, "bbbcc", (0.0,) * 5)
    table = plan.over(5).table()
    names = [g.get("data-name") for g in tree(schedule("t", table)).iterfind("s:g", NS)]
    assert len(names) == 2
    assert names[0].endswith(" x20")
    assert names[1] == "guidance"
    assert isinstance(table, pd.DataFrame)
