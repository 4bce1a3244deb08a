"""Lists on the command line: every combination is an ordinary run, and they are set side by side."""

import json
import shutil

import pandas as pd
import pytest
from PIL import Image

from attnscope.cli import several
from attnscope.cli.options import PlanOptions, SeveralRuns
from attnscope.errors import InputError
from attnscope.models import chosen
from attnscope.models.loading import load
from attnscope.runs.folder import Run


def convergence(folder, captions, *more):
    return ["convergence", "--model", folder, "--captions", captions, "--height", 32, "--device",
            "cpu", *more]  # fmt: skip


def generate(folder, *more):
    return ["generate", "a red circle", "--model", folder, "--height", 32, "--steps", 4, "--device",
            "cpu", *more]  # fmt: skip


def test_a_combination_is_one_way_and_lists_are_all_of_them():
    (alone,) = several.ways(SeveralRuns(steps="4", seeds="7"))
    assert (alone.sampling.steps, alone.sampling.scheduler, alone.sampling.seed) == (4, None, 7)
    assert (alone.name, alone.plan) == ("", None)
    asked = SeveralRuns(steps="4,5", schedulers="dpm,euler", seeds="3", model="sdxl", height=64)
    found = several.ways(asked, several.chosen_plans(PlanOptions(tgate="k=2", gates="1,2")))
    assert [way.name for way in found] == [
        f"scheduler-{scheduler},steps-{steps},gate-{gate}"
        for scheduler in ("dpm", "euler") for steps in (4, 5) for gate in (1, 2)
    ]  # fmt: skip
    assert {(way.sampling.model, way.sampling.height, way.sampling.seed) for way in found} == {
        ("sdxl", 64, 3)
    }
    assert str(found[-1].plan) == "tgate:m=2,k=2,w=2,f=1"


@pytest.mark.parametrize(
    ("said", "plan"),
    [
        ({}, "tgate:m=3,k=1,w=2,f=1"),
        ({"tgate": "tgate:k=5,w=0"}, "tgate:m=3,k=5,w=0,f=1"),
        ({"other": "cross-reuse"}, "cross-reuse:m=3"),
        ({"other": "cross-reuse+guidance-cutoff:keep=uncond"}, "cross-reuse:m=3+guidance-cutoff:m=3,keep=uncond"),
    ],
)  # fmt: skip
def test_a_gate_is_the_m_of_every_plan_that_is_named_and_of_tgate_if_none_is(said, plan):
    (found,) = several.chosen_plans(PlanOptions(**said, gates="3")).values()
    assert str(found) == plan


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"tgate": "m=2"}, "'m=2' has its own m: leave it out there, or leave --gate out"),
        ({"other": "cross-reuse:gate=2"}, "has its own m"),
        ({"other": "baseline"}, "it takes none"),
        ({"tgate": "k=2", "other": "baseline"}, "not both"),
    ],
)
def test_a_gate_that_nothing_takes_is_refused(said, message):
    with pytest.raises(InputError, match=message):
        several.chosen_plans(PlanOptions(**said, gates="3"))


@pytest.mark.usefixtures("undrawn")
def test_lists_leave_the_runs_that_their_values_would_leave_alone(
    attnscope, folder, captions, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    loads = []
    monkeypatch.setattr(chosen, "load", lambda *of, **how: loads.append(of) or load(*of, **how))
    more = ["--scheduler", "dpm,euler", "--seed", 1, "--steps", 3]
    code, out, err = attnscope(*convergence(folder, captions, *more))
    assert (code, err) == (0, "")
    assert len(loads) == 2  # once for each scheduler
    folders = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert len(folders) == 2
    assert out.count("run directory: ") == 2
    assert "Settings that differ" in out
    assert "What came out" in out
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/records.parquet")}
    loads.clear()
    alone = ["--scheduler", "euler", "--seed", 1, "--steps", 3, "-q"]
    code, path, _ = attnscope(*convergence(folder, captions, *alone))
    assert code == 0
    assert path.strip().removeprefix("runs/") in folders
    assert loads == []
    assert {path: path.stat().st_mtime_ns for path in before} == before
    fresh = attnscope(*convergence(folder, captions, *alone, "--out", tmp_path / "fresh"))
    assert fresh[0] == 0
    pd.testing.assert_frame_equal(
        Run(tmp_path / path.strip()).read_table("records"),
        Run(tmp_path / "fresh").read_table("records"),
    )


def test_a_folder_holds_the_runs_by_what_tells_them_apart(attnscope, folder, tmp_path, monkeypatch):
    loads = []
    monkeypatch.setattr(chosen, "load", lambda *of, **how: loads.append(of) or load(*of, **how))
    command = generate(folder, "--gate", "1,2", "--compare", "--out", tmp_path / "runs")
    code, out, err = attnscope(*command)
    assert (code, err) == (0, "")
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert names == ["gate-1", "gate-2"]
    assert len(loads) == 1
    plans = [Run(tmp_path / "runs" / name).settings["plan"] for name in names]
    assert plans == ["tgate:m=1,k=1,w=2,f=1", "tgate:m=2,k=1,w=2,f=1"]
    assert f"A: {tmp_path / 'runs' / 'gate-1'}" in out
    assert "PSNR to S" in out
    code, out, _ = attnscope("runs", tmp_path / "runs", "--json")
    assert len(json.loads(out)) == 2


@pytest.mark.usefixtures("undrawn")
def test_json_of_several_runs_is_a_list_and_quiet_a_line_for_each(attnscope, folder, tmp_path):
    command = generate(folder, "--seeds", "0,1", "--out", tmp_path / "runs")
    code, out, err = attnscope(*command, "--json")
    assert (code, err) == (0, "")
    first, second = json.loads(out)
    assert [each["run"][-6:] for each in (first, second)] == ["seed-0", "seed-1"]
    pixels = []
    for each in (first, second):
        with Image.open(f"{each['run']}/images/00000.png") as image:
            pixels.append(image.tobytes())
    assert pixels[0] != pixels[1]
    paths = [f"{tmp_path / 'runs' / name}\n" for name in ("seed-0", "seed-1")]
    assert attnscope(*command, "--quiet") == (0, "".join(paths), "")
    code, out, _ = attnscope(*generate(folder, "--out", tmp_path / "runs" / "seed-0"), "--json")
    assert json.loads(out) == first  # one run is no list


@pytest.mark.usefixtures("undrawn")
def test_many_runs_stand_side_by_side_without_intervals(attnscope, folder, tmp_path):
    command = generate(folder, "a square", "--tgate", "m=1", "--compare", "--out", tmp_path / "0")
    assert attnscope(*command)[0] == 0
    runs = [tmp_path / str(number) for number in range(7)]
    for other in runs[1:]:
        shutil.copytree(runs[0], other)
    code, out, _ = attnscope("compare", *runs)
    assert code == 0
    row = next(line for line in out.splitlines() if "PSNR to S" in line)
    cells = [cell.strip() for cell in row.split("│")[3:-1]]
    assert len(cells) == 7
    assert float(cells[0]) > 0
    code, out, _ = attnscope("compare", *runs[:2])
    assert f"{cells[0]} [" in out


def test_what_cannot_be_is_refused_before_the_first_run_is_made(attnscope, folder, tmp_path):
    runs = tmp_path / "runs"
    code, _, err = attnscope(*generate(folder, "--gate", "2,5", "--out", runs))
    assert (code, err.count("\n")) == (2, 1)
    assert "m=5, but there are 4 steps" in err
    assert not runs.exists()
    assert attnscope(*generate(folder, "--seed", 1, "--out", runs / "gate-2", "-q"))[0] == 0
    code, _, err = attnscope(*generate(folder, "--gate", "1,2", "--out", runs))
    assert code == 2
    assert "holds a run of other settings" in err
    assert not (runs / "gate-1").exists()
    code, _, err = attnscope(*generate(folder, "--gate", "1,2", "--out", runs / "gate-2"))
    assert code == 2
    assert "is to hold 2 runs: choose a folder that is none itself" in err


def test_benchmarks_take_lists_too(attnscope, folder, tmp_path):
    code, out, err = attnscope(
        "bench", "--model", folder, "--random-weights", "--height", 32, "--steps", "2,3", "--gate", 1,
        "--repeats", 1, "--rivals", "none", "--device", "cpu", "--out", tmp_path / "runs",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["steps-2", "steps-3"]
    assert "speed-up" in out.rpartition("What came out")[2]
