"""What ``attnscope cost`` writes is a run directory like any other."""

import json
import subprocess
import sys

import pandas as pd
import pytest

from attnscope.cost import cost_of, counts_of
from attnscope.runs.contents import CONTENTS
from attnscope.runs.folder import Run

PLAN = ["--tgate", "m=10,k=5"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A run of cost with all that there is, in a process of its own; and what it printed."""
    path = tmp_path_factory.mktemp("cost") / "run"
    command = [sys.executable, "-m", "attnscope", "cost", *PLAN, "--scaling", "--out", str(path)]
    return path, subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_run_of_cost_says_what_decides_it_and_has_its_tables(written):
    run = Run(written[0])
    assert run.command == "cost"
    told = ("model", "plan", "steps", "height", "tokens", "guided", "batch")
    assert [run.settings[name] for name in told] == [
        "shapes", "tgate:m=10,k=5,w=2,f=1", 25, 64, 24, True, 1,
    ]  # fmt: skip
    assert all(run.has_table(name) for name in CONTENTS["cost"].tables)
    cost = cost_of(counts_of("shapes"), "m=10,k=5", 25)
    parts = run.read_table("parts").set_index("part")
    assert parts["plan"].to_dict() == cost.parts
    assert parts["baseline"].to_dict() == cost.baseline.parts
    assert list(run.read_table("kept")["elements"]) == list(cost.kept)
    for name in ("steps", "attribution"):
        of_people = pd.read_csv(run.path / f"{name}.csv")
        pd.testing.assert_frame_equal(of_people, run.read_table(name), check_dtype=False)
    assert "model" not in pd.read_csv(run.path / "scaling.csv")


def test_plot_says_what_cost_said_and_draws_its_figures_again_without_torch(written):
    path, printed = written
    figures = [
        path / f"{name}.{end}" for name in ("attribution", "scaling") for end in ("png", "pdf")
    ]
    for figure in figures:
        figure.unlink()
    script = (
        "import sys\nfrom attnscope.cli.app import app\n"
        f"app(['plot', {str(path)!r}], standalone_mode=False)\nassert 'torch' not in sys.modules"
    )
    drawn = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert drawn.stdout == printed
    assert all(figure.is_file() for figure in figures)
    assert not (path / "figures").exists()


def test_plot_gives_a_run_of_cost_as_json(attnscope, written):
    code, out, _ = attnscope("plot", written[0], "--json")
    document = json.loads(out)
    assert code == 0
    assert document["settings"]["model"] == "shapes"
    assert {row["part"] for row in document["call"]} == {row["part"] for row in document["parts"]}
    assert [path.rpartition("/")[2] for path in document["figures"]] == [
        "attribution.png", "scaling.png",
    ]  # fmt: skip
    assert attnscope("plot", written[0], "-q") == (0, f"{written[0]}\n", "")


def test_runs_of_cost_are_listed_and_compared(attnscope, written, tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    assert attnscope("cost", "--plan", "guidance-cutoff:m=10", "--out", one, "-q")[0] == 0
    assert attnscope("cost", "--out", other, "-q")[0] == 0
    rows = json.loads(attnscope("runs", tmp_path, "--json")[1])
    assert {(row["command"], row["model"], row["steps"], row["finished"]) for row in rows} == {
        ("cost", "shapes", 25, True)
    }
    code, out, _ = attnscope("compare", written[0], one, other, "--json")
    assert code == 0
    document = json.loads(out)
    assert "plan" in {row["setting"] for row in document["settings"]}
    found = {
        row["run"]: row["value"]
        for row in document["outcomes"]
        if row["measure"] == "ideal speed-up, full"
    }
    counts = counts_of("shapes")
    for path, plan in ((written[0], "m=10,k=5"), (one, "guidance-cutoff:m=10")):
        assert found.pop(str(path)) == pytest.approx(cost_of(counts, plan, 25).speedup())
    assert found == {str(other): 1.0}


def test_a_folder_of_another_run_of_cost_is_refused_and_the_same_goes_on(attnscope, tmp_path):
    path = tmp_path / "run"
    assert attnscope("cost", "--out", path, "-q") == (0, f"{path}\n", "")
    assert not (path / "attribution.csv").exists()
    code, out, err = attnscope("cost", "--steps", 9, "--out", path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "holds a run of other settings: steps is 25 there and 9 here" in err
    assert (
        attnscope("cost", "--scaling", "--out", path, "-q")[0] == 0
    )  # adds what was not asked for
    assert Run(path).has_table("scaling")
    (tmp_path / "note.txt").touch()
    code, out, err = attnscope("cost", "--out", tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "is no run directory: choose another" in err


def test_the_paper_s_tables_are_a_run_too(attnscope, tmp_path, monkeypatch):
    rows = pd.DataFrame(
        {"table": ["1"], "row": ["SD"], "model": ["sd21"], "plan": ["baseline"], "steps": [25],
         "published": [2.0], "paper": [2.1], "ratio": [1.05], "agrees": [False], "full": [3.0],
         "note": [""]}
    )  # fmt: skip
    monkeypatch.setattr("attnscope.cost.published.compare", lambda: rows)
    run, other = tmp_path / "run", tmp_path / "other"
    code, printed, _ = attnscope("cost", "paper", "--out", run)
    assert code == 0
    assert attnscope("plot", run)[1] == printed
    assert "0 of 1 rows agree" in printed
    assert attnscope("cost", "paper", "--out", other, "-q")[0] == 0
    code, out, _ = attnscope("compare", run, other, "--json")
    assert (code, [row["value"] for row in json.loads(out)["outcomes"]]) == (0, [2.1, 2.1])
