"""Every position of the text is one word's, and holds the tokens that the text encoder was given."""

import itertools
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from inspect import signature

import pytest
import torch
import toys
from denoisers import make
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    StableDiffusion3PAGPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
)
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram
from transformers import (
    ByT5Tokenizer,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

import attnscope
from attnscope.errors import InputError
from attnscope.models import building
from attnscope.models.text_tokens import named, positions_only, words_of
from attnscope.models.token_spans import pieces, tokens
from attnscope.shapes import t5
from attnscope.versions import release

LONG = "a large red circle above a small blue star on a black background " * 12
PROMPTS = [
    "",
    "   ",
    "\n",
    "a red circle",
    "A RED Circle",
    "a red circle, a blue circle and a circle!",
    "  two   spaces\nand a\ttab  ",
    "blue-green, (round) [circle] {x} 50% $5 1.5 64",
    "the 'small' dog's don't rock'n'roll",
    "café naïve Über e\u0301 ﬁ",
    "🔴 a 👩‍🚀 on 🌑🌒 ❤️",
    "红色的圆 赤い円 красный круг",
    "a\u200bb \u0301 ￼ \ufe0f",
    "...!?  ,,  . ' \u2019",
    "<|endoftext|> </s> <pad> [MASK]",
    LONG,
    "x" * 300,
]


def t5_encoder(tokenizer):
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=4,
        pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return T5EncoderModel(config)


def clip_encoder(width=16, **options):
    config = CLIPTextConfig(**{**toys._TEXT, "hidden_size": width, "projection_dim": 8, **options})
    return CLIPTextModelWithProjection(config)


def without_limit(tokenizer):
    tokenizer.model_max_length = int(1e30)
    return tokenizer


def padded_with_another_token(folder):
    """SDXL's second tokenizer and Stable Diffusion 2's pad with ``!``."""
    tokenizer = toys.shapes_tokenizer(folder)
    tokenizer.pad_token = "!"
    return tokenizer


def pixart(folder, kind=PixArtAlphaPipeline):
    tokenizer = t5.tokenizer()
    parts = toys.pixart(folder).components
    parts |= {"tokenizer": tokenizer, "text_encoder": t5_encoder(tokenizer)}
    return toys._quiet(kind(**parts))


def sdxl(folder):
    pipe = toys.stable_diffusion_xl(folder)
    pipe.tokenizer_2 = padded_with_another_token(folder)
    return pipe


def refiner(folder):
    parts = sdxl(folder).components | {"tokenizer": None, "text_encoder": None}
    parts["unet"] = toys._unet(
        attention_head_dim=(2, 4), use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=8, transformer_layers_per_block=(1, 2),
        projection_class_embeddings_input_dim=80, cross_attention_dim=32,
    )  # fmt: skip
    return toys._quiet(StableDiffusionXLPipeline(**parts))


def sd3(folder, reads_t5=True):
    denoiser, _ = make("sd3")
    tokenizer = t5.tokenizer()
    return toys._quiet(
        StableDiffusion3Pipeline(
            transformer=denoiser,
            scheduler=FlowMatchEulerDiscreteScheduler(),
            vae=toys._vae(),
            text_encoder=clip_encoder(),
            tokenizer=toys.shapes_tokenizer(folder),
            text_encoder_2=clip_encoder(),
            tokenizer_2=padded_with_another_token(folder),
            text_encoder_3=t5_encoder(tokenizer) if reads_t5 else None,
            tokenizer_3=tokenizer if reads_t5 else None,
        )
    )


def flux(folder):
    tokenizer = t5.tokenizer()
    parts = toys.flux().components | {
        "tokenizer": toys.shapes_tokenizer(folder),
        "text_encoder": toys.CLIPTextModel(CLIPTextConfig(**toys._TEXT)),
        "tokenizer_2": tokenizer,
        "text_encoder_2": t5_encoder(tokenizer),
    }
    return toys._quiet(FluxPipeline(**parts))


PIPES = {
    "sd": toys.stable_diffusion,
    "sdxl": sdxl,
    "refiner": refiner,
    "pixart": pixart,
    "sigma": lambda folder: pixart(folder, PixArtSigmaPipeline),
    "sd3": sd3,
    "sd3-without-t5": lambda folder: sd3(folder, reads_t5=False),
    "flux": flux,
}


@pytest.fixture(params=PIPES, scope="module")
def pipe(request, tokenizer_folder):
    return PIPES[request.param](tokenizer_folder)


def by_position(words):
    """The word at each position, which fails where two are or none is."""
    found = sorted((position, word) for word in words for position in word.positions)
    assert [position for position, _ in found] == list(range(len(found)))
    return [word for _, word in found]


class SomePipeline:
    """With some parts, and a denoiser by which its family is known."""

    def __init__(self, denoiser, parts):
        self.transformer, self.scheduler, self.components = denoiser, object(), parts
        vars(self).update(parts)

    def __call__(self, prompt, max_sequence_length=None):
        pass


@cache
def denoiser(name):
    return make(name)[0]


def reading(tokenizer, prompt, length=24):
    """The words of a U-Net's pipeline with this tokenizer."""
    pipe = SomePipeline(denoiser("unet"), {"tokenizer": tokenizer})
    return words_of(pipe, prompt, max_sequence_length=length)


def spied(pipe, prompt, **options):
    """Token ids that each text encoder is called on, and the shape of the text in the denoiser."""
    ids, shapes = {}, []

    def note(name, given):
        ids.setdefault(name, given[0].tolist())

    hooks = [
        part.register_forward_pre_hook(lambda _, args, name=name: note(name, args[0]))
        for name, part in pipe.components.items()
        if name.startswith("text_encoder") and part is not None
    ]
    denoiser = pipe.components.get("unet") or pipe.transformer
    hooks.append(
        denoiser.register_forward_pre_hook(
            lambda _, args, given: shapes.append(given["encoder_hidden_states"].shape),
            with_kwargs=True,
        )
    )
    size = {"use_resolution_binning": False} if hasattr(pipe, "_clean_caption") else {}
    pipe(prompt, num_inference_steps=2, height=32, width=32, output_type="latent", guidance_scale=1.0,
         **size, **options)  # fmt: skip
    for hook in hooks:
        hook.remove()
    return ids, shapes[0]


@pytest.mark.parametrize("prompt", PROMPTS, ids=range(len(PROMPTS)))
def test_every_position_is_of_one_word_and_every_character_but_spaces_too(pipe, prompt):
    words = words_of(pipe, prompt)
    at = by_position(words)
    assert all(word.kind in ("special", "padding") or word.text.strip() for word in at) or (
        not prompt.strip()
    )
    for encoder, group in itertools.groupby(words, key=lambda word: word.encoder):
        own = [word for word in group if word.kind in ("word", "punctuation")]
        assert [word.place for word in own] == sorted({word.place for word in own})
        assert all(a.end <= b.start for a, b in itertools.pairwise(own))
        assert len({(word.name.casefold(), word.kind) for word in own}) == len(own)
        assert encoder


@pytest.mark.parametrize(
    "prompt", ["a red circle above a blue star", LONG, "", "A big, RED circle!"]
)
def test_text_encoders_are_called_on_what_stands_at_the_words(pipe, prompt):
    options = {} if "unet" in pipe.components else {"max_sequence_length": 40}
    ids, shape = spied(pipe, prompt, **options)
    at = by_position(words_of(pipe, prompt, length=shape[1], **options))
    assert len(at) == shape[1]
    beginning = {"text_encoder": 0, "text_encoder_2": 0, "text_encoder_3": 24}
    if isinstance(pipe, FluxPipeline):
        del ids["text_encoder"]  # pooled alone
    for encoder, given in ids.items():
        tokenizer = getattr(pipe, encoder.replace("text_encoder", "tokenizer"))
        own = at[beginning[encoder] :][: len(given)]
        assert len(own) == len(given)
        for word, group in itertools.groupby(
            zip(own, given, strict=True), key=lambda pair: pair[0]
        ):
            held = [token for _, token in group]
            if word.kind == "padding":
                assert set(held) == {tokenizer.pad_token_id}
            elif word.kind == "special":
                assert held == [
                    getattr(tokenizer, {"start": "bos", "end": "eos"}[word.text] + "_token_id")
                ]
            elif word.positions[-1] != shape[1] - 2:  # the last one may be cut
                assert tokenizer.decode(held).strip().lower() == word.text.lower()


def test_without_options_a_text_is_as_long_as_the_pipeline_makes_it_by_itself(pipe):
    _, shape = spied(pipe, "a red circle")
    assert len(by_position(words_of(pipe, "a red circle"))) == shape[1]


@pytest.mark.parametrize(
    ("name", "encoders"),
    [
        ("sd", ["CLIP"]), ("sdxl", ["CLIP + CLIP 2"]), ("refiner", ["CLIP"]), ("pixart", ["T5"]),
        ("sigma", ["T5"]), ("sd3", ["CLIP + CLIP 2", "T5"]), ("sd3-without-t5", ["CLIP + CLIP 2", "zeros"]),
        ("flux", ["T5"]),
    ],
)  # fmt: skip
def test_encoders_are_told_apart(name, encoders, tokenizer_folder):
    words = words_of(PIPES[name](tokenizer_folder), "a red circle")
    assert list(dict.fromkeys(word.encoder for word in words)) == encoders


def test_in_sd3_the_text_of_t5_stands_after_that_of_clip(tokenizer_folder):
    chosen = named(words_of(sd3(tokenizer_folder), "a red circle"), ["red circle"])
    assert [(word.encoder, word.positions) for word in chosen] == [
        ("CLIP + CLIP 2", (2, 3)),
        ("T5", (25, 26)),
    ]


def test_clip_ends_once_and_pads_with_its_end_token(sd):
    assert [(word.text, word.kind, word.positions) for word in words_of(sd, "a red circle")] == [
        ("start", "special", (0,)),
        ("a", "word", (1,)),
        ("red", "word", (2,)),
        ("circle", "word", (3,)),
        ("end", "special", (4,)),
        ("padding", "padding", tuple(range(5, 24))),
    ]


def test_a_word_has_all_its_tokens_and_punctuation_its_own(sd):
    words = words_of(sd, "zq circle's, 🔴")
    assert [(word.text, word.kind, len(word.positions)) for word in words[1:-2]] == [
        ("zq", "word", 2),
        ("circle's", "word", 3),
        (",", "punctuation", 1),
        ("🔴", "word", 4),
    ]
    assert [(word.start, word.end) for word in words[1:-2]] == [(0, 2), (3, 11), (11, 12), (13, 14)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a red-ish circle", ["a", "red", "-", "ish", "circle"]),
        ("don't 'quote' rock'n'roll", ["don't", "'", "quote", "'", "rock'n'roll"]),
        ("1.5, 1,000. x.y", ["1.5", ",", "1,000", ".", "x", ".", "y"]),
        ("e\u0301te\u0301 snake_case", ["e\u0301te\u0301", "snake_case"]),
        ("a👩‍🚀🏽b", ["a", "👩‍🚀🏽", "b"]),
        ("  \n\t", []),
        ("", []),
    ],
)
def test_words_are_the_same_for_every_tokenizer(text, found):
    assert [text[piece.start : piece.end] for piece in pieces(text)] == found


def test_pixart_reads_its_caption_without_capitals_and_offsets_are_of_what_it_reads(
    tokenizer_folder,
):
    pipe = pixart(tokenizer_folder)
    words = [word for word in words_of(pipe, "  A Red CIRCLE ") if word.kind == "word"]
    assert [(word.text, word.start, word.end, word.positions) for word in words] == [
        ("a", 0, 1, (0,)),
        ("red", 2, 5, (1,)),
        ("circle", 6, 12, (2,)),
    ]


@pytest.mark.parametrize("name", ["shapes", "shapes-dit"])
def test_a_model_in_the_box_has_one_token_a_word_of_a_caption(name):
    caption = "a large red circle left of a small blue star on a beige background"
    words = [word for word in words_of(attnscope.load(name), caption) if word.kind == "word"]
    assert [word.text for word in words] == caption.split()
    assert all(len(word.positions) == 1 for word in words)


# Choosing words by name


def chosen(pipe, prompt, *names):
    return [(word.name, word.positions) for word in named(words_of(pipe, prompt), names)]


def test_a_phrase_is_words_that_follow_one_another_whatever_capitals_and_punctuation(sd):
    prompt = "a RED, circle above a blue circle"
    assert chosen(sd, prompt, "red circle") == [("RED circle", (2, 4))]
    assert chosen(sd, prompt, "Red-Circle!") == [("RED circle", (2, 4))]
    assert chosen(sd, prompt, "blue circle", "above") == [("blue circle", (7, 8)), ("above", (5,))]


def test_a_word_that_occurs_twice_is_two_and_either_may_be_chosen(sd):
    prompt = "a circle above a Circle"
    both = [("circle", (2,)), ("Circle#2", (5,))]
    assert chosen(sd, prompt, "circle") == both
    assert chosen(sd, prompt, "circle#1") == both[:1]
    assert chosen(sd, prompt, "circle#2") == chosen(sd, prompt, "circle #2") == both[1:]
    assert chosen(sd, prompt, "circle", "circle#2") == both
    assert chosen(sd, prompt, "a circle") == [("a circle", (1, 2)), ("a Circle#2", (4, 5))]
    assert chosen(sd, prompt, "a circle#2") == [("a Circle#2", (4, 5))]


def test_a_name_with_a_number_that_stands_in_the_prompt_is_what_stands_there(sd):
    assert chosen(sd, "circle #2 and circle", "circle #2") == [("circle 2", (1, 3))]


def test_punctuation_is_chosen_by_itself(sd):
    assert chosen(sd, "red, blue, star", ",") == [(",", (2,)), (",#2", (4,))]


@pytest.mark.parametrize("name", ["square", "circle red", "circle#3", "", " ", "star,", "#1"])
def test_a_name_that_is_not_in_the_prompt_is_refused_with_its_words(sd, name):
    with pytest.raises(InputError, match="its words are a, red, circle, above, a#2, circle#2"):
        named(words_of(sd, "a red circle above a circle"), [name])


def test_an_empty_prompt_has_no_words(sd):
    with pytest.raises(InputError, match="the prompt has no 'circle': it has no words"):
        named(words_of(sd, " "), ["circle"])


def test_a_word_that_was_cut_off_is_told_of_and_refused(sd):
    words = words_of(sd, "red " * 22 + "star")
    cut = next(word for word in words if word.text == "star")
    assert (cut.kind, cut.positions) == ("word", ())
    assert len(by_position(words)) == 24
    with pytest.raises(InputError, match=r"'star' was cut off, .* too long for CLIP: shorten it"):
        named(words, ["star"])
    with pytest.raises(InputError, match="was cut off"):
        named(words, ["red star"])
    assert len(named(words, ["red"])) == 22


def test_a_word_that_one_encoder_cut_off_is_chosen_from_the_other(tokenizer_folder):
    words = words_of(sd3(tokenizer_folder), "red " * 22 + "star")
    assert [(word.encoder, word.positions) for word in named(words, ["star"])] == [("T5", (46,))]


# Other texts and lengths


def test_an_encoder_reads_its_own_prompt_where_it_is_given_one(tokenizer_folder):
    words = words_of(sd3(tokenizer_folder), "a red circle", prompt_3="a blue star")
    assert named(words, ["red"])[0].encoder == "CLIP + CLIP 2"
    assert [word.encoder for word in named(words, ["star"])] == ["T5"]
    assert named(words_of(flux(tokenizer_folder), "red", prompt_2="blue"), ["blue"])


def test_two_texts_at_the_same_positions_are_refused(tokenizer_folder):
    with pytest.raises(InputError, match=r"tokenizer and tokenizer_2 .* read other words"):
        words_of(sdxl(tokenizer_folder), "a red circle", prompt_2="a blue star")


def test_a_length_that_leaves_out_padding_alone_is_taken(sd):
    words = words_of(sd, "a red circle", length=6)
    assert [word.text for word in by_position(words)] == [
        "start", "a", "red", "circle", "end", "padding",
    ]  # fmt: skip
    assert "padding" not in [word.text for word in words_of(sd, "a red circle", length=5)]


@pytest.mark.parametrize("length", [4, 25, 48])
def test_another_length_is_refused(sd, length):
    with pytest.raises(InputError, match=f"attends to {length} positions .* make 24"):
        words_of(sd, "a red circle", length=length)


def test_options_that_a_pipeline_does_not_take_change_nothing(sd):
    assert words_of(sd, "a", max_sequence_length=48, clip_skip=1) == words_of(sd, "a")


def test_embeddings_have_a_word_a_position():
    words = positions_only(3)
    assert [(word.name, word.positions) for word in by_position(words)] == [
        ("0", (0,)), ("1", (1,)), ("2", (2,)),
    ]  # fmt: skip
    assert named(words, ["2"]) == (words[2],)


def test_learnt_words_of_several_vectors_are_read_as_the_pipeline_reads_them(tokenizer_folder):
    pipe = toys.stable_diffusion(tokenizer_folder)
    pipe.tokenizer.add_tokens(["<thing>", "<thing>_1"])
    ids, _ = spied(pipe, "a <thing> red")
    assert ids["text_encoder"][2:4] == pipe.tokenizer.convert_tokens_to_ids(
        ["<thing>", "<thing>_1"]
    )
    words = words_of(pipe, "a <thing> red")
    assert [word.positions for word in named(words, ["<thing>"])] == [(2,), (3,)]
    assert [word.positions for word in named(words, ["red"])] == [(4,)]
    assert [word.text for word in words[1:-2]] == ["a", "thing", "thing>_1", "red"]


# Tokenizers of other kinds


class Slow:
    """A tokenizer that tells no offsets."""

    is_fast, model_max_length = False, 24

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def __call__(self, text, **options):
        assert "return_offsets_mapping" not in options
        return self.tokenizer(text, **options)


QUOTED = "the 'small' dog's don't rock'n'roll"
"""CLIP reads ``'s`` in ``'small'`` as it does in ``dog's``, so that no token ends at the quote."""


@pytest.mark.parametrize("prompt", [text for text in PROMPTS if text != QUOTED])
@pytest.mark.parametrize("kind", ["clip", "t5"])
def test_words_are_found_without_offsets_as_with_them(kind, prompt, tokenizer_folder):
    tokenizer = toys.shapes_tokenizer(tokenizer_folder) if kind == "clip" else t5.tokenizer()
    fast, slow = (reading(each, prompt, 40) for each in (tokenizer, Slow(tokenizer)))
    assert [replace(word, encoder="") for word in slow] == [
        replace(word, encoder="") for word in fast
    ]


def test_without_offsets_a_quote_is_of_the_word_that_its_token_reaches_into(tokenizer_folder):
    words = reading(Slow(toys.shapes_tokenizer(tokenizer_folder)), QUOTED, 40)
    by_position(words)
    assert [word.text for word in words if word.kind == "word"] == [
        "the", "small", "dog's", "don't", "rock'n'roll",
    ]  # fmt: skip


@pytest.mark.parametrize("prompt", PROMPTS, ids=range(len(PROMPTS)))
def test_bytes_of_a_word_are_its_own_and_spaces_are_of_the_word_after_them(prompt):
    words = reading(ByT5Tokenizer(), prompt, 60)
    at = by_position(words)
    assert len(at) == 60
    if "</s>" in prompt:  # which is one token
        return
    read = prompt.encode()[:59]
    for word in words:
        if word.kind == "word" and word.text.isalnum() and max(word.positions, default=58) < 58:
            held = bytes(read[position] for position in word.positions).decode()
            assert held.strip() == word.text


def llama_like(side="left"):
    """SentencePiece with one ``▁`` before the text, spaces in tokens, and padding at the left."""
    vocab = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("▁", -2.0), ("▁▁", -2.0)]
    vocab += [(piece, -1.0) for piece in ("▁red", "▁cir", "cle", ",▁blue", "▁a", "▁a▁red")]
    vocab += [(letter, -9.0) for letter in "abcdefghijklmnopqrstuvwxyz,"]
    backend = Tokenizer(Unigram(vocab, unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    backend.decoder = decoders.Metaspace(prepend_scheme="first", split=False)
    backend.post_processor = processors.TemplateProcessing("<s> $A", None, [("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", pad_token="</s>", unk_token="<unk>",
        padding_side=side, model_max_length=24,
    )  # fmt: skip


def qwen_like():
    """Bytes, with a space or punctuation in the token of the word after it, and no special token."""
    vocab = {letter: at for at, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = [("r", "e"), ("re", "d"), ("Ġ", "red"), ("(", "red")]
    vocab |= {"".join(pair): len(vocab) + at for at, pair in enumerate(merges)}
    vocab["<pad>"] = len(vocab)
    backend = Tokenizer(BPE(vocab, merges))
    words = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", model_max_length=24, padding_side="right"
    )


@pytest.mark.parametrize("make_tokenizer", [llama_like, qwen_like])
@pytest.mark.parametrize("prompt", PROMPTS, ids=range(len(PROMPTS)))
def test_tokenizers_of_language_models_have_a_word_at_every_position(make_tokenizer, prompt):
    tokenizer = make_tokenizer()
    assert len(by_position(reading(tokenizer, prompt))) == 24
    assert len(by_position(reading(Slow(tokenizer), prompt))) == 24


def test_padding_may_stand_before_the_text():
    words = reading(llama_like(), "the red circle")
    (chosen,) = named(words, ["red circle"])
    assert chosen.positions == (21, 22, 23)
    assert [word.positions for word in words if word.kind == "padding"] == [tuple(range(16))]
    assert [word.positions for word in words if word.text == "start"] == [(16,)]


def test_words_that_share_a_token_are_one_and_found_by_either():
    words = reading(llama_like("right"), "a red circle")
    assert [word.text for word in words if word.kind == "word"] == ["a red", "circle"]
    assert named(words, ["red"]) == named(words, ["a"]) == words[1:2]
    assert named(words, ["red circle"])[0].positions == (1, 2, 3)


def test_punctuation_in_the_token_of_a_word_is_the_words():
    words = reading(qwen_like(), "(red) red")
    assert [(word.text, word.positions) for word in words if word.kind != "padding"] == [
        ("red", (0,)), (")", (1,)), ("red", (2,)),
    ]  # fmt: skip


# Pipelines of which it is not known what they read


@pytest.mark.parametrize(
    ("parts", "has"),
    [
        ({}, "no tokenizer"),
        ({"tokenizer": None}, "no tokenizer"),
        ({"tokenizer": ByT5Tokenizer()}, "a ByT5Tokenizer, of whose use"),
        ({"tokenizer": t5.tokenizer(), "tokenizer_2": t5.tokenizer()}, "tokenizer and tokenizer_2"),
        ({"tokenizer": without_limit(t5.tokenizer())}, "a tokenizer without a longest text"),
    ],
)
def test_what_a_pipeline_reads_is_not_guessed(parts, has):
    with pytest.raises(InputError, match=rf"SomePipeline .* \(it has {has}.*positions_only"):
        words_of(SomePipeline(denoiser("cogvideox"), parts), "a red circle")


def test_a_pipeline_with_one_tokenizer_of_t5_is_read_as_long_as_that():
    words = words_of(
        SomePipeline(denoiser("cogvideox"), {"tokenizer": t5.tokenizer()}), "a red circle"
    )
    assert len(by_position(words)) == 24
    assert named(words, ["red circle"])[0].positions == (1, 2)


def test_a_tokenizer_that_leaves_out_a_part_of_the_text_is_refused(sd):
    class Odd(Slow):
        def __call__(self, text, **options):
            read = self.tokenizer(text, **options)
            if "padding" in options:
                read["input_ids"][1] = 0
            return read

    with pytest.raises(
        InputError, match="Odd reads 'a red circle' in 24 positions as no tokenizer"
    ):
        tokens(Odd(sd.tokenizer), "a red circle", 24)


@pytest.mark.skipif(
    release("diffusers") < (0, 38) and not find_spec("ftfy"), reason="its pipeline wants ftfy there"
)
def test_wan_reads_its_prompt_with_html_and_spaces_put_right():
    pipe = SomePipeline(toys.wan().transformer, {"tokenizer": t5.tokenizer()})
    words = named(words_of(pipe, "  a red  &amp;amp; blue"), ["red", "blue"])
    assert [(word.start, word.positions) for word in words] == [(2, (1,)), (8, (4,))]


def test_latte_reads_120_positions_whatever_its_tokenizer_says():
    pipe = SomePipeline(building.build(toys.latte_architecture()), {"tokenizer": t5.tokenizer()})
    assert len(by_position(words_of(pipe, "a red circle"))) == 120


@pytest.mark.parametrize("build", [sdxl, pixart, sd3, flux])
def test_a_word_is_where_attention_is_scaled(build, tokenizer_folder):
    """The positions of a word are those that a plan takes it away at, in a run from a prompt."""
    pipe = build(tokenizer_folder)
    options = {"height": 32, "width": 32, "num_inference_steps": 2, "output_type": "latent"}
    if build in (sd3, flux, pixart):
        options["max_sequence_length"] = 16
    if build is pixart:
        options |= {"use_resolution_binning": False, "clean_caption": False}
    words = words_of(pipe, "a small red circle", **options)
    observer = attnscope.AttentionMaps([words])
    plan = attnscope.Reweight(("red",), factor=0)
    with attnscope.Trace(pipe, plan=plan, observers=[observer]):
        pipe("a small red circle", generator=torch.Generator().manual_seed(0), **options)
    maps = observer.maps()
    for place, word in enumerate(words):
        if word.kind != "padding":  # which may be hidden anyway
            assert (maps.values[0, :, place] == 0).all() == (word.text == "red")


def test_words_are_not_scaled_where_a_branch_of_the_prompt_is_computed_apart(tokenizer_folder):
    def perturbed():
        parts = sd3(tokenizer_folder).components
        own = {name: parts[name] for name in signature(StableDiffusion3PAGPipeline).parameters if name in parts}  # fmt: skip
        return toys._quiet(StableDiffusion3PAGPipeline(**own, pag_applied_layers="blocks.0"))

    pipe = perturbed()
    options = {"height": 32, "width": 32, "num_inference_steps": 2, "output_type": "latent", "max_sequence_length": 16}  # fmt: skip
    plan = attnscope.Reweight(("red",), factor=0)
    with (
        pytest.raises(InputError, match="anew and set pag_scale=0"),
        attnscope.Trace(pipe, plan=plan),
    ):
        pipe("a small red circle", pag_scale=3.0, **options)
    pipe = perturbed()  # diffusers leaves its processors on the other
    observer = attnscope.AttentionMaps([words_of(pipe, "a small red circle", **options)])
    with attnscope.Trace(pipe, plan=plan, observers=[observer]):
        pipe("a small red circle", pag_scale=0.0, **options)
    assert observer.maps().values.any()
