"""What is installed is what stands in the tree."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
LARGE = 1_000_000
BUILD = (
    "import sys; from setuptools import build_meta; "
    "getattr(build_meta, f'build_{sys.argv[1]}')(sys.argv[2])"
)
OPTIONAL = ("sentencepiece", "google", "peft", "cache_dit", "tgate", "DeepCache")
"""What a command that does not need it must not ask for: ``pip install --no-deps`` brings none."""
BARE = (
    "import sys; sys.modules.update(dict.fromkeys({optional}, None)); "
    "import attnscope; assert attnscope.__file__.startswith({site!r}), attnscope.__file__; "
    "from attnscope.cli.app import main; main()"
)


def tree():
    """Files and links that belong to the repository, also those that are not committed yet."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
    return {path for path in done.stdout.splitlines() if (ROOT / path).exists()}


def packed(factory, kind, *, whole=False):
    """A wheel or a source distribution of a copy of the tree, whose large files are empty unless it is whole."""
    copied, built = factory.mktemp("tree"), factory.mktemp(kind)
    for path in tree():
        (copied / path).parent.mkdir(parents=True, exist_ok=True)
        small = (ROOT / path).is_symlink() or (ROOT / path).stat().st_size < LARGE
        if small or (whole and path.startswith("attnscope/")):
            shutil.copy(ROOT / path, copied / path, follow_symlinks=False)
        else:
            (copied / path).touch()
    run = [sys.executable, "-c", BUILD, kind, str(built)]
    subprocess.run(run, cwd=copied, capture_output=True, text=True, check=True)
    (file,) = built.iterdir()
    return file


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Names in a wheel of a copy of the tree, whose large files are empty there."""
    with ZipFile(packed(tmp_path_factory, "wheel")) as names:
        return {name for name in names.namelist() if not name.endswith("/")}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Names in a source distribution of such a copy."""
    with tarfile.open(packed(tmp_path_factory, "sdist")) as names:
        files = [entry.name for entry in names.getmembers() if entry.isfile()]
    return {name.partition("/")[2] for name in files}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder that holds what a wheel of the whole tree brings, with its models."""
    folder = tmp_path_factory.mktemp("site")
    with ZipFile(packed(tmp_path_factory, "wheel", whole=True)) as names:
        names.extractall(folder)
    return folder


def without(packages, site, folder, *asked):
    """The program of an unpacked wheel, run in a folder by a Python that lacks some packages."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BARE.format(optional=packages, site=str(site)), *asked],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_a_wheel_holds_the_package_with_its_data_and_nothing_else(wheel):
    about = {name for name in wheel if name.split("/")[0].endswith(".dist-info")}
    package = {path for path in tree() if path.startswith("attnscope/")}
    assert wheel - about == package
    assert {Path(path).suffix for path in package} >= {".py", ".json", ".safetensors", ".typed"}


def test_a_wheel_brings_the_program_and_the_licence(wheel):
    names = {name.partition(".dist-info/")[2] for name in wheel}
    assert {"entry_points.txt", "licenses/LICENSE", "METADATA"} <= names


def test_a_source_distribution_holds_the_package_and_what_builds_it(source):
    about = {name for name in source if name.startswith("attnscope.egg-info/")}
    package = {path for path in tree() if path.startswith("attnscope/")}
    beside = {"CHANGELOG.md", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml"}
    assert source - about - package == beside | {"PKG-INFO", "setup.cfg"}
    assert package <= source


@pytest.mark.parametrize(
    "asked",
    [
        ["--version"],
        ["models"],
        ["cost", "--model", "sd21", "--steps", "4"],
        ["generate", "--captions", "captions.txt", "--steps", "2", "--out", "made"],
    ],
    ids=lambda asked: asked[0].strip("-"),
)
def test_what_was_unpacked_runs_in_any_folder_without_what_it_does_not_need(asked, site, captions):
    done = without(OPTIONAL, site, captions.parent, *asked)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_a_package_that_a_command_needs_and_has_not_is_named(site, tmp_path):
    done = without(("pandas",), site, tmp_path, "runs", ".")
    assert done.returncode == 2
    assert done.stderr.startswith("error: this needs 'pandas', which is not installed")
    assert done.stderr.count("\n") == 1
