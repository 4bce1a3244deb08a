"""Python is told of arguments, the command line of flags."""

import ast
import re
from pathlib import Path

import pytest

import attnscope as package
from attnscope.cli.flags import as_typed

ROOT = Path(package.__file__).parent
OTHERS = ("--include", "ray start", "attnscope --debug")
"""Flags of programs of others, such as hf download, and the one that is no option of a command."""


@pytest.mark.parametrize(
    ("message", "typed"),
    [
        ("choose `dtype='float16'`", "choose --dtype float16"),
        ("say `column='a b'`", "say --column 'a b'"),
        ("`steps=1001` is more than", "--steps 1001 is more than"),
        ("add `allow_pickle=True`", "add --allow-pickle"),
        ("a smaller `height` and `width`", "a smaller --height and --width"),
        ("`model` 'x' is not trained here", "--model 'x' is not trained here"),
        ("gate=30 is past the last step", "gate=30 is past the last step"),
        ("'a `quoted` word' and `magic=1`", "'a `quoted` word' and `magic=1`"),
    ],
)
def test_arguments_become_the_flags_that_the_command_line_has(message, typed):
    assert as_typed(message) == typed


def _told(tree):
    """The texts of a module that are no docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docs = {
        id(statement.value)
        for node in ast.walk(tree)
        if isinstance(node, documented)
        for statement in node.body
        if isinstance(statement, ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def test_nothing_outside_the_command_line_names_its_flags():
    naming = {
        path.relative_to(ROOT).as_posix(): text
        for path in ROOT.rglob("*.py")
        if not {"cli", "paper"}
        & {*path.relative_to(ROOT).parts}  # whose commands are what it tells
        for text in _told(ast.parse(path.read_text("utf-8")))
        if re.search(r"(^|\W)--[a-z]", text) and not any(other in text for other in OTHERS)
    }
    assert naming == {}


def test_a_python_user_is_told_of_the_argument_and_a_typist_of_the_flag(
    attnscope, folder, captions, tmp_path
):
    from attnscope.errors import InputError
    from attnscope.runs.prompts import Prompt, sample_prompts

    with pytest.raises(InputError, match=r"^`limit=9` is out of range: there are 1 captions$"):
        sample_prompts([Prompt(0, "a circle")], 9, seed=0)
    code, _, err = attnscope("convergence", "--model", folder, "--captions", captions, "--limit", 9)
    assert (code, err) == (2, "error: --limit 9 is out of range: there are 2 captions\n")
