import json
from dataclasses import dataclass

import pandas as pd
import pytest

from attnscope.errors import InputError
from attnscope.files import write_whole
from attnscope.runs.folder import Run, default_path


@dataclass(frozen=True)
class Settings:
    steps: int = 25
    kinds: tuple[str, ...] = ("cross", "self")
    sites: str | None = None


def test_a_run_remembers_what_it_was(tmp_path):
    Run.open(tmp_path / "run", "convergence", Settings(), device="cpu")
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["command"] == "convergence"
    assert about["settings"] == {"steps": 25, "kinds": ["cross", "self"], "sites": None}
    assert about["machine"]["device"] == "cpu"
    assert {"torch", "diffusers", "transformers", "attnscope"} <= set(about["machine"])


def test_the_same_settings_go_on_and_others_are_refused_by_name(tmp_path):
    Run.open(tmp_path, "convergence", Settings()).write_table("t", pd.DataFrame({"a": [1]}))
    assert Run.open(tmp_path, "convergence", Settings()).has_table("t")
    with pytest.raises(InputError, match="steps is 25 there and 50 here"):
        Run.open(tmp_path, "convergence", Settings(steps=50))
    with pytest.raises(InputError, match="run of 'convergence'"):
        Run.open(tmp_path, "ablate", Settings())
    assert Run(tmp_path).read_table("t")["a"].tolist() == [1]


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("dear reader")
    with pytest.raises(InputError, match="no run directory"):
        Run.open(tmp_path, "convergence", Settings())
    with pytest.raises(InputError, match="no run directory"):
        Run.open(tmp_path / "thesis.tex", "convergence", Settings())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_reading_what_is_not_there_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match=r"no run\.json"):
        Run(tmp_path)
    run = Run.open(tmp_path, "convergence", Settings())
    with pytest.raises(InputError, match="did not finish"):
        run.read_table("records")
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        Run(tmp_path)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "table.txt"
    path.write_text("old")

    def fail(partial):
        partial.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, fail)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["table.txt"]


def test_the_default_path_depends_on_the_settings_alone(tmp_path):
    path = default_path("convergence", "org/name", Settings())
    assert path == default_path("convergence", "org/name", Settings())
    assert path != default_path("convergence", "org/name", Settings(steps=50))
    assert path.parent.name == "runs"
    assert path.name.startswith("convergence-org--name-")
