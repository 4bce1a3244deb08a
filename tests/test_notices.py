"""Warnings point at the user's line."""

import subprocess
import sys
import warnings

import pytest

import attnscope


def lines_of(heard):
    return {(warning.filename, warning.lineno) for warning in heard}


def test_what_a_block_fell_short_of_points_at_the_block(sd):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        first = sys._getframe().f_lineno + 1
        with attnscope.Trace(sd):
            pass
    assert [str(warning.message)[:20] for warning in heard] == ["this Trace saw no de"]
    assert {name for name, _ in lines_of(heard)} == {__file__}
    assert next(iter(lines_of(heard)))[1] in (first, first + 1)


def test_what_a_run_fell_short_of_points_at_this_file_and_not_into_the_pipeline(sd):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with attnscope.Trace(sd, plan="guidance-cutoff:m=2"):
            for _ in range(2):  # what the first run fell short of is told when the second begins
                sd("a cat", num_inference_steps=3, guidance_scale=1.0, output_type="latent")
    told = [warning for warning in heard if "no guidance" in str(warning.message)]
    assert {name for name, _ in lines_of(told)} == {__file__}


def test_a_program_of_ours_alone_still_says_where(tmp_path):
    code = "from attnscope.notices import warn; warn('fell short')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "<string>:1: UserWarning: fell short" in done.stderr


@pytest.mark.parametrize("package", ["attnscope", "torch.nn", "diffusers"])
def test_lines_of_libraries_are_passed_over(package):
    space = {"__name__": f"{package}.part"}
    exec("from attnscope.notices import warn\ndef between(): warn('fell short')", space)
    with pytest.warns(UserWarning, match="fell short") as heard:
        space["between"]()
    assert {name for name, _ in lines_of(heard)} == {__file__}
