"""Run directories that version 0.1 left, made on a toy by ``--steps 4 --height 16`` and two captions."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from attnscope.analyses.bench.run import machine_of
from attnscope.documents import plain
from attnscope.models.names import describe, fingerprint
from attnscope.runs.folder import Run

DATA = Path(__file__).parents[1] / "data" / "runs-of-0.1.zip"
COMMON = ["--model", "toy", "--captions", "captions.txt", "--steps", 4, "--height", 16,
          "--device", "cpu"]  # fmt: skip
COMMANDS = {
    "convergence": ["convergence", *COMMON, "--limit", 2],
    "ablate": ["ablate", *COMMON, "--gate", 2],
    "generate": ["generate", *COMMON, "--tgate", "m=2,k=2", "--compare"],
    "bench": [
        "bench",
        *COMMON,
        "--tgate",
        "m=2,k=2",
        "--rivals",
        "none",
        "--repeats",
        2,
        "--frontier",
    ],
}
COST = ["cost", "--model", "toy", "--steps", 4, "--height", 16, "--tgate", "m=2,k=2"]


@pytest.fixture
def before(folder, captions, tmp_path, monkeypatch):
    """The run directories, beside the model and the captions that they are of."""
    monkeypatch.chdir(tmp_path)
    shutil.unpack_archive(DATA, tmp_path)
    now = fingerprint(describe(folder.name))  # of another version of torch it may be another one
    for name in COMMANDS:
        path = tmp_path / name / "run.json"
        about = json.loads(path.read_text())
        of_model = about["settings"].get("subjects", [about["settings"]])[0]
        of_model["weights"] = now
        if name == "bench":  # times are of one machine, which this one stands in for
            about["settings"] |= plain(machine_of("cpu"))
        path.write_text(json.dumps(about))
    return tmp_path


@pytest.fixture
def no_figures(monkeypatch):
    """They take most of the time."""
    monkeypatch.setattr("attnscope.figures.saving.save_figures", lambda run: [])


@pytest.mark.parametrize(
    ("name", "told", "figures"),
    [
        ("convergence", "toy at 16x16, 2 prompts, 4 steps", {"figure2", "figureA3", "heatmap"}),
        ("ablate", "cross-attention, 2 prompts, 16x16", {"arms", "noise", "pictures", "samples"}),
        ("generate", "toy at 16x16, tgate:m=2,k=2,w=2,f=1", {"comparison", "samples"}),
        ("bench", "speed and quality, 2 images an arm", {"attribution", "breakdown", "frontier"}),
    ],
)
def test_a_run_of_before_is_read_and_drawn(attnscope, before, name, told, figures):
    code, out, err = attnscope("plot", before / name)
    assert (code, err) == (0, "")
    assert told in out
    assert {path.stem for path in (before / name / "figures").glob("*.png")} == figures


def test_runs_of_before_are_listed_with_those_of_now(attnscope, before):
    code, out, err = attnscope("runs", before, "--json")
    assert (code, err) == (0, "")
    found = {row["command"]: row for row in json.loads(out)}
    assert set(found) == set(COMMANDS)
    assert all(row["finished"] and row["steps"] in (4, "4") for row in found.values())


@pytest.mark.parametrize(
    ("name", "measures"),
    [
        ("convergence", {"first change", "last change"}),
        ("ablate", {"psnr", "ssim"}),
        ("generate", {"psnr", "ssim", "seconds an image"}),
        ("bench", {"speed-up", "psnr", "ssim"}),
    ],
)
def test_a_run_of_before_is_compared(attnscope, before, name, measures):
    shutil.copytree(before / name, before / "again")
    code, out, err = attnscope("compare", before / name, before / "again", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["settings"] == []
    assert {row["measure"] for row in told["outcomes"]} == measures
    values = pd.DataFrame(told["outcomes"]).pivot(
        index=["what", "measure"], columns="run", values="value"
    )
    assert values[str(before / name)].tolist() == values[str(before / "again")].tolist()


@pytest.mark.usefixtures("no_figures")
def test_what_a_benchmark_of_before_measured_is_told_as_it_was(attnscope, before):
    """Its tables were written as CSV, too, by the code of then."""
    told = json.loads(attnscope("plot", before / "bench", "--json")[1])
    for name in ("arms", "frontier"):
        then = pd.read_csv(before / "bench" / f"{name}.csv").dropna(axis="columns", how="all")
        now = pd.DataFrame(told[name])
        assert {"arm", "speedup"} <= set(then)
        pd.testing.assert_frame_equal(now[list(then)], then, check_dtype=False)


def test_a_folder_that_cost_wrote_before_it_wrote_runs_is_left_as_it_is(attnscope, before):
    files = {path: path.read_bytes() for path in (before / "cost").iterdir()}
    assert len(files) == 2
    code, _, err = attnscope("plot", before / "cost")
    assert (code, "is no run directory: it has no run.json" in err) == (2, True)
    code, _, err = attnscope(*COST, "--out", before / "cost")
    assert (code, "exists and is no run directory: choose another" in err) == (2, True)
    assert {path: path.read_bytes() for path in (before / "cost").iterdir()} == files


def test_cost_comes_to_what_it_came_to_before(attnscope, before):
    code, _, err = attnscope(*COST, "--out", before / "now", "--quiet")
    assert (code, err) == (0, "")
    for name in ("steps", "attribution"):
        now, then = (pd.read_csv(before / folder / f"{name}.csv") for folder in ("now", "cost"))
        pd.testing.assert_frame_equal(now, then)


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_of_a_finished_run_of_before_makes_nothing_again(attnscope, before, name):
    files = {path: path.read_bytes() for path in (before / name).rglob("*.p*") if path.is_file()}
    code, out, err = attnscope(*COMMANDS[name], "--out", before / name, "--quiet")
    assert (code, out.strip()) == (0, str(before / name)), err
    assert {path: path.read_bytes() for path in files} == files


@pytest.mark.usefixtures("no_figures")
def test_a_convergence_run_of_before_goes_on_after_its_first_prompt(attnscope, before):
    run = Run(before / "convergence")
    whole = run.read_table("records")
    (run.path / "records.parquet").unlink()
    run.write_part("records", whole[whole["prompt_id"] == 0])
    code, _, err = attnscope(*COMMANDS["convergence"], "--out", run.path, "--quiet")
    assert code == 0, err
    found = run.read_table("records")
    keys = ["prompt_id", "branch", "step", "site"]
    assert not found.duplicated(keys).any()
    assert len(found) == len(whole)
    one, two = (table[table["prompt_id"] == 0].reset_index(drop=True) for table in (found, whole))
    pd.testing.assert_frame_equal(one, two, check_categorical=False)


@pytest.mark.usefixtures("no_figures")
def test_a_benchmark_of_before_judges_its_images_anew_without_making_or_timing_any(
    attnscope, before
):
    run = Run(before / "bench")
    whole, times = run.read_table("images"), run.read_table("arms")
    for name in ("images.parquet", "frontier.parquet", "frontier.csv", "judged.json"):
        (run.path / name).unlink()
    kept = {path: path.stat().st_mtime_ns for path in (run.path / "images").rglob("*.png")}
    code, _, err = attnscope(*COMMANDS["bench"], "--out", run.path, "--quiet")
    assert code == 0, err
    assert len(kept) == 10
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    pd.testing.assert_frame_equal(run.read_table("arms"), times)
    found = run.read_table("images")
    assert {"arm", "path", "psnr", "ssim"} <= set(found)  # of before there are more columns
    pd.testing.assert_frame_equal(found, whole[list(found)], check_categorical=False)


@pytest.mark.usefixtures("no_figures")
def test_an_ablation_of_before_goes_on_with_the_arm_that_is_missing(attnscope, before):
    run = Run(before / "ablate")
    whole = run.read_table("images")
    lost = "toy-own-n4-seed0-SL-m=2"
    shutil.rmtree(run.path / "parts" / lost)
    for name in ("arms.parquet", "images.parquet", "judged.json"):
        (run.path / name).unlink()
    kept = {
        path: path.stat().st_mtime_ns
        for path in (run.path / "images").rglob("*.png")
        if path.parent.name != lost
    }
    code, _, err = attnscope(*COMMANDS["ablate"], "--out", run.path, "--quiet")
    assert code == 0, err
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    columns = ["key", "prompt_id", "frame", "path", "arm"]
    pd.testing.assert_frame_equal(run.read_table("images")[columns], whole[columns])
