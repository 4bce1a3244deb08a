"""Commands are listed at once and imported when they are called."""

import copy
import os
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from attnscope.cli import app
from attnscope.cli.listed import Listed

LISTED = typer.main.get_command(app.app).commands


@pytest.mark.parametrize("name", LISTED)
def test_a_command_is_listed_with_the_first_paragraph_of_its_help(name):
    command = LISTED[name]
    assert isinstance(command, Listed)
    assert command.short_help == command.help.split("\n\n")[0]


def imported(*args, **asked):
    """What is printed, and the commands whose files were imported for it."""
    code = (
        "import atexit, sys\n"
        "from attnscope.cli.app import main\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
        "main()"
    )
    run = [sys.executable, "-c", code, *args]
    done = subprocess.run(
        run, env={**os.environ, **asked}, capture_output=True, text=True, check=True
    )
    modules = set(done.stderr.split())
    return done.stdout, {name for name in LISTED if f"attnscope.cli.{name}" in modules}


def test_help_lists_every_command_and_imports_none():
    out, names = imported("--help")
    assert all(f"│ {name} " in out for name in LISTED)
    assert names == set()


def test_a_command_is_imported_without_the_others():
    out, names = imported("plan", "--help")
    assert "Usage: attnscope plan" in out
    assert names == {"plan"}


def test_names_are_completed_without_importing_what_they_stand_for():
    asked = {"COMP_WORDS": "attnscope co", "COMP_CWORD": "1"}
    out, names = imported(_ATTNSCOPE_COMPLETE="complete_bash", **asked)
    assert out.split() == ["convergence", "cost", "compare"]
    assert names == set()


def test_a_shell_that_says_what_names_mean_says_it_as_help_does():
    asked = {"_ATTNSCOPE_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "attnscope mod"}
    out = CliRunner().invoke(app.app, env=asked, prog_name="attnscope").stdout
    assert f'"models":"{LISTED["models"].short_help}"' in out


def test_commands_of_a_command_are_completed():
    asked = {"_ATTNSCOPE_COMPLETE": "complete_bash", "COMP_CWORD": "2"}
    asked["COMP_WORDS"] = "attnscope shapes "
    out = CliRunner().invoke(app.app, env=asked, prog_name="attnscope").stdout
    assert out.split() == ["train", "score"]


def test_a_listed_command_is_made_once_and_copied_without_being_made():
    command = Listed("plan", "Short.", "--tgate m=1")
    assert "_command" not in vars(copy.copy(command))
    assert command.epilog == "Example: attnscope plan --tgate m=1"
    assert command.params is command.params
