"""Models that answer: the real loading code, on tiny ones with random weights."""

import json
import shutil

import answering
import numpy as np
import pytest
import torch
import toys
from PIL import Image
from transformers import (
    BertTokenizer,
    BlipForConditionalGeneration,
    BlipForQuestionAnswering,
    LlavaForConditionalGeneration,
    ViltForQuestionAnswering,
)

from attnscope.errors import InputError
from attnscope.metrics.questions.base import NO, YES, Ask, Question
from attnscope.metrics.questions.geneval2 import SoftTifa
from attnscope.metrics.questions.vqa import base, models
from attnscope.metrics.questions.vqa.base import Asked, FirstTokens
from attnscope.metrics.questions.vqa.vilt import Labels
from attnscope.metrics.text import clip_score

MAKERS = {"blip": answering.blip, "vilt": answering.vilt, "talking": answering.talking,
          "untemplated": answering.untemplated}  # fmt: skip
RNG = np.random.default_rng(0)
IMAGES = [Image.fromarray(RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8)) for _ in range(3)]
TEXTS = ("Is there a star?", "Is the small star left of the large circle?")
COUNT = SoftTifa().ask(Question(1, "How many things are in the image?", "count", answer="three"))
ASKED = [Asked(place, Ask(text)) for place in range(3) for text in TEXTS] + [Asked(1, COUNT)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in MAKERS.items()}


@pytest.mark.parametrize("kind", MAKERS)
def test_answers_depend_on_image_and_question_and_on_nothing_beside_them(
    folders, kind, monkeypatch
):
    model = models.of_name(folders[kind])
    together = model.answer(IMAGES, ASKED)
    assert together.probability.dtype == np.float64
    assert ((together.probability >= 0) & (together.probability <= 1)).all()
    yes_or_no = together.probability[:6].reshape(3, 2)
    assert (yes_or_no.std(axis=0) > 1e-4).all()  # over images
    assert (np.abs(np.diff(yes_or_no, axis=1)) > 1e-4).all()  # over questions
    assert (together.right[:6] == (together.probability[:6] > 0.5)).all()
    monkeypatch.setattr(models, "AT_ONCE", 1)
    alone = model.answer(IMAGES, ASKED)
    np.testing.assert_allclose(alone.probability, together.probability, atol=1e-5)
    backwards = models.of_name(folders[kind]).answer(IMAGES, ASKED[::-1])
    np.testing.assert_allclose(backwards.probability[::-1], together.probability, atol=1e-5)


def one_of_two(logits, yes, no):
    p = torch.softmax(logits.double(), -1)
    return float(p[yes] / (p[yes] + p[no]))


@torch.inference_mode()
def test_blip_is_asked_as_t2i_compbench_asks_it(folders):
    """P(yes) / (P(yes) + P(no)) of the first token after the decoder's start, from its own parts."""
    folder = folders["blip"]
    model = BlipForQuestionAnswering.from_pretrained(folder).eval()
    tokenizer = BertTokenizer.from_pretrained(folder)
    yes, no = tokenizer.convert_tokens_to_ids(["yes", "no"])
    pixels = np.asarray(IMAGES[1].resize((answering.SIDE,) * 2, Image.Resampling.BICUBIC)) / 255
    mean, std = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
    normal = torch.tensor((pixels - mean) / std).permute(2, 0, 1)[None].float()
    question = tokenizer(TEXTS[0], return_tensors="pt")
    seen = model.vision_model(pixel_values=normal)[0]
    read = model.text_encoder(question["input_ids"], encoder_hidden_states=seen)[0]
    start = torch.tensor([[model.decoder_start_token_id]])
    logits = model.text_decoder(start, encoder_hidden_states=read).logits[0, 0]
    found = models.of_name(folder).answer(IMAGES, [Asked(1, Ask(TEXTS[0]))])
    assert found.probability[0] == pytest.approx(one_of_two(logits, yes, no), abs=1e-4)
    three = tokenizer.convert_tokens_to_ids(["three", "3"])
    expected = float(
        torch.softmax(
            model.text_decoder(
                start,
                encoder_hidden_states=model.text_encoder(
                    tokenizer(COUNT.text, return_tensors="pt")["input_ids"],
                    encoder_hidden_states=seen,
                )[0],
            ).logits[0, 0],
            -1,
        )[three].sum()
    )
    mass = models.of_name(folder).answer(IMAGES, [Asked(1, COUNT)]).probability[0]
    assert mass == pytest.approx(expected, abs=1e-4)


def test_a_model_that_needs_code_of_its_own_is_refused_and_nobody_is_asked(
    folders, tmp_path, monkeypatch
):
    marker = tmp_path / "it-ran"
    folder = tmp_path / "mine"
    shutil.copytree(folders["talking"], folder)
    (folder / "mine.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine"}}
    (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("builtins.input", lambda text: "y")
    with pytest.raises(
        InputError, match=r"no model at .* (contains custom code|requires you to execute)"
    ):
        models.of_name(str(folder))
    with pytest.raises(InputError, match="no CLIP at"):
        clip_score(IMAGES[:1], TEXTS[:1], str(folder))
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text("")
    with pytest.raises(InputError, match=r"custom_generate/generate.py of .* code in the place of"):
        models.of_name(str(folder))
    assert not marker.exists()


@torch.inference_mode()
def test_vilt_chooses_among_its_labels(folders):
    model = models.of_name(folders["vilt"])
    plain = ViltForQuestionAnswering.from_pretrained(folders["vilt"]).eval()
    given = model.processor(images=IMAGES[0], text=TEXTS[0], return_tensors="pt")
    logits = plain(**given).logits[0]
    found = model.answer(IMAGES, [Asked(0, Ask(TEXTS[0])), Asked(0, COUNT)])
    yes, no = (answering.ANSWERS.index(word) for word in ("yes", "no"))
    assert found.probability[0] == pytest.approx(one_of_two(logits, yes, no), abs=1e-5)
    assert Labels(plain.config.id2label).numbers(COUNT.wanted) == {4, 7}  # three and 3


@torch.inference_mode()
def test_a_model_that_talks_is_given_its_template_and_the_form_of_the_answer(folders):
    model = models.of_name(folders["talking"])
    plain = LlavaForConditionalGeneration.from_pretrained(folders["talking"]).eval()
    for ask, hint in ((Ask(TEXTS[0]), "Answer yes or no."), (COUNT, "Answer in one word.")):
        text = f"question : <image> {ask.text} {hint} answer :"
        given = model.processor(images=IMAGES[0], text=text, return_tensors="pt")
        logits = plain(**given).logits[0, -1]
        ids = {
            word: model.processor.tokenizer.convert_tokens_to_ids(word)
            for word in answering.ANSWERS
        }
        found = model.answer(IMAGES, [Asked(0, ask)]).probability[0]
        if ask is COUNT:
            mass = torch.softmax(logits.double(), -1)[[ids["three"], ids["3"]]].sum()
            assert found == pytest.approx(float(mass), abs=1e-6)
        else:
            assert found == pytest.approx(one_of_two(logits, ids["yes"], ids["no"]), abs=1e-6)


def test_nothing_is_loaded_before_something_is_asked(folders, monkeypatch):
    monkeypatch.setattr(
        ViltForQuestionAnswering, "from_pretrained", lambda *a, **k: pytest.fail("loaded")
    )
    model = models.of_name(folders["vilt"])
    model.check([Ask(TEXTS[0]), COUNT])
    assert len(model.answer(IMAGES, []).right) == 0


def test_pickles_are_loaded_only_if_they_are_allowed(tmp_path):
    folder = answering.blip(tmp_path, safe=False)
    with pytest.raises(InputError, match=r"no safetensors weights: .* `allow_pickle=True`"):
        models.of_name(folder)
    allowed = models.of_name(folder, allow_pickle=True).answer(IMAGES, ASKED[:2])
    assert len(allowed.right) == 2


def test_weights_that_are_missing_are_not_made_up(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    answering.vilt(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("classifier")}
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"lacks weights, such as classifier\."):
        models.of_name(str(tmp_path)).answer(IMAGES, ASKED[:1])


def test_what_answers_no_questions_is_refused(tmp_path):
    answering.blip(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    name = BlipForConditionalGeneration.__name__
    (tmp_path / "config.json").write_text(json.dumps(config | {"architectures": [name]}))
    with pytest.raises(InputError, match=f"is a {name}, which answers no questions"):
        models.of_name(str(tmp_path))
    with pytest.raises(InputError, match="is a CLIPModel, which answers no questions"):
        models.of_name(toys.clip(tmp_path))
    with pytest.raises(InputError, match="not on this machine, and `offline=True`"):
        models.of_name("nobody/vqa", offline=True)
    (tmp_path / "bare").mkdir()  # transformers 4 takes a folder called empty for an MPT
    with pytest.raises(InputError, match="no model at"):
        models.of_name(str(tmp_path / "bare"))


def test_a_model_that_cannot_say_the_answer_is_refused(tmp_path):
    model = models.of_name(answering.vilt(tmp_path, answers=("no", "yes")))
    model.check([Ask(TEXTS[0])])
    with pytest.raises(InputError, match="has no answer 'three'"):
        model.check([COUNT])


class Pieces:
    """A tokenizer that knows letters, blanks and some words."""

    unk_token_id = 0
    words = ("?", " ", "y", "n", "no", "yes", "1", " yes")

    def encode(self, text, add_special_tokens):
        assert not add_special_tokens
        found = []
        while text:
            known = max((w for w in self.words if text.startswith(w)), key=len, default=None)
            found.append(self.words.index(known) if known else 0)
            text = text[len(known or " ") :]
        return found

    def decode(self, ids):
        return "".join(self.words[number] for number in ids)


def test_a_blank_and_what_is_unknown_begin_no_answer():
    tokens = FirstTokens(Pieces())
    assert tokens.numbers(YES) == {5, 7}  # yes and yes after a blank; Y is unknown
    assert tokens.numbers(NO) == {4}  # the blank before no begins everything
    assert tokens.numbers(("1", " 1")) == {6}
    assert tokens.of(Ask("?")) == ([5, 7], [4])
    with pytest.raises(InputError, match="has no answer 'one'"):
        tokens.of(Ask("?", ("one",), ()))


def test_the_most_likely_word_is_the_answer_where_there_is_no_other():
    tokens = FirstTokens(Pieces())
    rows = np.array([[0.1, 0.1, 0, 0, 0, 0.3, 0.4, 0.1]] * 2)
    found = base.told(rows, [Ask("?", YES, ()), Ask("?", ("1",), ())], tokens)
    np.testing.assert_allclose(found.probability, [0.4, 0.4])
    assert found.right.tolist() == [False, True]
