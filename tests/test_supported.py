"""The support matrix says what happens."""

import pytest
import supported


@pytest.mark.parametrize("row", supported.ROWS, ids=lambda row: row.name)
def test_a_row_of_the_support_matrix_is_what_happens(row):
    found, notes = supported.line(row)
    assert "wrong" not in found, notes
    lines = supported.PAGE.read_text().splitlines()
    for line in (found, *notes):
        assert line in lines, "python tests/supported.py writes it anew"


def test_the_matrix_has_no_other_rows():
    made = supported.PAGE.read_text().split(supported.BEGIN)[1].split(supported.END)[0]
    names = [
        line.split(" | ")[0].removeprefix("| ") for line in made.splitlines() if line[:2] == "| "
    ]
    assert names[1:] == [row.name for row in supported.ROWS]
