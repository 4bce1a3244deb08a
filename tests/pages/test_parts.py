"""Parts are plain values: what a table shows of its cells."""

import numpy as np
import pandas as pd

from attnscope.pages.parts import MOST_ROWS, Table


def cells(frame, **options):
    return [[(c.text, c.value) for c in row] for _, row in Table("t", frame, **options).rows]


def test_a_cell_is_shown_for_people_and_sorted_as_what_it_is():
    frame = pd.DataFrame({"a": [0.123456, np.nan], "b": [True, False], "c": [[1], None], "d": ["x", "y"]})  # fmt: skip
    assert cells(frame, forms={"a": ".2f"}) == [
        [("0.12", "0.123456"), ("yes", "1"), ("[1]", "[1]"), ("x", "x")],
        [("-", ""), ("no", "0"), ("-", ""), ("y", "y")],
    ]
    frame = pd.DataFrame({"n": pd.array([1200, None], "Int64"), "far": [np.inf, -np.inf]})
    assert cells(frame, forms={"n": ","}) == [
        [("1,200", "1200"), ("∞", "inf")],
        [("-", ""), ("-∞", "-inf")],
    ]


def test_columns_are_called_as_said_and_rows_by_their_key():
    table = Table("t", pd.DataFrame({"the_arm": ["S"], "n": [1], "ok": [True]}), {"n": "count"}, key="the_arm")  # fmt: skip
    assert table.columns == [("the arm", False), ("count", True), ("ok", False)]
    assert [key for key, _ in table.rows] == ["S"]


def test_a_table_has_as_many_rows_as_a_page_has_room_for():
    table = Table("t", pd.DataFrame({"a": range(MOST_ROWS + 5)}))
    assert len(list(table.rows)) == MOST_ROWS
    assert table.left_out == 5
