"""A process that lives long neither grows nor forgets: the soak of ``benchmarks/soak``, in small."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/soak/long_lived.py"


@pytest.fixture(scope="module")
def soak():
    spec = importlib.util.spec_from_file_location("long_lived", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("what", ["calls", "traces"])
def test_what_is_done_over_and_over_leaves_no_object_behind(soak, tokenizer_folder, what):
    found = getattr(soak, what)(tokenizer_folder, 10)
    assert found["equal"] == found["times"] == 10
    assert found["objects_late"] - found["objects_early"] < 8  # one each time were 8


def test_pipelines_in_threads_of_their_own_make_what_they_make_alone(soak, tokenizer_folder):
    assert soak.threads(tokenizer_folder, 3)["equal"] == 3


def test_what_is_kept_would_be_seen(soak):
    kept = []
    many = 500  # a call: others of this process may free some of theirs meanwhile
    found = soak.repeated(
        "keeps", 10, lambda number: kept.extend([n] for n in range(many)) or soak.torch.zeros(1)
    )
    assert found["objects_late"] - found["objects_early"] >= 4 * many
