"""Tests that want what an older release of diffusers, torchmetrics or transformers does not have are skipped there.

Under the releases of ``constraints.txt`` nothing is skipped: what is missing there is a failure.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from attnscope.versions import release

LIBRARIES = ("diffusers", "torchmetrics", "transformers")
_NEWEST = Path(__file__).parents[1] / "constraints.txt"
_MISSING = re.compile(
    r"cannot import name '\w+' from '(diffusers|transformers)"
    r"|No module named '(diffusers|transformers)\."
    r"|module '?(diffusers|transformers)'? has no attribute"
    r"|object at (torchmetrics)[.\w]* has no attribute"
)


def is_older(library: str) -> bool:
    """Whether the installed release is older than that of ``constraints.txt``."""
    newest = re.search(rf"^{library}==([\d.]+)$", _NEWEST.read_text(), re.MULTILINE)
    assert newest, f"constraints.txt has no {library}"
    return release(library) < tuple(map(int, newest[1].split(".")))


def lacks(error: Exception) -> bool:
    """Whether an error says that an older release does not have something."""
    found = _MISSING.search(str(error))
    return bool(found) and is_older(next(filter(None, found.groups())))


newest_only = pytest.mark.skipif(
    is_older("diffusers") or is_older("transformers"), reason="names what the newest release has"
)
"""For tests that hold a list against everything that a library has."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup():
    """What fixtures import."""
    return (yield from _skipping())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call():
    """What tests import."""
    return (yield from _skipping())


def _skipping():
    try:
        return (yield)
    except (ImportError, AttributeError) as error:
        if not lacks(error):
            raise
        pytest.skip(str(error).partition(" (")[0])
