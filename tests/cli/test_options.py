"""Groups of options: written once, on the command line of every command that names them."""

import inspect
import os
import re
import subprocess
import sys
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Annotated, ClassVar, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from attnscope.analyses.ablation import ATTENTION
from attnscope.cli import app, options
from attnscope.cli.choices import choice
from attnscope.cli.grouping import MEASURE, PANELS, SAMPLING, Group, grouped
from attnscope.kinds import KINDS
from attnscope.models.loading import DTYPES
from attnscope.models.names import MODELS
from attnscope.models.schedulers import SCHEDULERS
from attnscope.plans.text_form import PLANS
from attnscope.shapes.recipes import NAMES

COMMANDS = ("convergence", "ablate", "generate", "bench")


def parameters(name):
    command = typer.main.get_command(app.app).commands[name]
    return {str(option.name): option for option in command.params if option.name != "help"}


@dataclass(frozen=True, kw_only=True)
class Common(Group):
    panel: ClassVar[str] = SAMPLING

    eta: Annotated[float, typer.Option(min=0, help="Of the noise that is added.")] = 0.0


@dataclass(frozen=True, kw_only=True)
class Own(Common):
    """Says its options before those that it inherits, but for one that it says anew."""

    order: Annotated[int, typer.Option(help="Of the solver.")] = 2
    eta: Annotated[float, typer.Option(min=1, help="Never little.")] = 1.0


def command_line(kind, taken):
    made = typer.Typer()

    @made.command()
    @grouped
    def run(
        group: kind,
        typed: Annotated[list[str] | None, typer.Argument()] = None,
        fast: Annotated[bool, typer.Option("--fast")] = False,
    ) -> None:
        """Run."""
        taken.append((group, typed, fast))

    return made


def test_a_command_is_handed_the_options_of_a_group_as_one_object():
    taken = []
    runner, made = CliRunner(), command_line(Common, taken)
    assert runner.invoke(made, ["a", "--eta", "0.5", "--fast"]).exit_code == 0
    assert runner.invoke(made, []).exit_code == 0
    assert taken == [(Common(eta=0.5), ["a"], True), (Common(), None, False)]


def test_a_group_may_say_an_option_anew_which_stays_where_it_was():
    taken = []
    made = command_line(Own, taken)
    assert CliRunner().invoke(made, ["--eta", "0.5"]).exit_code == 2
    assert CliRunner().invoke(made, ["--order", "3"]).exit_code == 0
    assert taken == [(Own(order=3, eta=1.0), None, False)]
    names = [option.name for option in typer.main.get_command(made).params]
    assert names[:4] == ["typed", "fast", "order", "eta"]


def test_options_are_shown_under_the_panel_of_their_group_and_others_as_the_commands_own():
    panels = {
        option.name: getattr(option, "rich_help_panel", None)
        for option in typer.main.get_command(command_line(Own, [])).params
    }
    assert (panels["fast"], panels["order"], panels["eta"]) == (MEASURE, SAMPLING, SAMPLING)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_run_has_a_panel_and_panels_come_in_their_order(name):
    found = [
        option.rich_help_panel
        for option in parameters(name).values()
        if option.param_type_name == "option"
    ]
    assert found == sorted(found, key=PANELS.index)
    assert {"What to measure", "Model", "Captions", "Sampling", "Output"} <= set(found)
    assert ("Quality" in found) == (name in ("ablate", "bench", "generate"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_every_option_that_all_are_to_have(name):
    shared = (options.SamplingOptions, options.CaptionOptions, options.OutputOptions)
    wanted = {field.name: field.default for group in shared for field in fields(group)}
    found = {option: parameters(name)[option].default for option in wanted}
    assert found == wanted


def completed(command, option, typed):
    """What the shell is told, as bash asks it."""
    words = f"attnscope {command} {option} {typed}"
    asked = {"_ATTNSCOPE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": "3"}
    return CliRunner().invoke(app.app, env=asked, prog_name="attnscope").stdout.split()


@pytest.mark.parametrize(
    ("command", "option", "typed", "choices"),
    [
        ("convergence", "--scheduler", "euler", ["euler", "euler-a"]),
        ("generate", "--model", "pixart", ["pixart", "pixart-sigma"]),
        ("ablate", "--schedulers", "dpm,h", ["dpm,heun"]),
        ("ablate", "--attention", "", ["cross", "self"]),
        ("bench", "--rivals", "pab,deep", ["pab,deepcache"]),
        ("bench", "--dtype", "b", ["bfloat16"]),
        ("plan", "--plan", "null", ["null-text-early:", "null-text-late:"]),
        ("convergence", "--kinds", "cross,s", ["cross,self"]),
        ("ablate", "--models", "shapes,sdx", ["shapes,sdxl"]),
    ],
)
def test_the_shell_completes_choices(command, option, typed, choices):
    assert sorted(completed(command, option, typed)) == sorted(choices)


@pytest.mark.parametrize(
    ("shell", "asked"),
    [
        ("bash", {"COMP_WORDS": "attnscope generate --scheduler dpm,eu", "COMP_CWORD": "3"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "attnscope generate --scheduler dpm,eu"}),
        ("fish", {
            "_TYPER_COMPLETE_ARGS": "attnscope generate --scheduler dpm,eu",
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        }),
    ],
)  # fmt: skip
def test_the_program_itself_answers_what_a_shell_asks(shell, asked):
    asked = {**os.environ, **asked, "_ATTNSCOPE_COMPLETE": f"complete_{shell}"}
    command = [sys.executable, "-m", "attnscope"]
    out = subprocess.run(command, env=asked, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"[\w,-]*euler[\w-]*", out)) == {"dpm,euler", "dpm,euler-a"}


def test_completion_can_be_shown_and_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("shellingham.detect_shell", lambda: ("bash", "/bin/bash"))
    shown = CliRunner().invoke(app.app, ["--show-completion"], prog_name="attnscope")
    assert "_ATTNSCOPE_COMPLETE=complete_bash" in shown.stdout
    done = CliRunner().invoke(app.app, ["--install-completion"], prog_name="attnscope")
    assert done.exit_code == 0
    (script,) = tmp_path.rglob("attnscope.sh")
    assert script.read_text().strip() == shown.stdout.strip()
    assert str(script) in (tmp_path / ".bashrc").read_text()


def everything(command=None, name="attnscope"):
    """Every command and group of commands, by what one types."""
    command = command or typer.main.get_command(app.app)
    yield name, command
    for word, child in getattr(command, "commands", {}).items():
        yield from everything(child, f"{name} {word}")


HELPS = [name for name, _ in everything()]


def helped(name, columns="200"):
    words = name.split()[1:]
    shown = CliRunner().invoke(app.app, [*words, "--help"], env={"COLUMNS": columns})
    assert shown.exit_code == 0
    return shown.stdout


@pytest.mark.parametrize("name", HELPS)
def test_flags_show_no_type_and_help_is_a_flag(name):
    assert "<bool>" not in helped(name)


@pytest.mark.parametrize("name", HELPS)
def test_the_paragraphs_of_help_fill_their_lines_at_any_width(name):
    told = helped(name, "500")
    for paragraph in dict(everything())[name].help.split("\n\n"):
        assert paragraph in told


@pytest.mark.parametrize("name", HELPS)
def test_every_help_ends_with_an_example_of_what_it_helps_with(name):
    example = " ".join(helped(name).split()).rpartition("Example: ")[2]
    assert example.startswith(name)


@pytest.mark.parametrize("name", [name for name in HELPS if name != "attnscope cost"])
def test_no_help_says_a_default_in_other_words_than_the_rest(name):
    assert "default:" not in helped(name).replace("[default:", "")


@pytest.mark.parametrize(
    ("name", "count"), [("convergence", 64), ("ablate", 100), ("generate", 8), ("bench", 100)]
)
def test_help_says_how_many_captions_there_are_by_default(name, count):
    assert f"all of a file, {count} of an embedded model's own" in helped(f"attnscope {name}")
    assert get_type_hints_of(name)["shown"].embedded == count


def get_type_hints_of(name):
    module = import_module(f"attnscope.cli.{name}")
    return get_type_hints(inspect.unwrap(getattr(module, name)), include_extras=True)


@pytest.mark.parametrize(
    ("name", "option", "names"),
    [
        *((name, "schedulers", tuple(SCHEDULERS)) for name in COMMANDS),
        *((name, "dtype", ("auto", *DTYPES)) for name in COMMANDS),
        *((name, "model", tuple(MODELS)) for name in ("convergence", "generate", "bench")),
        ("ablate", "models", tuple(MODELS)),
        ("ablate", "attention", ATTENTION),
        ("convergence", "kinds", KINDS),
        ("plan", "other", tuple(PLANS)),
        ("shapes train", "model", NAMES),
    ],
)
def test_names_in_help_and_completion_are_those_that_are_registered(name, option, names):
    commands = dict(everything())
    found = next(p for p in commands[f"attnscope {name}"].params if p.name == option)
    told = f"{found.metavar} {found.help}"
    assert all(re.search(rf"(?<![\w-]){re.escape(each)}(?![\w-])", told) for each in names)
    completed = {item.value.rstrip(":") for item in found.shell_complete(None, "")}
    assert set(names) - {"baseline"} <= completed  # which has no values to go on with


def test_no_name_of_a_scheduler_model_or_plan_is_typed_out_in_the_options():
    source = Path(options.__file__).read_text("utf-8")
    written = {
        name
        for name in (*SCHEDULERS, *MODELS, *PLANS)
        if re.search(rf"\b{name}, |, {name}\b", source)
    }
    assert written == set()


def test_kinds_of_attention_are_the_same_where_there_is_no_torch():
    from attnscope.sites import attention

    assert attention.KINDS == KINDS


def test_few_names_stand_where_types_do_and_many_in_the_text():
    few, many = choice(("a", "b"), help="Which."), choice([f"name{n}" for n in range(9)])
    assert (few.metavar, few.help) == ("<a|b>", "Which.")
    assert many.metavar == "<name>"
    assert many.help.startswith("One of name0, name1")
    assert choice(("a", "b"), several=True).help == "One or several of a, b."
