"""``--questions`` and ``--vqa`` of ablate, bench --frontier and generate --judge."""

import json

import answering
import pandas as pd
import pytest

from attnscope.runs.folder import Run

COLUMNS = "item_id,text,proposition_id,dependency,tuple,question_natural_language"
FILE = (
    COLUMNS,
    "a,a small red circle on a white background,1,0,entity - whole (circle),Is there a circle?",
    'a,a small red circle on a white background,2,1,"attribute - color (circle, red)",Is the circle red?',
    "b,a large blue star on a black background,1,0,global - (black),Is the background black?",
)


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch):
    """They are drawn, and looked at, by other tests."""
    monkeypatch.setattr("attnscope.figures.saving.save_figures", lambda run: [])


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "dpg.csv"
    path.write_text("\n".join(FILE) + "\n")
    return path


def test_generate_judges_by_questions_of_its_captions_and_asks_nothing_twice(attnscope, tmp_path):
    run = tmp_path / "run"
    command = ["generate", "--limit", 2, "--steps", 4, "--tgate", "m=2,k=2", "--compare", "--judge",
               "--questions", "scenes", "--vqa", "reader", "--device", "cpu", "--out", run]  # fmt: skip
    code, out, err = attnscope(*command)
    assert (code, err) == (0, "")
    assert "DPG score ↑" in out
    assert "DPG-Bench (Hu et al. 2024), answered by reader" in out
    quality = pd.read_parquet(run / "quality.parquet").set_index(["arm", "measure"])
    answers = Run(run).read_table("answers")
    for arm in ("plan", "baseline"):
        own = answers[answers["key"] == arm].groupby("prompt_id")["counted"].mean()
        assert quality.loc[(arm, "dpg"), "value"] == pytest.approx(100 * own.mean())
    difference = quality.loc[("plan", "dpg"), "difference"]
    values = [quality.loc[(arm, "dpg"), "value"] for arm in ("plan", "baseline")]
    assert difference == pytest.approx(values[0] - values[1])
    before = (run / "answers.parquet").stat().st_mtime_ns
    told = json.loads(attnscope(*command, "--json")[1])
    assert {row["measure"] for row in told["quality"]} >= {"dpg", "dpg_entity", "all", "psnr"}
    assert (run / "answers.parquet").stat().st_mtime_ns == before
    code, _, _ = attnscope("report", run, "--out", tmp_path / "page.html", "--quiet")
    assert code == 0
    shown = (tmp_path / "page.html").read_text("utf-8")
    assert "How good they are" in shown
    assert "DPG attribute ↑" in shown


def test_a_file_brings_its_captions_and_a_model_answers(attnscope, folder, questions, tmp_path):
    model = answering.vilt(tmp_path)
    run = tmp_path / "run"
    code, out, err = attnscope(
        "ablate", "--model", folder, "--steps", 4, "--gate", 2, "--height", 32, "--width", 32,
        "--device", "cpu", "--questions", questions, "--vqa", model, "--out", run,
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "DPG attribute" in out
    assert list(pd.read_parquet(run / "prompts.parquet")["text"]) == [
        "a small red circle on a white background", "a large blue star on a black background",
    ]  # fmt: skip
    assert Run(run).settings["captions"] == "dpg.csv"
    arms = pd.read_parquet(run / "arms.parquet")
    assert {"dpg", "dpg_entity", "dpg_attribute", "dpg_global"} <= set(arms["measure"])
    assert len(Run(run).read_table("answers")) == 4 * 3


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["ablate", "--questions", "scenes"], "--questions needs somebody who answers: give --vqa"),
        (["ablate", "--vqa", "reader"], "--vqa answers questions: give --questions"),
        (["generate", "--questions", "scenes", "--vqa", "reader"], "--questions and --vqa: for --judge"),
        (["bench", "--questions", "scenes", "--vqa", "reader"], "--questions and --vqa: for --frontier"),
        (["ablate", "--questions", "no.csv", "--vqa", "reader"], "--questions 'no.csv' is no file"),
        (["generate", "a dog", "--judge", "--questions", "scenes", "--vqa", "reader"],
         "--questions scenes makes questions of captions of the embedded world: 'a dog' is not a caption"),
        (["tune", "--prove", 2, "--questions", "no.csv", "--vqa", "reader"], "--questions 'no.csv' is no"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_told_in_one_line_before_images_are_made(
    attnscope, tmp_path, command, told
):
    code, out, err = attnscope(*command, "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("error:") == 1
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_a_model_that_is_not_there_and_a_wrong_file_stop_a_run_before_it_begins(
    attnscope, folder, questions, captions, tmp_path
):
    common = ["ablate", "--model", folder, "--steps", 4, "--gate", 2, "--device", "cpu",
              "--height", 32, "--width", 32, "--out", tmp_path / "run"]  # fmt: skip
    code, _, err = attnscope(*common, "--questions", questions, "--vqa", tmp_path / "nothing")
    assert code == 2
    assert "--vqa: no model at" in err
    code, _, err = attnscope(*common, "--questions", questions, "--vqa", "reader")
    assert code == 2
    assert "--vqa reader reads images of the embedded world alone" in err
    questions.write_text("\n".join((*FILE[:1], FILE[2])) + "\n")
    code, _, err = attnscope(*common, "--questions", questions, "--vqa", answering.vilt(tmp_path))
    assert code == 2
    assert "line 2: question 2 depends on 1, which item 'a' does not ask" in err
    questions.write_text("\n".join(FILE[:3]) + "\n")
    code, _, err = attnscope(
        *common, "--captions", captions, "--questions", questions, "--vqa", str(tmp_path)
    )
    assert code == 2
    assert "has none for 1 of 2 captions" in err
    assert not (tmp_path / "run").exists()


def test_a_benchmark_has_answers_beside_its_times(attnscope, folder, questions, tmp_path):
    run = tmp_path / "run"
    code, out, err = attnscope(
        "bench", "--model", folder, "--steps", 4, "--tgate", "m=2", "--height", 32, "--width", 32,
        "--repeats", 1, "--rivals", "none", "--device", "cpu", "--frontier", "--questions", questions,
        "--vqa", answering.vilt(tmp_path), "--out", run,
    )  # fmt: skip
    assert (code, err) == (0, "")
    frontier = pd.read_parquet(run / "frontier.parquet")
    assert "dpg" in set(frontier["measure"])
    assert frontier.loc[frontier["measure"] == "dpg", "n"].eq(2).all()
    assert "answered by" in out
