"""Running a command on what cannot be, in this process, and what must hold of how it ends."""

import contextlib
import hashlib
import io
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from unicodedata import category
from unittest import mock

from attnscope.cli import app
from attnscope.errors import InputError

_SAID_BEFORE = ("warning: ", "note: ")
"""How lines begin that may stand before the one that refuses."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code and what it printed."""

    args: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def refusal(self):
        """Lines of stderr besides warnings."""
        return [line for line in self.err.splitlines() if not line.startswith(_SAID_BEFORE)]


def run(*args):
    """A command as a shell would give it; whatever it raises is a failure of the test."""
    words = [str(arg) for arg in args]
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    code = 0
    with (
        mock.patch.object(sys, "argv", ["attnscope", *words]),
        mock.patch.dict("os.environ", {"COLUMNS": "200"}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # those of libraries; ours are shown by the command itself
        try:
            app.main()
        except SystemExit as stop:
            code = stop.code or 0
    said, told = (pipe.buffer.getvalue().decode() for pipe in (out, err))
    return Ended(tuple(words), code, said, told)


def tried(act, *args):
    """What a function returns and an empty text, or ``None`` and why it refuses."""
    try:
        return act(*args), ""
    except InputError as error:
        return None, str(error)


def state(folder):
    """Every file below a folder by its digest, links by where they lead."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.is_symlink():
            found[path] = f"-> {path.readlink()}"
        elif path.is_file():
            found[path] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def assert_well_ended(ended):
    """Done or refused: exit code 0 or 2, at most one line that refuses, nothing that a terminal obeys."""
    shown = f"{ended.args}\n{ended.out}\n{ended.err}"
    assert ended.code in (0, 2), shown
    assert "Traceback" not in ended.err, shown
    steering = {c for c in ended.out + ended.err if category(c) in ("Cc", "Cs") and c not in "\n\t"}
    assert not steering, f"{steering} {shown}"
    if ended.code == 2:
        assert len(ended.refusal) == 1, shown
        assert ended.refusal[0].startswith("error: "), shown
        assert ended.refusal[0] != "error: ", shown
        assert ended.out == "", shown


def assert_refused(ended):
    """Exit code 2, one line."""
    assert_well_ended(ended)
    assert ended.code == 2, f"{ended.args} was not refused\n{ended.out}\n{ended.err}"


def assert_kept(before, after):
    """Nothing that was there is gone or another."""
    lost = {str(path) for path in before if after.get(path) != before[path]}
    assert not lost, f"lost or changed: {lost}"
