"""Searches whose images others make: the same plans to the byte, and times that nobody disturbs."""

import json

import pandas as pd
import pytest
from scattered import Scattered

from attnscope.analyses.bench import run as benchmark
from attnscope.analyses.tuning import run as tuning
from attnscope.runs import on_ray
from attnscope.runs.folder import Run

CAPTIONS = "".join(f"a {size} {colour} circle\n" for size in ("small", "large") for colour in ("red", "blue"))  # fmt: skip


@pytest.fixture
def four(tmp_path):
    path = tmp_path / "four.txt"
    path.write_text(CAPTIONS)
    return path


@pytest.fixture
def tune(attnscope, folder, four):
    """Searches; returns what the command said."""

    def run(out, *more):
        return attnscope(
            "tune", "--model", folder, "--captions", four, "--steps", 5, "--height", 32, "--calibrate", 2,
            "--measure", 2, "--most", 2, "--device", "cpu", "--budget", "ssim>=0.5", "--out", out, *more
        )  # fmt: skip

    return run


@pytest.fixture
def workers(monkeypatch):
    """Stands for those of --workers: what is called hires them anew."""

    def hire(**options):
        crew = Scattered(**options)
        monkeypatch.setattr(on_ray, "RayCrew", lambda *_: crew)
        return crew

    return hire


def files(run):
    """What does not depend on who made it: neither times, nor what is drawn."""
    return {
        path.relative_to(run).as_posix(): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.suffix in (".json", ".csv", ".parquet") and path.name != "run.json"
    }


def test_workers_find_the_plans_of_one_to_the_byte_and_go_on_when_they_were_stopped(
    tune, workers, tmp_path
):
    assert tune(tmp_path / "alone")[0] == 0
    alone = files(tmp_path / "alone")
    assert {"plan.json", "plans.csv", "candidates.csv", "calibration.parquet"} <= alone.keys()
    crew = workers()
    code, _, err = tune(tmp_path / "together", "--workers", 2)
    assert (code, err) == (0, "")
    assert files(tmp_path / "together") == alone
    assert set(crew.made) == {"Looking", "Damaging", "Comparing"}
    calibration = crew.made.count("Damaging")
    assert calibration == len(
        pd.read_parquet(tmp_path / "alone" / "calibration.parquet")
        .drop_duplicates(["what", "group", "letter", "step", "prompt_id"])
    )  # fmt: skip
    stopped, runs = tmp_path / "stopped", []
    for most in (calibration // 2, calibration, calibration + 5, 10**9):
        runs.append(workers(most=most))
        code, _, err = tune(stopped, "--workers", 2)
    assert (code, err) == (0, "")
    assert files(stopped) == alone
    assert not list((stopped / "parts").glob("*"))
    assert sum(one.made.count("Damaging") for one in runs) == calibration


def test_modules_are_timed_in_this_process_before_anybody_else_works(
    tune, workers, tmp_path, monkeypatch
):
    crew, before = workers(), []
    measure = tuning.measure_times

    def measured(calibration, *more, **options):
        before.append((list(crew.made), crew.closed, calibration.model.here))
        return measure(calibration, *more, **options)

    monkeypatch.setattr(tuning, "measure_times", measured)
    code, _, err = tune(tmp_path / "run", "--by", "time", "--workers", 2)
    assert (code, err) == (0, "")
    assert before == [([], 1, "cpu")]
    assert set(crew.made) == {"Damaging", "Comparing"}
    assert Run(tmp_path / "run").has_table("times")


def test_others_make_the_images_of_a_proof_and_are_let_go_before_its_times(
    tune, workers, tmp_path, monkeypatch
):
    proven = ["--prove", 2, "--rivals", "none", "--repeats", 1, "--features", "none"]
    assert tune(tmp_path / "alone", *proven)[0] == 2  # of captions that the search has seen
    captions = tmp_path / "six.txt"
    captions.write_text(f"{CAPTIONS}a ring\na green star\n")
    proven += ["--captions", captions]
    code, out, err = tune(tmp_path / "alone", *proven)
    assert (code, err) == (0, "")
    crew, closed = workers(), []
    time = benchmark._time
    monkeypatch.setattr(benchmark, "_time", lambda *_: closed.append(crew.closed) or time(*_))
    code, _, err = tune(tmp_path / "together", *proven, "--workers", 2)
    assert (code, err) == (0, "")
    assert closed == [1]
    assert "Contending" in crew.made
    images = [
        {
            path.relative_to(tmp_path / one).as_posix().replace(f"-{one}-", "-"): path.read_bytes()
            for path in (tmp_path / one / "proof" / "images").rglob("*.png")
        }
        for one in ("alone", "together")
    ]
    assert len(images[0]) > 4
    assert images[0] == images[1]
    figure = tmp_path / "alone" / "proof" / "figures" / "frontier.png"
    assert f"figure: {figure} and .pdf" in out
    assert figure.exists()


def test_shards_of_a_calibration_are_joined_and_the_search_goes_on_from_them(
    attnscope, tune, tmp_path
):
    assert tune(tmp_path / "whole", "--modules")[0] == 0
    paths = [tmp_path / f"shard-{number}" for number in (1, 2, 3)]
    for number, path in enumerate(paths, 1):
        code, out, err = tune(path, "--modules", "--shard", f"{number}/3")
        assert (code, err) == (0, "")
        assert f"shard {number}/3 is there; when all are: attnscope merge" in out
        assert not Run(path).has_table("plans")
    joined = tmp_path / "joined"
    code, out, _ = attnscope("merge", *paths[:2], "--out", joined)
    assert code == 2
    code, out, err = attnscope("merge", *paths, "--out", joined)
    assert (code, err) == (0, "")
    assert f"the same command with --out {joined} and without --shard goes on" in out
    code, out, _ = attnscope("merge", *paths, "--out", joined, "--json")
    assert json.loads(out) == {"run": str(joined), "finished": False}
    whole = pd.read_parquet(tmp_path / "whole" / "calibration.parquet")
    there = pd.concat(Run(joined).read_parts("calibration"))
    assert set(there["what"]) == {"module", "final", "guidance", "gate", "window"}
    assert 0 < len(whole) - len(there) == (~whole["group"].isin(there["group"])).sum()
    assert tune(joined, "--modules")[0] == 0
    assert files(joined) == files(tmp_path / "whole")
    code, out, _ = attnscope("merge", *paths, "--out", joined, "--json")
    assert (code, len(json.loads(out)["plans"])) == (0, 1)


def test_a_part_that_a_shard_lacks_is_named(attnscope, tune, tmp_path):
    paths = [tmp_path / f"shard-{number}" for number in (1, 2)]
    for number, path in enumerate(paths, 1):
        assert tune(path, "--shard", f"{number}/2")[0] == 0
    parts = sorted((paths[1] / "parts").glob("calibration-*"))
    kept = parts[3].read_bytes()
    parts[3].unlink()
    code, _, err = attnscope("merge", *paths, "--out", tmp_path / "joined")
    assert (code, err.count("\n")) == (2, 1)
    assert f"shard 2/2 in '{paths[1]}' lacks 1 of its batches (7): give its command again" in err
    assert tune(paths[1], "--shard", "2/2")[0] == 0
    assert parts[3].read_bytes() == kept
    assert attnscope("merge", *paths, "--out", tmp_path / "joined", "-q")[0] == 0
