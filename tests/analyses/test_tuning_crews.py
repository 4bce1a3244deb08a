"""Searches whose images others make: the same plans to the byte, and times that nobody disturbs."""

import json
from dataclasses import replace

import pandas as pd
import pytest
from scattered import Scattered

from attnscope.analyses.bench import run as benchmark
from attnscope.analyses.tuning import proof
from attnscope.analyses.tuning import run as tuning
from attnscope.cli.reports import tuning as reports
from attnscope.cost.counting import count_architecture
from attnscope.figures import saving
from attnscope.metrics.choosing import Quality
from attnscope.models import architectures
from attnscope.models.chosen import ChosenModel
from attnscope.runs.folder import Run
from attnscope.runs.prompts import Prompt
from attnscope.runs.sampling import settled

TEXTS = [
    f"a {size} {colour} circle" for size in ("small", "large") for colour in ("red", "blue", "gold")
]
PROMPTS = [Prompt(10 * number, text) for number, text in enumerate(TEXTS)]
ASKED = {"steps": 4, "guidance": 5.0, "seed": 0, "height": 32, "width": 32}


@pytest.fixture
def chosen(folder):
    return ChosenModel(
        str(folder), scheduler=None, device="cpu", dtype="auto", offline=True, allow_pickle=False
    )


@pytest.fixture
def search(chosen):
    """Searches in a directory, by batches of one."""
    settings = tuning.TuneSettings(
        **settled(chosen, ASKED), captions="six", prompts_digest="", budgets=("ssim>=0.5",),
        speedup=None, calibrated=2, measured=2, confirmed=2, most=1, modules=False,
    )  # fmt: skip
    counts = count_architecture(architectures.find(chosen.name, offline=True).resized(32, 32))

    def run(path, by=None, **more):
        return tuning.carry_out(
            path, chosen, replace(settings, by=by), counts, PROMPTS, TEXTS, batch_size=1, **more
        )

    return run


def files(run):
    """What a search leaves, but for what says who made it."""
    return {
        path.relative_to(run.path).as_posix(): path.read_bytes()
        for path in sorted(run.path.rglob("*"))
        if path.is_file() and path.name != "run.json"
    }


def test_others_find_the_plans_of_one_to_the_byte_and_go_on_when_they_were_stopped(
    search, tmp_path
):
    alone = files(search(tmp_path / "alone"))
    assert {
        "plan.json",
        "plans.csv",
        "candidates.csv",
        "confirmed.csv",
        "calibration.parquet",
    } <= alone.keys()
    crew = Scattered()
    assert files(search(tmp_path / "together", crew=crew)) == alone
    assert set(crew.made) == {"Looking", "Damaging", "Comparing"}
    measured = pd.read_parquet(tmp_path / "alone" / "calibration.parquet")
    parts = measured.drop_duplicates(["what", "group", "letter", "step", "prompt_id"])
    assert crew.made.count("Damaging") == len(parts)
    stopped, half = [], len(parts) // 2
    for most in (half, len(parts) - half + 5):  # in mid-calibration, and at the second plan
        stopped.append(Scattered(most))
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path / "stopped", crew=stopped[-1])
    assert files(search(tmp_path / "stopped", crew=Scattered())) == alone
    made = [[one.made.count(work) for work in ("Damaging", "Comparing")] for one in stopped]
    assert made == [[half - 1, 0], [len(parts) - half + 1, 3]]


def test_modules_are_timed_in_this_process_before_anybody_else_works(search, tmp_path, monkeypatch):
    crew, before = Scattered(most=1), []
    measure = tuning.measure_times

    def measured(calibration, *more, **options):
        before.append((list(crew.made), crew.closed, "pipe" in vars(calibration.model)))
        return measure(calibration, *more, **options)

    monkeypatch.setattr(tuning, "measure_times", measured)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "run", by="time", crew=crew)
    assert before == [([], 1, True)]
    assert crew.made == ["Damaging"]
    assert Run(tmp_path / "run").has_table("times")


def test_others_make_the_images_of_a_proof_and_are_let_go_before_its_times(
    search, chosen, tmp_path, monkeypatch
):
    run, crew, closed = search(tmp_path / "run"), Scattered(), []
    unseen = benchmark.Pictured([Prompt(5, "a ring"), Prompt(6, "a star")], ["a ring", "a star"])
    quality = Quality("none", None, None, None, False, "cpu", None, 2)
    asked = proof.settings_of(
        run, settled(chosen, ASKED, size=(32, 32)), chosen, rivals=(), repeats=1
    )
    timed = benchmark._time
    monkeypatch.setattr(
        benchmark, "_time", lambda *given: (closed.append(crew.closed), timed(*given))
    )
    found = architectures.find(chosen.name, offline=True).resized(32, 32)
    made = proof.prove(run, chosen, found, asked, unseen, quality, batch_size=1, crew=crew)
    assert closed == [1]
    images = list((made.path / "images").rglob("*.png"))
    assert crew.made == ["Contending"] * len(images)
    assert len(images) == 2 * made.read_table("images")["arm"].nunique() > 4
    drawn = []
    monkeypatch.setattr(saving, "save_figures", lambda run: drawn.append(run.path) or [])
    reports.document(run)
    assert drawn == [run.path, run.path / "proof"]


@pytest.fixture
def shards(attnscope, folder, tmp_path):
    """Makes those of a calibration."""
    (tmp_path / "four.txt").write_text("\n".join(TEXTS[:4]))

    def make(number, of, *more):
        return attnscope(
            "tune", "--model", folder, "--captions", tmp_path / "four.txt", "--steps", 4, "--height", 32,
            "--calibrate", 2, "--measure", 2, "--confirm", 0, "--most", 1, "--device", "cpu", "--budget", "ssim>=0.5",
            "--batch-size", 1, "--shard", f"{number}/{of}", "--out", tmp_path / f"shard-{number}", *more,
        )  # fmt: skip

    return make


def test_shards_of_a_calibration_are_joined_and_the_search_goes_on_from_them(
    attnscope, shards, chosen, tmp_path
):
    for number in (1, 2, 3):
        code, out, err = shards(number, 3)
        assert (code, err) == (0, "")
        assert f"shard {number}/3 is there; when all are: attnscope merge" in out
    paths = [tmp_path / f"shard-{number}" for number in (1, 2, 3)]
    code, _, err = attnscope("merge", *paths[:2], "--out", tmp_path / "joined")
    assert (code, "of 3 shards, 3 is missing" in err) == (2, True)
    code, out, err = attnscope("merge", *paths, "--out", tmp_path / "joined")
    assert (code, err) == (0, "")
    told = f"the same command with --out {tmp_path / 'joined'} and without --shard goes on"
    assert told in out
    code, out, _ = attnscope("merge", *paths, "--out", tmp_path / "joined", "--json")
    assert json.loads(out) == {"run": str(tmp_path / "joined"), "finished": False}

    joined = Run(tmp_path / "joined")
    settings = tuning.TuneSettings(**joined.settings | {"budgets": ("ssim>=0.5",)})
    counts = count_architecture(architectures.find(chosen.name, offline=True).resized(32, 32))
    captions = [Prompt(number, text) for number, text in enumerate(TEXTS[:4])]

    def search(path, crew):
        return tuning.carry_out(
            path, chosen, settings, counts, captions, TEXTS[:4], batch_size=1, crew=crew
        )

    there = pd.concat(joined.read_parts("calibration"))
    assert set(there["what"]) == {"module", "final", "guidance", "window"}
    crew = Scattered()
    found = search(joined.path, crew)
    whole = search(tmp_path / "whole", Scattered())
    assert files(found) == files(whole)
    measured = whole.read_table("calibration")
    further = measured[~measured["group"].isin(there["group"])]
    assert len(further) == len(measured) - len(there)
    assert crew.made.count("Damaging") == len(
        further.drop_duplicates(["group", "letter", "step", "prompt_id"])
    )


def test_a_part_that_a_shard_lacks_is_named_and_made_by_its_command(attnscope, shards, tmp_path):
    assert (shards(1, 2)[0], shards(2, 2)[0]) == (0, 0)
    paths = [tmp_path / f"shard-{number}" for number in (1, 2)]
    part = sorted((paths[1] / "parts").glob("calibration-*"))[3]
    kept = part.read_bytes()
    part.unlink()
    code, _, err = attnscope("merge", *paths, "--out", tmp_path / "joined")
    assert (code, err.count("\n")) == (2, 1)
    assert f"shard 2/2 in '{paths[1]}' lacks 1 of its batches (7): give its command again" in err
    assert shards(2, 2)[0] == 0
    assert part.read_bytes() == kept
    assert attnscope("merge", *paths, "--out", tmp_path / "joined", "-q")[0] == 0


def test_a_shard_is_not_proven(shards, tmp_path):
    code, _, err = shards(1, 2, "--prove", 2)
    assert (code, err.count("\n")) == (2, 1)
    assert "--prove: a shard ends with its part of the calibration; leave it out" in err
    assert not (tmp_path / "shard-1").exists()
