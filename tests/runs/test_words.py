"""A model that does not know a word says so."""

import json
import shutil

import pytest
import toys

from attnscope.models.names import SHAPES_FOLDER
from attnscope.runs import words
from attnscope.shapes.words import unknown_to_world

KNOWN = "a small red circle on a white background"


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        (KNOWN, []),
        ("A Small RED Circle, on a white background.", []),
        ("a small red-circle on a white\tbackground!", []),
        ("an orange cat", ["an", "cat"]),
        ("two red circles", ["two", "circles"]),
        ("3 red circle", ["3"]),
        ("a red cercle e\u0301toile", ["cercle", "étoile"]),
        ("a red circle 🐈", ["🐈"]),
        ("a plain red circle", ["plain"]),
        ("cat Cat CAT", ["cat"]),
        ("", []),
        ("...", []),
    ],
)
def test_words_of_no_caption_of_the_world_are_unknown(text, unknown):
    found = unknown_to_world([text])
    assert list(found.words) == unknown
    assert found.captions == bool(unknown)


def test_every_caption_of_the_world_is_known():
    from itertools import islice

    from attnscope.shapes.scenes import caption, generate

    texts = [caption(scene) for scene in islice(generate("test"), 300)]
    assert unknown_to_world(texts) == words.Unknown({}, 0)


def test_captions_are_counted_by_the_word_that_most_of_them_have():
    found = unknown_to_world(["dog", "a cat cat", "a cat", "a circle"])
    assert found == words.Unknown({"cat": 2, "dog": 1}, 3)


def unigram(known):
    """A tokenizer of whole words, as T5's but smaller."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    model = models.WordLevel({"<unk>": 0, **{word: n for n, word in enumerate(known, 1)}}, "<unk>")
    made = Tokenizer(model)
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")


def test_words_that_become_the_unknown_token_are_unknown(sd):
    assert words.unknown_to_tokenizers(sd, ["ein Kreis, grün 🐈"]).words == {}  # bytes have tokens
    sd.tokenizer = unigram(["a", "red", "circle"])
    found = words.unknown_to_tokenizers(sd, ["a red cat", "a circle", "a cat <unk>"])
    assert found == words.Unknown({"cat": 2}, 2)


def test_any_tokenizer_of_a_pipeline_may_not_know_a_word(tokenizer_folder):
    pipe = toys.stable_diffusion_xl(tokenizer_folder)
    assert words.unknown_to_tokenizers(pipe, ["a cat"]).words == {}
    pipe.tokenizer_2 = unigram(["a"])
    assert words.unknown_to_tokenizers(pipe, ["a cat"]).words == {"cat": 1}


def test_without_a_tokenizer_everything_is_known(tokenizer_folder):
    pipe = toys.pixart(tokenizer_folder)
    assert words.unknown_to_tokenizers(pipe, ["a cat"]) == words.Unknown({}, 0)


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A model of the shapes world in a folder of its own, and no figures, which take time."""
    monkeypatch.setattr("attnscope.figures.saving.save_figures", lambda run: [])
    shutil.copytree(SHAPES_FOLDER, tmp_path / "trained")
    return tmp_path / "trained"


def commands(model, captions, out):
    common = ["--model", model, "--steps", 2, "--device", "cpu", "--out", out]
    given = ["--captions", captions]
    return {
        "generate": ["generate", *common, *given],
        "convergence": ["convergence", *common, *given],
        "ablate": ["ablate", *common, *given, "--gate", 1, "--features", "none"],
        "bench": ["bench", *common, *given, "--tgate", "m=1", "--repeats", 1, "--rivals", "none",
                  "--frontier", "--features", "none"],
    }  # fmt: skip


@pytest.mark.parametrize("command", ["generate", "convergence", "ablate", "bench"])
def test_every_command_that_takes_captions_names_unknown_words_once(
    attnscope, world, tmp_path, command
):
    captions = tmp_path / "captions.txt"
    captions.write_text(f"an orange cat\na large dog\nA cat.\n{KNOWN}\n")
    args = commands(world, captions, tmp_path / "run")[command]
    code, out, err = attnscope(*args, "--json")
    assert code == 0
    json.loads(out)
    (line,) = [line for line in err.splitlines() if "does not know" in line]
    assert line.startswith("warning: 3 of 4 captions have words that ")
    assert "'cat' (2), 'an' (1), 'dog' (1)" in line
    assert "does not know" in attnscope(*args)[2]  # of a run that is there, too


@pytest.mark.parametrize("command", ["generate", "convergence", "ablate", "bench"])
def test_nothing_is_said_of_captions_of_the_world(attnscope, world, tmp_path, command):
    captions = tmp_path / "captions.txt"
    captions.write_text(f"{KNOWN}\nA large blue star on a black background.\n")
    code, _, err = attnscope(*commands(world, captions, tmp_path / "run")[command])
    assert code == 0
    assert "warning" not in err


def test_an_orange_cat_is_no_orange_star_without_a_word(attnscope, tmp_path):
    code, _, err = attnscope("generate", "an orange cat", "--steps", 2, "--out", tmp_path / "run")
    assert code == 0
    assert err == (
        "warning: the model of shapes does not know: 'an', 'cat'; it was trained on captions such as "
        "'a large striped red circle above a small blue square on a gray background' and draws "
        "something else\n"
    )


def test_the_list_of_unknown_words_is_bounded(attnscope, world, tmp_path):
    typed = " ".join(f"{letter}x" for letter in "abcdefghijklmnopqrst")
    _, _, err = attnscope(
        "generate", typed, "--model", world, "--steps", 1, "--out", tmp_path / "r"
    )
    assert "'ax', 'bx', 'cx', 'dx', 'ex', 'fx', 'gx', 'hx' and 12 more;" in err


def test_a_prompt_without_words_asks_for_nothing(attnscope, world, tmp_path):
    _, _, err = attnscope("generate", "", "--model", world, "--steps", 1, "--out", tmp_path / "r")
    assert err == "warning: 1 of 1 captions have no words: nothing is asked for\n"


def test_other_models_are_asked_by_their_tokenizer(attnscope, sd, tmp_path, monkeypatch):
    monkeypatch.setattr("attnscope.figures.saving.save_figures", lambda run: [])
    sd.save_pretrained(tmp_path / "toy")
    code, _, err = attnscope("generate", "an orange cat", "--model", tmp_path / "toy", "--steps", 1,
                             "--out", tmp_path / "one")  # fmt: skip
    assert (code, err) == (0, "")
    monkeypatch.setattr(
        "attnscope.runs.words.unknown_to_tokenizers",
        lambda pipe, texts: words.Unknown({"🐈": 1}, 1),
    )
    _, _, err = attnscope("generate", "🐈", "--model", tmp_path / "toy", "--steps", 1,
                          "--out", tmp_path / "two")  # fmt: skip
    assert err.startswith("warning: the tokenizer has no token for: '🐈'; its unknown token")
