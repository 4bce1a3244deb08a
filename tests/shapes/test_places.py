"""What the tokens of a caption should know of places, and the text encoder that can know it."""

from itertools import islice

import pytest
import torch

from attnscope.shapes import architecture, t5
from attnscope.shapes.captions import Captions
from attnscope.shapes.places import PLACES
from attnscope.shapes.scenes import Scene, Thing, caption, generate

LEFT = Thing("large", "striped", "red", "circle")
RIGHT = Thing("small", "plain", "blue", "star")


@pytest.fixture(scope="module", params=["clip", "t5"])
def tokenizer(request, tokenizer_folder):
    return t5.tokenizer() if request.param == "t5" else architecture.tokenizer(tokenizer_folder)


def words(tokenizer, tokens):
    return [piece.removesuffix("</w>").strip("▁") for piece in tokenizer.convert_ids_to_tokens(tokens)]  # fmt: skip


@pytest.mark.parametrize(
    ("relation", "first", "second"),
    [
        ("left of", "left", "right"),
        ("right of", "right", "left"),
        ("above", "top", "bottom"),
        ("below", "bottom", "top"),
    ],
)
def test_the_tokens_of_each_thing_know_where_it_stands(tokenizer, relation, first, second):
    captions = Captions.of([Scene((LEFT, RIGHT), relation, "gray")], tokenizer)
    about = {
        name: [
            word
            for word, place in zip(
                words(tokenizer, captions.tokens[0]), captions.places[0], strict=True
            )
            if PLACES[place] == name
        ]
        for name in PLACES
    }
    assert about[first] == LEFT.phrase.split()
    assert about[second] == RIGHT.phrase.split()
    assert {"gray", "background", *relation.split()} <= set(about["anywhere"])


def test_a_single_thing_and_no_caption_are_nowhere(tokenizer):
    captions = Captions.of([Scene((LEFT,), None, "gray"), Scene((LEFT, RIGHT), "above", "gray")], tokenizer)  # fmt: skip
    assert not captions.places[0].any()
    every = torch.tensor([1, 1])
    tokens, places = captions.take(every, torch.tensor([True, True]))
    assert torch.equal(tokens, captions.null.expand(2, -1))
    assert not places.any()
    tokens, places = captions.take(every, torch.tensor([False, False]))
    assert torch.equal(tokens, captions.tokens[every])
    assert torch.equal(places, captions.places[every])


def test_every_word_of_a_caption_is_one_token_to_t5():
    tokenizer = t5.tokenizer()
    for scene in islice(generate("test"), 200):
        text = caption(scene)
        assert tokenizer.tokenize(text) == [f"▁{word}" for word in text.split()]
        assert len(tokenizer(text).input_ids) <= architecture.MAX_TOKENS


@pytest.mark.parametrize("text", ["", "zebra crossing, 3 cars!", "naïve café 漢字 🦓", "\x00\x7f"])
def test_t5_tokenises_any_text_and_loads_again(text, tmp_path):
    from transformers import AutoTokenizer

    tokenizer = t5.tokenizer()
    tokenizer.save_pretrained(tmp_path)
    ids = tokenizer(text).input_ids
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.eos_token_id not in ids[:-1]
    assert all(0 <= index < len(tokenizer) for index in ids)
    assert AutoTokenizer.from_pretrained(tmp_path)(text).input_ids == ids


def test_first_tokens_hear_of_the_relation_in_t5_and_not_in_clip(tokenizer_folder):
    """The reason for the encoder: change a later word and look at an earlier state."""
    told, retold = (Scene((LEFT, RIGHT), relation, "gray") for relation in ("left of", "right of"))
    for tokenizer, build, hears in (
        (architecture.tokenizer(tokenizer_folder), architecture.text_encoder, False),
        (t5.tokenizer(), t5.text_encoder, True),
    ):
        torch.manual_seed(0)
        encoder = build(tokenizer).eval()
        tokens = Captions.of([told, retold], tokenizer).tokens
        with torch.no_grad():
            one, other = encoder(tokens).last_hidden_state[:, 2]
        assert torch.allclose(one, other, atol=1e-6) != hears
