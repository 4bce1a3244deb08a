"""Files that are not whole yet, and what is left of them by processes that were killed."""

import os
import signal
import subprocess
import sys
import time

import pytest

from attnscope import files
from attnscope.errors import InputError
from attnscope.files import check_takes_files, make_folder, write_whole

SLOW = """
import sys, time
from pathlib import Path
from attnscope.files import write_whole

def write(partial):
    partial.write_text("half")
    print("begun", flush=True)
    time.sleep(600)

write_whole(Path(sys.argv[1]), write)
"""


@pytest.fixture(autouse=True)
def _unswept(monkeypatch):
    monkeypatch.setattr(files, "_swept", set())


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_process_left_is_removed_and_what_one_is_at_work_on_is_not(tmp_path):
    command = [sys.executable, "-c", SLOW, str(tmp_path / "table.csv")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as doomed:
        assert doomed.stdout.readline() == "begun\n"
        (partial,) = names(tmp_path)
        write_whole(tmp_path / "one.txt", lambda path: path.write_text("1"))
        assert names(tmp_path) == [partial, "one.txt"]
        doomed.send_signal(signal.SIGKILL)
    files._swept.clear()
    (tmp_path / ".hidden").write_text("somebody's")
    write_whole(tmp_path / "two.txt", lambda path: path.write_text("2"))
    assert names(tmp_path) == [".hidden", "one.txt", "two.txt"]


def test_a_folder_is_looked_through_once(tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr(files, "_sweep", looked.append)
    for number in range(3):
        write_whole(tmp_path / f"{number}.txt", lambda path: path.write_text("x"))
    assert looked == [tmp_path]


def test_without_locks_nothing_is_removed(tmp_path, monkeypatch):
    left = tmp_path / ".attnscope-abc.csv"
    left.write_text("half")
    monkeypatch.setattr(files, "lock", lambda handle: files.Locked.NEVER)
    write_whole(tmp_path / "whole.csv", lambda path: path.write_text("x"))
    assert names(tmp_path) == [left.name, "whole.csv"]
    assert time.time() - left.stat().st_mtime < 600


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_are_as_open_as_whoever_started_the_process_wants_them(tmp_path, umask, mode):
    script = (
        "import sys; from pathlib import Path; from attnscope.files import write_whole\n"
        "write_whole(Path(sys.argv[1]), lambda path: path.write_text('x'))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "one.txt")]
    subprocess.run(command, check=True, umask=umask)
    assert os.stat(tmp_path / "one.txt").st_mode & 0o777 == mode


def test_a_place_that_holds_a_folder_is_named_and_nothing_stays_beside_it(tmp_path):
    (tmp_path / "page.html").mkdir()
    with pytest.raises(InputError, match=r"written at '.*/page\.html' \(Is a directory\): choose"):
        write_whole(tmp_path / "page.html", lambda path: path.write_text("x"))
    assert names(tmp_path) == ["page.html"]


def test_a_folder_is_made_with_those_it_stands_in_or_refused(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "a" / "file").write_text("x")
    for place in (tmp_path / "a" / "file", tmp_path / "a" / "file" / "c"):
        with pytest.raises(InputError, match=f"no folder can be made at {str(place)!r} "):
            make_folder(place)


def test_trying_a_folder_leaves_nothing_in_it(tmp_path):
    check_takes_files(tmp_path)
    assert names(tmp_path) == []
    with pytest.raises(InputError, match=r"no file can be written in '.*/none' \(No such file"):
        check_takes_files(tmp_path / "none")
