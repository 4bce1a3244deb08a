"""Groups of options: written once, on the command line of every command that names them."""

from dataclasses import dataclass, fields
from typing import Annotated, ClassVar

import pytest
import typer
from typer.testing import CliRunner

from attnscope.cli import app, options
from attnscope.cli.grouping import MEASURE, PANELS, SAMPLING, Group, grouped

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
    assert ("Quality" in found) == (name in ("ablate", "bench"))


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
    ],
)
def test_the_shell_completes_choices(command, option, typed, choices):
    assert sorted(completed(command, option, typed)) == sorted(choices)


@pytest.mark.parametrize(
    "command", ["convergence", "ablate", "generate", "bench", "plan", "cost", "plot", "runs"]
)
def test_flags_show_no_type(command):
    shown = CliRunner().invoke(app.app, [command, "--help"], env={"COLUMNS": "200"}).stdout
    assert [line.split()[1] for line in shown.splitlines() if "<bool>" in line] == ["--help"]
