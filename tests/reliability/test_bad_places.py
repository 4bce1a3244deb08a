"""Places that cannot be written or read: read-only, not ours, links to nothing, names too long."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import refusing
import reported

NOBODY = 65534


@contextlib.contextmanager
def unprivileged():
    """Root may do everything: as somebody else, permissions count."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def place():
    """A folder that everybody can reach, which those of pytest are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def readable(folder):
    """Everybody may read what is below a folder, and nobody write there."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)


@pytest.mark.parametrize(
    "line",
    [
        ["cost", "--tgate", "m=10", "--out", "{place}/run"],
        ["plan", "--tgate", "m=10", "--out", "{place}/plan.png"],
        ["report", "{run}", "--out", "{place}/page.html"],
        ["report", "{run}", "--bundle", "{place}/site"],
        ["plot", "{run}"],
    ],
)  # fmt: skip
def test_a_folder_that_is_read_only_is_named(place, line):
    reported.MAKERS["convergence"](place / "made")
    (place / "ours").mkdir()
    reported.MAKERS["convergence"](place / "ours" / "made")
    told = [word.format(place=place / "ours", run=place / "ours" / "made") for word in line]
    assert refusing.run(*told).code == 0  # it is the place alone that is wrong
    readable(place)
    told = [word.format(place=place, run=place / "made") for word in line]
    before = refusing.state(place)
    with unprivileged():
        ended = refusing.run(*told)
    refusing.assert_refused(ended)
    assert str(place) in ended.err
    assert ".attnscope-" not in ended.err
    assert refusing.state(place) == before
    for path in place.rglob("*"):
        path.chmod(0o755)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("c.txt", ["generate", "--captions", "{file}"]),
        ("c.parquet", ["convergence", "--captions", "{file}"]),
        ("plan.json", ["plan", "{file}"]),
        ("run.json", ["plot", "{folder}"]),
        ("model_index.json", ["generate", "a circle", "--model", "{folder}"]),
    ],
)
def test_a_file_that_may_not_be_read_is_named(place, name, line):
    (place / name).write_text("{}")
    (place / name).chmod(0)
    told = [word.format(file=place / name, folder=place) for word in line]
    with unprivileged():
        ended = refusing.run(*told)
    refusing.assert_refused(ended)
    assert str(place) in ended.err


@pytest.mark.parametrize("how", ["dangling", "loop", "too long", "under a file"])
def test_a_place_that_cannot_be_made_is_named(place, how):
    out = place / "run"
    if how == "dangling":
        out.symlink_to(place / "nowhere" / "at-all")
    elif how == "loop":
        out.symlink_to(out)
    elif how == "too long":
        out = place / ("x" * 300)
    else:
        (place / "file").write_text("x")
        out = place / "file" / "run"
    for line in (["cost", "--tgate", "m=10"], ["shapes", "train", "--steps", "1", "--batch", "4"]):
        ended = refusing.run(*line, "--out", out)
        refusing.assert_refused(ended)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no such folder on this system")
@pytest.mark.parametrize(
    "line",
    [
        ["report", "{run}", "--out", "/proc/page.html"],
        ["report", "{run}", "--bundle", "/proc/site"],
        ["plan", "--tgate", "m=10", "--out", "/proc/plan.png"],
        ["plan", "--tgate", "m=10", "--to", "ecad", "--out", "/proc/plan.json"],
        ["cost", "--tgate", "m=10", "--out", "/proc/run"],
        ["cost", "--out", "/proc/run"],
        ["shapes", "score", "--limit", "1", "--sheet", "/proc/sheet.png"],
        ["shapes", "train", "--steps", "1", "--out", "/proc/a/b"],
    ],
)
def test_a_folder_that_takes_no_files_whoever_asks_is_named(place, line):
    reported.MAKERS["convergence"](place / "run")
    ended = refusing.run(*(word.format(run=place / "run") for word in line))
    refusing.assert_refused(ended)
    assert "'/proc" in ended.err
    assert ended.err.endswith(": choose another place\n")


@pytest.mark.parametrize(
    ("line", "endings"),
    [
        (["report", "{run}", "--out", "{place}"], ".html or .htm"),
        (["plan", "--tgate", "m=10", "--out", "{place}"], ".png or .pdf"),
        (["plan", "--tgate", "m=10", "--to", "ecad", "--out", "{place}"], ".json"),
        (["shapes", "score", "--limit", "1", "--sheet", "{place}"], ".png or .pdf"),
    ],
)
def test_a_folder_in_place_of_a_file_is_named_whatever_it_ends_in(place, line, endings):
    reported.MAKERS["convergence"](place / "run")
    for name in ("folder.html", "folder.png", "folder.json"):
        folder = place / name
        folder.mkdir()
        ended = refusing.run(*(word.format(run=place / "run", place=folder) for word in line))
        refusing.assert_refused(ended)
        assert f"{str(folder)!r} is a folder: name a {endings} in it" in ended.err
        assert not list(folder.iterdir())
