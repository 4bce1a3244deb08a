"""What strangers wrote is shown as it is: it steers no terminal and is no markup."""

import io
import re
import time

import pandas as pd
import pytest
from rich.console import Console

from attnscope.cli import console
from attnscope.plain import one_line, printable

ESCAPES = "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b2J \x08 \r \u202egpj.exe \u2028"
MARKUP = "[red]x[/red] [/] [link=http://x]y :smile:"
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def terminal(monkeypatch):
    """Both consoles as on a terminal, into one text."""
    monkeypatch.setenv("TERM", "xterm")
    written = io.StringIO()
    for each in (console.messages, console.results):
        monkeypatch.setattr(each, "_file", written)
        monkeypatch.setattr(each, "_force_terminal", True)
        monkeypatch.setattr(each, "is_interactive", True)
        monkeypatch.setattr(each, "_color_system", None)
        monkeypatch.setattr(each, "_width", 200)
    return written


def test_what_steers_a_terminal_is_replaced_and_the_rest_stays():
    assert not _STEERING.search(printable(ESCAPES))
    kept = "a\tb\nc é 日本語\u3000x\u00a0: 👩\u200d🎨 [red]"
    assert printable(kept) == kept
    assert printable("\ud800") == "\ufffd"
    assert one_line("a\n b\x1b") == "a b\ufffd"


def test_captions_in_messages_tables_and_titles_reach_a_terminal_as_text(terminal):
    both = f"{ESCAPES} {MARKUP}"
    console.messages.print(both, soft_wrap=True)
    console.Bars(quiet=False).say(both)
    console.show_table(pd.DataFrame({MARKUP: [both]}), both)
    said = terminal.getvalue()
    assert not _STEERING.search(re.sub(r"\x1b\[[0-9;]*m", "", said))  # of rich's own bold
    assert said.count(MARKUP) == 5


def test_a_bar_of_a_model_whose_folder_has_markup_in_its_name_is_no_error(terminal):
    with console.Bars(quiet=False).stretch(f"{MARKUP}\x1b]0;title\x07: prompts", 1):
        for _ in range(100):  # it is drawn by a thread of its own
            if MARKUP in terminal.getvalue():
                break
            time.sleep(0.1)
    assert MARKUP in terminal.getvalue()
    assert "\x1b]0" not in terminal.getvalue()


def test_a_refusal_shows_what_was_typed_and_obeys_none_of_it(attnscope):
    code, _, err = attnscope("plan", "--device", "\x1b]0;title\x07")
    assert (code, err.count("\n")) == (2, 1)
    code, _, err = attnscope("generate", "a circle", "--device", "\x1b[31m")
    assert code == 2
    assert not _STEERING.search(err)


def test_rich_would_obey_them():
    """Which is why it is not asked to: the tests above would see nothing if rich did this itself."""
    written = io.StringIO()
    Console(file=written, force_terminal=True).print(ESCAPES)
    assert _STEERING.search(written.getvalue())
