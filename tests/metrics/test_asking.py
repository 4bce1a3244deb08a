"""Asking about the images of a run: tables, what is kept, what is asked again."""

import dataclasses
from pathlib import Path

import answering
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from attnscope.errors import InputError
from attnscope.metrics import judging
from attnscope.metrics.choosing import Quality
from attnscope.metrics.features import Extractor
from attnscope.metrics.judging import Judges, judge
from attnscope.metrics.questions.choosing import choose
from attnscope.metrics.questions.vqa.reader import WorldReader
from attnscope.metrics.summaries import summarise
from attnscope.models.names import SHAPES_FOLDER
from attnscope.runs.folder import Run
from attnscope.shapes.scenes import Scene, Thing, caption, generate, render

COUNT = 20


def scenes(count=COUNT):
    """Of two things each, so that every question has its caption."""
    found = (scene for scene in generate("test", 11) if scene.relation is not None)
    return [next(found) for _ in range(count)]


def recoloured(scene):
    """The same scene with its first thing in a colour that nothing in it has."""
    first, second = scene.things
    other = next(c for c in ("green", "pink", "cyan") if c not in (first.color, second.color))
    return Scene((Thing(first.size, first.fill, other, first.shape), second), scene.relation,
                 scene.background)  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """Arm S shows what captions ask for; in S^L the first thing has another colour."""
    run = Run.open(tmp_path / "run", "ablate", Judges())
    rows = []
    for trajectory in ("S", "S^L"):
        for number, scene in enumerate(scenes()):
            shown = scene if trajectory == "S" else recoloured(scene)
            path = f"{trajectory[-1]}-{number}.png"
            Image.fromarray(render(shown, np.random.default_rng(number))).save(run.path / path)
            rows.append({"model": "toy", "scheduler": "dpm", "steps": 4, "noise_scale": 1.0, "seed": 0,
                         "arm": trajectory, "key": trajectory, "trajectory": trajectory, "gate": None,
                         "interval": None, "reused_steps": 0, "prompt_id": number, "frame": 0,
                         "path": path})  # fmt: skip
    return run, pd.DataFrame(rows), {n: caption(scene) for n, scene in enumerate(scenes())}


def quality(texts, questions="scenes", vqa="reader", **options):
    asked = choose(questions).of(list(texts.values()))
    given = {"world": SHAPES_FOLDER, **options}
    return Quality("none", None, None, None, False, "cpu", count=len(texts), questions=asked,
                   vqa=vqa, **given)  # fmt: skip


def test_a_wrong_colour_costs_its_question_and_what_the_table_says_of_it(run):
    run, table, texts = run
    measured, _ = judge(run, table, texts, quality(texts).judges())
    arms = summarise(measured).set_index(["trajectory", "measure"])
    for name in ("dpg", "dpg_global", "dpg_entity", "dpg_attribute", "dpg_relation", "dpg_other"):
        assert arms.loc[("S", name), "value"] >= 95  # the reader errs now and then
        assert arms.loc[("S", name), "n"] == COUNT
    answers = run.read_table("answers")
    lost = answers[~answers["right"]].groupby(["key", "prompt_id"])["asked"].agg(list)
    told = 0
    for number, scene in enumerate(scenes()):
        first, second = scene.things
        if first.shape != second.shape and ("S", number) not in lost:
            assert lost["S^L", number] == [f"Is the {first.shape} {first.color}?"]
            told += 1
    assert told > COUNT / 2
    value = arms.loc[("S^L", "dpg_attribute")]
    assert value["difference"] < 0
    assert value["difference_high"] < 0
    # the value is that of the answers themselves, and so is what the benchmark prints
    own = answers[answers["key"] == "S^L"]
    images = own.groupby("prompt_id")["counted"].mean()
    assert arms.loc[("S^L", "dpg"), "value"] == pytest.approx(100 * images.mean())
    told = run.read_table("categories").set_index(["key", "category"])["value"]
    pooled = own.loc[own["category"] == "attribute", "right"].mean()
    assert told["S^L", "attribute"] == pytest.approx(100 * pooled)
    assert told["S^L", "all"] == pytest.approx(100 * images.mean())


def test_answers_are_kept_and_asked_once(run, monkeypatch):
    run, table, texts = run
    table, texts = table[table["prompt_id"] < 8], {n: texts[n] for n in range(8)}
    monkeypatch.setattr(judging, "_AT_ONCE", 4)
    given = quality(texts).judges()
    calls = []
    answer = WorldReader.answer

    def stopping(self, images, asked):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(len(images))
        return answer(self, images, asked)

    monkeypatch.setattr(WorldReader, "answer", stopping)
    with pytest.raises(KeyboardInterrupt):
        judge(run, table, texts, given)
    assert calls == [4, 4, 4]
    assert not run.has_table("answers")
    monkeypatch.setattr(
        WorldReader, "answer",
        lambda self, images, asked: calls.append(-len(images)) or answer(self, images, asked),
    )  # fmt: skip
    stopped, _ = judge(run, table, texts, given)
    assert calls == [4, 4, 4, -4]
    pd.testing.assert_frame_equal(judge(run, table, texts, given)[0], stopped)
    assert len(calls) == 4
    monkeypatch.setattr(WorldReader, "answer", answer)
    whole, _ = judge(run, table, texts, quality(texts, "noun-phrases").judges())
    assert "blip_vqa" in whole
    assert "dpg" not in whole
    asked = run.read_table("answers")  # other questions, asked anew
    assert set(asked["category"]) == {"phrase"}
    judge(run, table, texts, Judges())
    assert not run.has_table("answers")
    assert not run.has_table("categories")


@pytest.mark.parametrize("kept", ["answers/*/*.parquet", "features/reader/*.npy"])
def test_what_was_kept_and_is_cut_off_is_named_and_left(run, kept):
    run, table, texts = run
    table, texts = table[table["prompt_id"] < 4], {n: texts[n] for n in range(4)}
    given = dataclasses.replace(quality(texts).judges(), extractor=Extractor("reader"))
    judge(run, table, texts, given)
    path = min(run.path.glob(kept))
    for content in (path.read_bytes()[:-20], b""):
        path.write_bytes(content)
        with pytest.raises(
            InputError, match=r"is damaged .* remove it and give the same 'ablate'"
        ) as told:
            judge(run, table, texts, given)
        assert path.name in str(told.value)
        assert "\n" not in str(told.value)
        assert path.read_bytes() == content
    path.unlink()
    judge(run, table, texts, given)
    assert path.is_file()


def test_a_model_answers_about_the_same_images(run, tmp_path):
    run, table, texts = run
    table = table.groupby("key").head(3)
    texts = {number: texts[number] for number in range(3)}
    folder = answering.vilt(tmp_path)
    asked = quality(texts, vqa=folder, world=None)
    measured, _ = judge(run, table, texts, asked.judges())
    assert measured["dpg"].between(0, 100).all()
    answers = run.read_table("answers")
    model = asked.judges().asking.answerer
    row = answers.iloc[7]
    from attnscope.metrics.questions.base import Ask
    from attnscope.metrics.questions.vqa.base import Asked

    image = Image.open(run.path / table.iloc[row["prompt_id"]]["path"]).convert("RGB")
    alone = model.answer([image], [Asked(0, Ask(row["asked"]))])
    assert alone.probability[0] == pytest.approx(row["probability"], abs=1e-5)
    assert run.read_table("categories")["vqa"].unique().tolist() == [folder]


def test_a_run_is_judged_anew_by_other_questions_or_somebody_else(tmp_path):
    texts = {n: caption(scene) for n, scene in enumerate(scenes(4))}
    plain = Quality("none", None, None, None, False, "cpu", SHAPES_FOLDER, 4)
    assert "questions" not in plain.about  # runs of before are known by what they were judged by
    folder = answering.vilt(tmp_path)
    abouts = [plain.about, quality(texts).about, quality(texts, "noun-phrases").about,
              quality(texts, vqa=folder).about, quality(dict(list(texts.items())[:3])).about]  # fmt: skip
    assert all(a != b for n, a in enumerate(abouts) for b in abouts[:n])
    before = quality(texts, vqa=folder).about
    Path(folder, "config.json").touch()
    assert quality(texts, vqa=folder).about != before


def test_questions_need_somebody_who_can_answer():
    texts = {n: caption(scene) for n, scene in enumerate(scenes(2))}
    with pytest.raises(InputError, match="`questions` needs somebody who answers"):
        quality(texts, vqa=None)
    with pytest.raises(InputError, match="`vqa='reader'` reads images of the embedded world alone"):
        quality(texts, world=None)
    with pytest.raises(InputError, match="`vqa` answers questions: give `questions`"):
        Quality("none", None, None, None, False, "cpu", None, 2, vqa="reader")


def test_the_reader_is_not_asked_about_other_worlds(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text('{"prompt": "a dog", "phrases": ["a dog"]}\n')
    asked = quality({0: "a dog"}, str(path))
    with pytest.raises(InputError, match=r"its own world alone, .* not 'a dog\?'"):
        asked.judges()


def test_frames_of_a_video_are_asked_one_by_one_and_count_as_one(run):
    run, table, texts = run
    table = table[table["prompt_id"] < 4]
    videos = pd.concat([table.assign(frame=frame) for frame in range(2)])
    videos = videos.sort_values(["key", "prompt_id", "frame"], ignore_index=True)
    few = {number: texts[number] for number in range(4)}
    measured, _ = judge(run, videos, few, quality(few).judges())
    assert len(run.read_table("answers").groupby(["key", "prompt_id", "frame"])) == 16
    alone = summarise(judge(run, table, few, quality(few).judges())[0])
    both = summarise(measured)
    for name in ("dpg", "dpg_attribute"):
        found = [t.loc[t["measure"] == name, ["value", "n"]].to_numpy() for t in (alone, both)]
        np.testing.assert_allclose(*found)
