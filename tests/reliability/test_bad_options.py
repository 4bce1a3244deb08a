"""Options that cannot be: refused in one line, and a folder of other things is left as it is."""

import hostile
import pytest
import refusing
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from attnscope.cli import app

_LEFT_OUT = {"--help", "-h", "--out", "--version", "--install-completion", "--show-completion"}


def commands(group, name=()):
    """Every command by its words."""
    for child, found in getattr(group, "commands", {}).items():
        words = (*name, child)
        if hasattr(found, "commands") and found.commands:
            yield from commands(found, words)
        else:
            yield words, found


COMMANDS = dict(commands(typer.main.get_command(app.app)))
REFUSED_BY = {
    ("plan",): ["--out", "{precious}"],
    ("cost",): ["--out", "{file}"],
    ("plot",): ["{precious}"],
    ("report",): ["{precious}"],
    ("runs",): ["{file}"],
    ("compare",): ["{precious}", "{file}"],
    ("models",): ["one", "more"],
    ("shapes", "score"): ["--sheet", "{precious}"],
}
"""What makes a command impossible whatever else is asked; the others are told to write into a folder
that holds other things."""


def options_of(command):
    return [p for p in command.params if p.opts[-1].startswith("-") and not _LEFT_OUT & {*p.opts}]


@st.composite
def lines(draw):
    """A command that cannot be carried out, with options whatever they are."""
    words = draw(st.sampled_from(sorted(COMMANDS)))
    command = COMMANDS[words]
    line = [*words, *REFUSED_BY.get(words, ["--out", "{precious}"])]
    known = options_of(command)
    for option in draw(st.lists(st.sampled_from(known), max_size=4)) if known else []:
        line.append(draw(st.sampled_from(option.opts)))
        if not option.is_flag:
            line.append(draw(hostile.value | st.sampled_from(["{precious}", "{file}", "{link}"])))
    if draw(st.integers(0, 9)) == 0:
        line.append(draw(st.sampled_from(["--magic", "-Z", "extra"])))
    return line


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A folder of other things with a difficult name, a file, and a link that leads to itself."""
    root = tmp_path_factory.mktemp("places")
    precious = root / "my 'thesis'\n[red]é"
    precious.mkdir()
    (precious / "thesis.tex").write_text("dear reader")
    file = root / "notes.txt"
    file.write_text("a small red circle")
    link = root / "loop"
    link.symlink_to(link)
    return {"{precious}": precious, "{file}": file, "{link}": link}


@settings(max_examples=2 * settings.default.max_examples)  # they are quick
@given(line=lines())
def test_what_cannot_be_is_refused_in_one_line(places, counted, line):
    before = refusing.state(places["{precious}"].parent)
    ended = refusing.run(*(places.get(word, word) for word in line))
    counted("options", ended)
    refusing.assert_refused(ended)
    refusing.assert_kept(before, refusing.state(places["{precious}"].parent))
