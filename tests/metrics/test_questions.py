"""Questions: what files say, what scenes are asked, and what answers come to, by each benchmark's definition."""

import dataclasses
import json
from itertools import islice, pairwise

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from attnscope.errors import InputError
from attnscope.metrics.questions import bindings, compbench, dpg, geneval2, world
from attnscope.metrics.questions.base import Item, Question
from attnscope.metrics.questions.choosing import choose
from attnscope.metrics.questions.vqa.base import Asked
from attnscope.metrics.questions.vqa.reader import WorldReader
from attnscope.models.names import SHAPES_FOLDER
from attnscope.shapes.scenes import Scene, Thing, caption, generate, render, scene_of

HEADER = (
    "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,"
    "question_natural_language"
)
DPG_ROWS = (
    'a,"A red car, parked.",,1,0,entity,whole,entity - whole (car),Is there a car?',
    'a,"A red car, parked.",,2,1,attribute,color,"attribute - color (car, red)",Is the car red?',
    'a,"A red car, parked.",,3,"1, 2",attribute,state,"attribute - state (car, parked)",Is it parked?',
    "b,A foggy day,,1,0,global,,global - (foggy day),Is it a foggy day?",
)
GENEVAL = {
    "prompt": "two metal toys",
    "atom_count": 3,
    "vqa_list": [["How many toys are in the image?", "two"], ["Are the toys metal?", "Yes"],
                 ["Are there any toys in the image?", "Yes"]],
    "skills": ["count", "attribute", "object"],
}  # fmt: skip
TWO = Scene(
    (Thing("large", "striped", "red", "circle"), Thing("small", "plain", "blue", "square")),
    "above",
    "gray",
)


def written(path, *lines):
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def table(path, *rows):
    return written(path, HEADER, *(rows or DPG_ROWS))


def answers(questionnaire, right, probability=None):
    """A table of answers of one arm, an image per caption."""
    rows = []
    for number, (item, own) in enumerate(zip(questionnaire.items.values(), right, strict=True)):
        counted = questionnaire.benchmark.counted(item, np.array(own, bool))
        given = own if probability is None else probability[number]
        for question, *values in zip(item.questions, given, own, counted, strict=True):
            rows.append((number, 0, question.category, *values, item.atoms))
    columns = ["prompt_id", "frame", "category", "probability", "right", "counted", "atoms"]
    return pd.DataFrame(rows, columns=columns)


def test_dpg_bench_is_read_row_by_row(tmp_path):
    found = dpg.read(table(tmp_path / "dpg.csv"))
    assert list(found.items) == ["A red car, parked.", "A foggy day"]
    first, second = found.items.values()
    assert [q.parents for q in first.questions] == [(), (1,), (1, 2)]
    assert [q.category for q in first.questions] == ["entity", "attribute", "attribute"]
    assert second.questions == (Question(1, "Is it a foggy day?", "global"),)


def of_the_program(rows, given):
    """``compute_dpg_bench.py``, written out for one image: the score, and what categories count."""
    scores = dict(zip((number for number, _ in rows), map(float, given), strict=True))
    as_given = dict(scores)
    for number, parents in rows:
        if any(parent and scores[parent] == 0 for parent in parents):
            scores[number] = 0.0
    return sum(scores.values()) / len(scores), list(as_given.values())


def test_a_child_counts_only_if_its_parents_do_and_categories_count_answers_as_given(tmp_path):
    found = dpg.read(table(tmp_path / "dpg.csv"))
    item = found.items["A red car, parked."]
    rows = [(q.number, q.parents) for q in item.questions]
    for bits in range(8):
        right = np.array([bits >> place & 1 for place in range(3)], bool)
        score, given = of_the_program(rows, right)
        measures = found.benchmark.score(item, right.astype(float), right)
        assert measures["dpg"] == pytest.approx(100 * score)
        assert measures["dpg_entity"] == 100 * given[0]
        assert measures["dpg_attribute"] == pytest.approx(100 * np.mean(given[1:]))
        assert np.isnan(measures["dpg_relation"])
    # no car, and yet it is red: its grandchild does not count either
    assert found.benchmark.score(item, np.zeros(3), np.array([False, True, True]))["dpg"] == 0


def test_dpg_prints_captions_alike_and_questions_of_a_category_alike(tmp_path):
    more = 'c,Two cars,,1,0,attribute,color,"attribute - color (cars, red)",Are they red?'
    found = dpg.read(table(tmp_path / "dpg.csv", *DPG_ROWS, more))
    told = found.benchmark.printed(answers(found, [[1, 1, 0], [1], [0]]))
    assert told["all"] == pytest.approx(100 * (2 / 3 + 1 + 0) / 3)
    assert told["attribute"] == pytest.approx(
        100 * 1 / 3
    )  # of three questions, not of two captions
    assert told["global"] == 100
    assert "relation" not in told


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ((DPG_ROWS[0], DPG_ROWS[2]), "line 3: question 3 depends on 2, which item 'a' does not ask"),
        ((DPG_ROWS[0].replace(",1,0,", ",1,1,"),), "line 2: question 1 depends on itself"),
        ((DPG_ROWS[0].replace(",1,0,", ",x,0,"),), "line 2: proposition_id 'x' is no whole number"),
        ((DPG_ROWS[0].replace(",1,0,", ",1,,"),), "line 2: dependency is empty"),
        ((DPG_ROWS[0].replace(",1,0,", ',1,"0;1",'),), "line 2: dependency '0;1' is no whole number"),
        ((DPG_ROWS[0].replace("Is there a car?", ""),), "question_natural_language is empty"),
        ((DPG_ROWS[0], DPG_ROWS[0]), "line 3: proposition_id 1 stands twice in its item"),
        ((DPG_ROWS[0], DPG_ROWS[3], DPG_ROWS[1]), "line 4: item 'a' goes on after another one"),
        ((DPG_ROWS[0], DPG_ROWS[1].replace("parked", "gone")), "line 3: item 'a' has another text"),
        ((DPG_ROWS[3], DPG_ROWS[3].replace("b,", "c,", 1)), "line 3: item 'c' has the text of item 'b'"),
        ((DPG_ROWS[3].replace("global", "mood"),), "line 2: category 'mood' is unknown"),
        ((DPG_ROWS[3][:-9],) * 0 + ("b,A foggy day",), "line 2 has 2 fields and the header has 9"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_dpg_bench_is_told_by_line(tmp_path, rows, told):
    with pytest.raises(InputError) as refused:
        choose(str(table(tmp_path / "dpg.csv", *rows)))
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_geneval_2_is_read_and_averaged_as_its_program_does(tmp_path):
    path = written(
        tmp_path / "g.jsonl", json.dumps(GENEVAL), "", json.dumps(GENEVAL | {"prompt": "b"})
    )
    found = choose(str(path)).of(["two metal toys"])
    item = found.items["two metal toys"]
    assert item.atoms == 3
    assert [q.answer for q in item.questions] == ["two", "yes", "yes"]
    p = np.array([0.5, 0.9, 0.2])
    scores = found.benchmark.score(item, p, p > 0.5)
    assert scores["tifa_am"] == pytest.approx(100 * p.mean())
    assert scores["tifa_gm"] == pytest.approx(100 * (0.5 * 0.9 * 0.2) ** (1 / 3))
    assert scores["tifa_count"] == pytest.approx(50)
    assert np.isnan(scores["tifa_verb"])
    assert found.benchmark.score(item, p * [0, 1, 1], p > 0.5)["tifa_gm"] == 0
    both = choose(str(path)).of(["two metal toys", "b"])
    told = both.benchmark.printed(answers(both, [[1, 1, 0]] * 2, [p, p / 2]))
    gm = 100 * (0.5 * 0.9 * 0.2) ** (1 / 3)
    assert told["all, GM"] == told["3 atoms, GM"] == pytest.approx(0.75 * gm)
    assert told["attribute"] == pytest.approx(100 * 0.75 * 0.9)


def test_a_number_may_be_written_in_six_ways():
    assert geneval2.ways("three") == ("three", " three", "Three", " Three", "3", " 3")
    ask = geneval2.SoftTifa().ask(Question(1, "How many toys are there?", "count", answer="ten"))
    assert ask.wanted[-2:] == ("10", " 10")
    assert (ask.against, ask.hint) == ((), "Answer in one word.")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"skills": ["count"]}, "line 2: 3 questions and 1 skills"),
        ({"skills": ["count", "mood", "object"]}, "question 2: skill 'mood' is unknown"),
        ({"vqa_list": [["How many?", "many"]] * 3}, "question 1: answer 'many' is unknown"),
        ({"vqa_list": [["Is it?", "No"]] * 3}, "question 1: answer 'No' is unknown (choose yes)"),
        ({"vqa_list": ["Is it?"] * 3}, "question 1 is no pair"),
        ({"vqa_list": []}, "line 2: vqa_list and skills"),
        ({"atom_count": "3"}, "line 2: atom_count '3' is no number from 1"),
        ({"prompt": ""}, "line 2: prompt is no text"),
        ({"prompt": "a"}, "line 2: the prompt 'a' stands twice"),
        (None, "line 2 has no 'atom_count'"),
    ],
)
def test_what_is_wrong_with_a_geneval_2_is_told_by_line(tmp_path, change, told):
    entry = {"prompt": "b"} if change is None else GENEVAL | change
    path = written(tmp_path / "g.jsonl", json.dumps(GENEVAL | {"prompt": "a"}), json.dumps(entry))
    with pytest.raises(InputError) as refused:
        choose(str(path))
    assert told in str(refused.value)


def test_the_phrases_of_a_caption_are_multiplied(tmp_path):
    lines = [{"prompt": "a green bench and a red car", "phrases": ["a green bench", "the left", "a red car"]},
             {"prompt": "many", "phrases": [f"thing {n}" for n in range(12)]},
             {"prompt": "swimming", "phrases": []}]  # fmt: skip
    found = choose(str(written(tmp_path / "p.jsonl", *map(json.dumps, lines)))).of(
        [line["prompt"] for line in lines]
    )
    bench, many, none = found.items.values()
    assert [q.text for q in bench.questions] == ["a green bench?", "a red car?"]
    assert len(many.questions) == compbench.MOST == 8
    assert found.benchmark.score(bench, np.array([0.5, 0.4]), np.array([0, 0], bool)) == {
        "blip_vqa": pytest.approx(0.2)
    }
    assert found.benchmark.score(none, np.empty(0), np.empty(0, bool)) == {"blip_vqa": 1.0}


def test_noun_phrases_of_scenes_need_no_parser_and_those_of_other_captions_say_what_to_install():
    found = choose("noun-phrases").of([caption(TWO)])
    (item,) = found.items.values()
    assert [q.text for q in item.questions] == [
        "a large striped red circle?",
        "a small blue square?",
    ]
    try:
        import spacy  # noqa: F401
    except ImportError:
        with pytest.raises(InputError, match="pip install spacy"):
            choose("noun-phrases").of(["a dog on a chair"])


def bound(scene):
    return {(q.category, q.text) for q in bindings.questions(scene)}


def test_a_scene_is_of_every_category_that_t2i_compbench_asks_for():
    assert bound(TWO) == {
        ("color", "a red circle?"), ("color", "a blue square?"),
        ("shape", "a circle?"), ("shape", "a square?"),
        ("texture", "a striped circle?"), ("texture", "a plain square?"),
        ("spatial", "Is the circle above the square?"),
    }  # fmt: skip
    alone = Scene(TWO.things[:1], None, "gray")
    assert {category for category, _ in bound(alone)} == {"color", "shape", "texture"}
    alike = dataclasses.replace(
        TWO, things=(TWO.things[0], dataclasses.replace(TWO.things[1], shape="circle"))
    )
    assert [text for category, text in sorted(bound(alike)) if category == "shape"] == ["a circle?"]


def test_all_that_is_asked_of_a_scene_by_category_is_so_in_it():
    for scene in islice(generate("test", 5), 100):
        assert all(world.is_so(world.meaning(text), scene) for _, text in bound(scene))


def test_a_category_is_the_product_over_its_phrases_in_percent():
    item = choose("compbench").of([caption(TWO)]).items[caption(TWO)]
    assert [q.category for q in item.questions] == ["color"] * 2 + ["shape"] * 2 + ["texture"] * 2 + ["spatial"]  # fmt: skip
    p = np.array([0.5, 0.8, 1.0, 0.9, 0.1, 0.2, 0.7])
    scores = bindings.CompBench().score(item, p, p > 0.5)
    assert scores == {
        "compbench_color": pytest.approx(40), "compbench_shape": pytest.approx(90),
        "compbench_texture": pytest.approx(2), "compbench_spatial": pytest.approx(70),
    }  # fmt: skip
    one = Item(tuple(q for q in item.questions if q.category == "color"))
    assert np.isnan(bindings.CompBench().score(one, p[:2], p[:2] > 0.5)["compbench_spatial"])
    table = pd.DataFrame({"prompt_id": [0, 0, 1], "frame": 0, "category": "color", "probability": [0.5, 0.8, 1.0]})  # fmt: skip
    assert bindings.CompBench().printed(table) == {"color": pytest.approx(100 * (0.4 + 1) / 2)}


def test_a_wrong_colour_is_wrong_in_its_category_alone(reader):
    image = Image.fromarray(render(changed(0, color="green"), np.random.default_rng(0)))
    asked = bindings.questions(TWO)
    ask = bindings.CompBench().ask
    found = reader.answer([image], [Asked(0, ask(question)) for question in asked])
    wrong = [q.text for q, right in zip(asked, found.right, strict=True) if not right]
    assert wrong == ["a red circle?"]


def test_t2i_compbench_is_read_as_its_repository_has_it(tmp_path, monkeypatch):
    monkeypatch.setattr(compbench, "noun_chunks", lambda text: text.split(" and "))
    written(tmp_path / "color_val.txt", "a green bench and a red car", "", "a blue dog")
    written(tmp_path / "texture_val.txt", "a wooden floor and the left")
    found = choose(str(tmp_path))
    assert found.texts == (
        "a green bench and a red car",
        "a blue dog",
        "a wooden floor and the left",
    )
    asked = found.of(found.texts).items
    assert [(q.category, q.text) for item in asked.values() for q in item.questions] == [
        ("color", "a green bench?"), ("color", "a red car?"), ("color", "a blue dog?"),
        ("texture", "a wooden floor?"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"spatial_val.txt": ["a dog on a cat"]}, "has none of color_val.txt, shape_val.txt, texture_val.txt"),
        ({"color_val.txt": [""]}, "holds no captions"),
        ({"color_val.txt": ["a dog"], "shape_val.txt": ["a dog"]}, "'a dog' stands in color and in shape"),
        ({"color_val.txt": ["the left"]}, "'the left' has no noun phrase to ask for"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_t2i_compbench_is_told(tmp_path, monkeypatch, files, told):
    monkeypatch.setattr(compbench, "noun_chunks", lambda text: [text])
    for name, texts in files.items():
        written(tmp_path / name, *texts)
    with pytest.raises(InputError) as refused:
        choose(str(tmp_path))
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_captions_of_other_worlds_are_not_asked_by_category():
    with pytest.raises(
        InputError, match=r"captions of the embedded world: .*give the folder with color_val"
    ):
        choose("compbench").of(["a dog"])


@pytest.mark.parametrize(
    ("name", "lines", "told"),
    [
        ("q.jsonl", ['{"prompt": "a", "phrases": "b"}'], "line 1: phrases is no list of texts"),
        ("q.jsonl", ['{"prompt": "a", "phrases": []}', "{"], "line 2 is no JSON"),
        ("q.jsonl", ["[1]"], "line 1 is a list, not a JSON object"),
        ("q.jsonl", [""], "holds no questions"),
        ("q.csv", ["text,item_id", "a,b"], "has no column proposition_id"),
        ("q.csv", [HEADER], "holds no questions"),
        ("q.xlsx", ["x"], "cannot be read from 'q.xlsx'"),
    ],
)
def test_files_of_no_benchmark_are_refused(tmp_path, name, lines, told):
    with pytest.raises(InputError) as refused:
        choose(str(written(tmp_path / name, *lines)))
    assert told in str(refused.value)


def test_a_caption_without_questions_is_refused_and_not_left_out(tmp_path):
    chosen = choose(str(table(tmp_path / "dpg.csv")))
    assert chosen.texts == ("A red car, parked.", "A foggy day")
    with pytest.raises(InputError, match=r"none for 1 of 2 captions, such as 'A bus'"):
        chosen.of(["A foggy day", "A bus"])
    with pytest.raises(InputError, match="is no file and none of scenes, compbench, noun-phrases"):
        choose("elsewhere.csv")


def test_two_questionnaires_are_one_if_they_ask_the_same(tmp_path):
    first = dpg.read(table(tmp_path / "a.csv"))
    assert first.digest == dpg.read(table(tmp_path / "b.csv")).digest
    changed = (*DPG_ROWS[:1], DPG_ROWS[1].replace("Is the car red?", "Is it red?"), *DPG_ROWS[2:])
    assert first.digest != dpg.read(table(tmp_path / "b.csv", *changed)).digest


def test_a_scene_is_asked_for_all_that_its_caption_says():
    asked = {q.number: (q.text, q.category, q.parents) for q in world.questions(TWO)}
    assert asked == {
        1: ("Is the background gray?", "global", ()),
        2: ("Is there a circle?", "entity", ()),
        3: ("Is the circle large?", "attribute", (2,)),
        4: ("Is the circle striped?", "attribute", (2,)),
        5: ("Is the circle red?", "attribute", (2,)),
        6: ("Is there a square?", "entity", ()),
        7: ("Is the square small?", "attribute", (6,)),
        8: ("Is the square plain?", "attribute", (6,)),
        9: ("Is the square blue?", "attribute", (6,)),
        10: ("Is the circle above the square?", "relation", (2, 6)),
        11: ("Are there two things?", "other", ()),
    }
    alike = dataclasses.replace(
        TWO, things=(TWO.things[0], dataclasses.replace(TWO.things[1], shape="circle"))
    )
    texts = [q.text for q in world.questions(alike)]
    assert "Is there a red circle?" in texts
    assert "Is the red circle striped?" in texts
    assert "Is the red circle above the blue circle?" in texts


def test_every_question_of_a_scene_is_so_in_it_and_some_are_not_in_another():
    scenes = list(islice(generate("test", 5), 200))
    for scene, other in pairwise(scenes):
        meanings = [world.meaning(q.text) for q in world.questions(scene)]
        assert all(world.is_so(meaning, scene) for meaning in meanings)
        if scene.canonical() != other.canonical():
            assert not all(world.is_so(meaning, other) for meaning in meanings)


@pytest.mark.parametrize(
    "text",
    ["Is there a dog?", "Is the star sad?", "What is this?", "Is the star?", "Is the red star blue?",
     "Is the background loud?", "Are there three things?", "a dog?", "Is there a star"],
)  # fmt: skip
def test_questions_of_other_worlds_are_refused(text):
    with pytest.raises(InputError, match="answers questions about its own world alone"):
        world.meaning(text)


@pytest.fixture(scope="module")
def reader():
    return WorldReader(SHAPES_FOLDER)


def read(reader, scene, shown, seed=0):
    """The questions of a scene with the reader's answers of an image that shows another."""
    asked = world.questions(scene)
    image = Image.fromarray(render(shown, np.random.default_rng(seed)))
    ask = dpg.Dpg().ask
    return asked, reader.answer([image], [Asked(0, ask(question)) for question in asked])


def changed(place, **attributes):
    things = list(TWO.things)
    things[place] = dataclasses.replace(things[place], **attributes)
    return dataclasses.replace(TWO, things=tuple(things))


@pytest.mark.parametrize(
    ("shown", "wrong"),
    [
        (TWO, []),
        (changed(0, color="green"), ["Is the circle red?"]),
        (changed(1, fill="dotted"), ["Is the square plain?"]),
        (changed(0, size="small"), ["Is the circle large?"]),
        (dataclasses.replace(TWO, background="white"), ["Is the background gray?"]),
        (dataclasses.replace(TWO, things=TWO.things[::-1]), ["Is the circle above the square?"]),
        (dataclasses.replace(TWO, relation="left of"), ["Is the circle above the square?"]),
        (
            changed(0, shape="star"),
            ["Is there a circle?", "Is the circle large?", "Is the circle striped?",
             "Is the circle red?", "Is the circle above the square?"]),
        (
            Scene(TWO.things[:1], None, "gray"),
            ["Is there a square?", "Is the square small?", "Is the square plain?",
             "Is the square blue?", "Is the circle above the square?", "Are there two things?"]),
    ],
)  # fmt: skip
def test_a_wrong_image_gets_the_wrong_answer(reader, shown, wrong):
    """To the very questions whose answer is no, and with the score that follows from them."""
    for seed in range(3):
        asked, answered = read(reader, TWO, shown, seed)
        told = [q.text for q, right in zip(asked, answered.right, strict=True) if not right]
        assert told == wrong
        item = Item(tuple(asked))
        score = dpg.Dpg().score(item, answered.probability, answered.right)
        assert score["dpg"] == pytest.approx(100 * (1 - len(wrong) / len(asked)))


def test_the_reader_answers_as_the_truth_is(reader):
    """Of images that show other scenes than are asked for; probabilities are sure of it, too."""
    scenes = list(islice(generate("test", 9), 60))
    asked, truth = [], []
    for place, scene in enumerate([*scenes[1:], scenes[0]]):
        for question in world.questions(scene):
            asked.append(Asked(place, dpg.Dpg().ask(question)))
            truth.append(world.is_so(world.meaning(question.text), scenes[place]))
    images = [Image.fromarray(render(s, np.random.default_rng(n))) for n, s in enumerate(scenes)]
    answered = reader.answer(images, asked)
    assert 0.1 < np.mean(truth) < 0.9
    assert np.mean(answered.right == truth) > 0.98
    assert np.abs(answered.probability - truth).mean() < 0.02
    again = reader.answer(images[:1], [one for one in asked if one.image == 0])
    np.testing.assert_allclose(
        again.probability, answered.probability[: len(again.right)], atol=1e-6
    )


def test_the_reader_takes_images_of_its_size_alone(reader):
    ask = dpg.Dpg().ask(Question(1, "Is there a star?", "entity"))
    with pytest.raises(InputError, match="64 x 64 pixels only, not 32 x 32"):
        reader.answer([Image.new("RGB", (32, 32))], [Asked(0, ask)])


@pytest.mark.parametrize(
    ("name", "remedy"), [("scenes", ""), ("compbench", "; .* give the folder with color_val.txt")]
)
def test_only_captions_of_the_world_have_its_questions(name, remedy):
    assert len(choose(name).of([caption(TWO)]).items) == 1
    told = f"`questions='{name}'` makes questions of .*: 'a dog' is not a caption of this world.*"
    with pytest.raises(InputError, match=f"^{told}background'{remedy}$"):
        choose(name).of(["a dog"])
    assert scene_of(caption(TWO)) == TWO
