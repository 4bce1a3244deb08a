import json
import shutil

import pandas as pd
import pytest

from attnscope.analyses.tuning import candidates, times
from attnscope.plans.timetable import read

FOUR = "".join(
    f"a {size} {colour} circle\n" for size in ("small", "large") for colour in ("red", "blue")
)


def as_written(path):
    """The rows of a table, every field as text: pandas 2 may read a number's last digit amiss."""
    return pd.read_csv(path, dtype=str).to_dict("records")


@pytest.fixture
def four(tmp_path):
    path = tmp_path / "four.txt"
    path.write_text(FOUR)
    return path


def tune(folder, captions, out, *more):
    return ["tune", "--model", folder, "--captions", captions, "--steps", 5, "--height", 32,
            "--calibrate", 2, "--measure", 2, "--confirm", 0, "--most", 3, "--device", "cpu", "--out", out,
            *more]  # fmt: skip


def test_tune_leaves_a_plan_that_generate_carries_out(attnscope, folder, four, tmp_path):
    run = tmp_path / "run"
    four.write_text(FOUR + "a small gold star\na large gold star\n")
    more = ["--budget", "ssim>=0.5", "--modules", "--confirm", 2]
    code, out, err = attnscope(*tune(folder, four, run, *more))
    assert (code, err) == (0, "")
    assert "ssim>=0.5" in out
    assert "of them on 2 captions more" in out
    assert "the same command with --prove" in out
    plan = read(run / "plan.json")
    assert plan.about["budget"] == "ssim>=0.5"
    assert plan.about["measured"]["ssim"] >= 0.5
    (found,) = as_written(run / "plans.csv")
    assert float(found["ideal"]) == plan.about["ideal_speedup"] > 1
    again = plan.about["confirmed"]
    assert again == {"images": 2} | {
        name: float(found[f"confirmed_{name}"]) for name in again if name != "images"
    }
    assert 0.5 <= again["ssim"] != float(found["ssim"])
    assert float(as_written(run / "confirmed.csv")[-1]["ssim"]) == again["ssim"]
    assert {path.stem for path in (run / "figures").glob("*.png")} == {
        "staleness", "stale_modules", "candidates",
    }  # fmt: skip
    made = tmp_path / "made"
    code, out, err = attnscope("generate", "a small red circle", "--model", folder, "--steps", 5,
                               "--height", 32, "--plan", run / "plan.json", "--out", made)  # fmt: skip
    assert code == 0, err
    calls = pd.read_parquet(made / "calls.parquet").set_index("kind")
    assert calls["reused"].sum() > 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--reference", "nowhere"], "'nowhere'"),
        (
            ["--features", "none", "--questions", "q.csv", "--vqa", "org/model"],
            "q.csv has none for",
        ),
    ],
)
def test_what_a_proof_cannot_be_judged_by_is_refused_before_the_search(
    attnscope, folder, four, tmp_path, monkeypatch, more, said
):
    monkeypatch.chdir(tmp_path)
    columns = "item_id,text,proposition_id,dependency,tuple,question_natural_language"
    (tmp_path / "q.csv").write_text(
        f"{columns}\na,a cat,1,0,entity - whole (cat),Is there a cat?\n"
    )
    four.write_text("".join(f"a {c} {s}\n" for c in ("red", "blue") for s in range(30)))
    code, _, err = attnscope(*tune(folder, four, tmp_path / "run", "--prove", 20, *more))
    assert (code, said in err) == (2, True), err
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("undrawn")
def test_the_same_command_finds_the_same_plan_and_goes_on_where_it_was_killed(
    attnscope, folder, four, tmp_path, monkeypatch
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert attnscope(*tune(folder, four, whole))[0] == 0
    compared, count = candidates.Candidates.compared, 0

    def killed(self, plan):
        nonlocal count
        count += 1
        if count > 2:
            raise KeyboardInterrupt
        return compared(self, plan)

    monkeypatch.setattr(candidates.Candidates, "compared", killed)
    assert attnscope(*tune(folder, four, parts))[0] != 0
    assert len(list((parts / "parts").glob("candidates-*"))) == 2
    calibration = (parts / "calibration.parquet").read_bytes()
    again = []
    monkeypatch.setattr(
        candidates.Candidates,
        "compared",
        lambda self, plan: again.append(1) or compared(self, plan),
    )
    assert attnscope(*tune(folder, four, parts))[0] == 0
    assert (parts / "calibration.parquet").read_bytes() == calibration
    assert len(again) == len(pd.read_csv(whole / "candidates.csv")) - 2
    assert (parts / "plan.json").read_text() == (whole / "plan.json").read_text()


@pytest.mark.usefixtures("undrawn")
def test_a_search_by_time_measures_it_once_and_goes_on_by_the_same(
    attnscope, folder, four, tmp_path, monkeypatch
):
    run = tmp_path / "run"
    compared, count = candidates.Candidates.compared, 0

    def killed(self, plan):
        nonlocal count
        count += 1
        if count > 2:
            raise KeyboardInterrupt
        return compared(self, plan)

    monkeypatch.setattr(candidates.Candidates, "compared", killed)
    assert attnscope(*tune(folder, four, run, "--by", "time"))[0] != 0
    measured = (run / "times.parquet").read_bytes()
    monkeypatch.setattr(candidates.Candidates, "compared", compared)
    monkeypatch.setattr(times, "measure_times", lambda *_, **__: pytest.fail("measured again"))
    code, out, err = attnscope(*tune(folder, four, run, "--by", "time"))
    assert (code, err) == (0, "")
    assert "by time" in out
    assert (run / "times.parquet").read_bytes() == measured
    (row,) = as_written(run / "plans.csv")
    plan = read(run / "plan.json")
    assert plan.about["predicted"]["speedup_by_time"] == float(row["by_time"])
    assert plan.about["ideal_speedup"] == float(row["ideal"]) != float(row["by_time"])
    tried = pd.read_csv(run / "candidates.csv")
    assert (tried["by_time"] > 0).all()
    code, _, err = attnscope(*tune(folder, four, run))
    assert code == 2
    assert "by is 'time' there" in err


def test_a_budget_that_cannot_be_kept_names_the_nearest(attnscope, folder, four, tmp_path):
    code, _, err = attnscope(*tune(folder, four, tmp_path / "run", "--budget", "damage<=1e-30"))
    assert code == 2
    assert "damage<=1e-30" in err
    assert "the nearest" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--budget", "ssim<=0.9"], "cannot be kept to"),
        (["--budget", "ssim>=0.9", "--speedup", "2"], "give one of --budget, --speedup and"),
        (["--speedup", "0.5"], "choose more than 1"),
        (["--calibrate", "9"], "there are 4 captions"),
        (
            ["--confirm", "32"],
            "and 36 are needed: 2 to --calibrate, 2 to --measure and 32 to --confirm",
        ),
        (["--confirm", "1"], "--confirm 1 has no standard error: choose 0, or 2 or more"),
        (["--by", "luck"], "--by 'luck' is nothing to search by: choose macs or time"),
    ],
)
def test_what_cannot_be_tuned_is_said_in_one_line(attnscope, folder, four, tmp_path, more, message):
    code, _, err = attnscope(*tune(folder, four, tmp_path / "run", *more))
    assert code == 2
    assert message in err
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("undrawn")
def test_a_speed_is_reached_and_several_budgets_have_a_plan_each(attnscope, folder, four, tmp_path):
    run = tmp_path / "fast"
    code, out, err = attnscope(*tune(folder, four, run, "--speedup", "1.8", "--json"))
    assert (code, err) == (0, "")
    (plan,) = json.loads(out)["plans"]
    assert plan["ideal"] >= 1.8
    shutil.rmtree(run)
    code, out, err = attnscope(*tune(folder, four, run, "--budget", "damage<=0.5,damage<=0.9"))
    assert (code, err) == (0, "")
    files = pd.read_csv(run / "plans.csv")["file"].tolist()
    assert set(files) <= {"plan-damage-0.5.json", "plan-damage-0.9.json"}
    assert all((run / name).exists() for name in files)


@pytest.mark.usefixtures("undrawn")
def test_of_several_budgets_those_that_cannot_be_kept_are_told(attnscope, folder, four, tmp_path):
    run = tmp_path / "run"
    code, _, err = attnscope(*tune(folder, four, run, "--budget", "damage<=1e-30,damage<=0.9"))
    assert code == 0
    assert "no plan that saves anything keeps to damage<=1e-30" in err
    assert pd.read_csv(run / "plans.csv")["budget"].tolist() == ["damage<=0.9"]
