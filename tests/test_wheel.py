"""What is installed is what stands in the tree."""

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
LARGE = 1_000_000
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"


def tree():
    """Files and links that belong to the repository, also those that are not committed yet."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
    return {path for path in done.stdout.splitlines() if (ROOT / path).exists()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Names in a wheel of a copy of the tree, whose large files are empty there."""
    copied, built = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for path in tree():
        (copied / path).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / path).is_symlink() or (ROOT / path).stat().st_size < LARGE:
            shutil.copy(ROOT / path, copied / path, follow_symlinks=False)
        else:
            (copied / path).touch()
    run = [sys.executable, "-c", BUILD, str(built)]
    subprocess.run(run, cwd=copied, capture_output=True, text=True, check=True)
    (file,) = built.glob("*.whl")
    with ZipFile(file) as names:
        return {name for name in names.namelist() if not name.endswith("/")}


def test_a_wheel_holds_the_package_with_its_data_and_nothing_else(wheel):
    about = {name for name in wheel if name.split("/")[0].endswith(".dist-info")}
    package = {path for path in tree() if path.startswith("attnscope/")}
    assert wheel - about == package
    assert {Path(path).suffix for path in package} >= {".py", ".json", ".safetensors", ".typed"}


def test_a_wheel_brings_the_program_and_the_licence(wheel):
    names = {name.partition(".dist-info/")[2] for name in wheel}
    assert {"entry_points.txt", "licenses/LICENSE", "METADATA"} <= names
