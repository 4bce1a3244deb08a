"""A run directory is one process's as long as it writes into it."""

import os
import signal
import subprocess
import sys

import pytest

from attnscope import files
from attnscope.errors import InputError
from attnscope.runs import holding
from attnscope.runs.holding import held, hold, one_at_a_time

OTHER = """
import sys, time
from pathlib import Path
from attnscope.runs.holding import held, hold

with held(Path(sys.argv[1])):
    hold(Path(sys.argv[1]))
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the directory."""
    command = [sys.executable, "-c", OTHER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_what_another_process_writes_into_is_refused_until_it_is_gone(other, tmp_path):
    with held(tmp_path), pytest.raises(InputError, match="another process writes into `out`"):
        hold(tmp_path)
    other.send_signal(signal.SIGKILL)
    other.wait()
    with held(tmp_path):
        hold(tmp_path)
        assert holding._held[tmp_path] is not None
    assert holding._held == {}
    assert list(tmp_path.iterdir()) == []


def test_a_process_holds_once_however_deep_and_lets_go_at_the_end(tmp_path):
    @one_at_a_time
    def carry_out(path, depth, *, again=True):
        hold(path)
        hold(path)
        if depth:
            carry_out(path, depth - 1)
            assert holding._held[path] is not None
        return depth, again

    assert carry_out(tmp_path, 2, again=False) == (2, False)
    command = [sys.executable, "-c", OTHER.replace("time.sleep(600)", ""), str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "held\n"


def test_a_lock_of_another_user_counts_and_one_that_cannot_be_removed_is_let_go(
    other, tmp_path, monkeypatch
):
    opened = os.open

    def not_ours(path, how, *more):
        if how & os.O_RDWR:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, how, *more)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", not_ours)
        with held(tmp_path), pytest.raises(InputError, match="another process writes"):
            hold(tmp_path)
    other.kill()
    other.wait()

    def kept(path, **how):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(type(tmp_path), "unlink", kept)
        with held(tmp_path):
            hold(tmp_path)
    with held(tmp_path):
        hold(tmp_path)
        assert holding._held[tmp_path] is not None


def test_a_lock_that_was_removed_meanwhile_is_taken_anew(tmp_path, monkeypatch):
    """The file is opened here, its holder removes it and lets go, and then it is locked here."""
    taken = []

    def lock(handle):
        if not taken:
            (tmp_path / holding.LOCK).unlink()
        taken.append(handle)
        return files.lock(handle)

    monkeypatch.setattr(holding, "lock", lock)
    with held(tmp_path):
        hold(tmp_path)
        assert len(taken) == 2
        assert (tmp_path / holding.LOCK).stat().st_ino == os.fstat(holding._held[tmp_path]).st_ino


def test_outside_of_a_block_and_where_nothing_can_be_locked_nothing_is_held(tmp_path, monkeypatch):
    hold(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with held(tmp_path / "none"):
        hold(tmp_path / "none")
    monkeypatch.setattr(holding, "lock", lambda handle: files.Locked.NEVER)
    with held(tmp_path):
        hold(tmp_path)
        assert holding._held[tmp_path] is not None
