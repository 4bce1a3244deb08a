"""Shared fixtures: one tokenizer folder, one thread."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "agg")

import pytest
import torch
import toys

from attnscope.cli import app
from attnscope.figures import saving

pytest_plugins = ["older"]

CAPTIONS = "a small red circle on a white background\na large blue star on a black background\n"


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tokenizer")


@pytest.fixture(params=toys.FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def pipe(family, tokenizer_folder):
    """A toy pipeline of every family in turn."""
    return toys.FAMILIES[family](tokenizer_folder)


@pytest.fixture
def sd(tokenizer_folder):
    """A toy Stable Diffusion pipeline."""
    return toys.stable_diffusion(tokenizer_folder)


@pytest.fixture
def folder(sd, tmp_path):
    """A toy Stable Diffusion pipeline in a folder."""
    sd.save_pretrained(tmp_path / "toy")
    return tmp_path / "toy"


@pytest.fixture
def captions(tmp_path):
    """A file with two captions."""
    path = tmp_path / "captions.txt"
    path.write_text(CAPTIONS)
    return path


@pytest.fixture
def five(tmp_path):
    """A file with five captions."""
    path = tmp_path / "five.txt"
    path.write_text("".join(f"a {c} circle\n" for c in ("red", "blue", "green", "white", "black")))
    return path


@pytest.fixture
def undrawn(monkeypatch):
    """Commands leave their figures out: drawing is most of what a small run takes.

    For tests that look at no figure, of commands whose figures other tests draw of such a run.
    """
    monkeypatch.setattr(saving, "save_figures", lambda run: [])


@pytest.fixture
def attnscope(monkeypatch, capsys):
    """Runs a command in this process: exit code, stdout, stderr."""

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["attnscope", *map(str, args)])
        monkeypatch.setenv("COLUMNS", "200")
        capsys.readouterr()
        try:
            app.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return run
