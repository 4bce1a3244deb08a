"""What errors of libraries say is told in one line, also where they say nothing."""

import pytest

from attnscope.errors import in_a_line, reason


@pytest.mark.parametrize(
    ("error", "first", "whole"),
    [
        (ValueError("no such file\nat all"), "no such file", "ValueError: no such file at all"),
        (OSError(), "OSError", "OSError: "),
        (KeyError("\n"), r"'\n'", r"KeyError: '\n'"),
        (RuntimeError("x" * 400), "x" * 400, "RuntimeError: " + "x" * 300),
    ],
)
def test_an_error_is_told_in_one_line(error, first, whole):
    assert reason(error) == first
    assert in_a_line(error) == whole
