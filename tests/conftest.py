"""Shared fixtures: one tokenizer folder, one thread."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "agg")

import pytest
import torch
import toys


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
