"""Words of language models: which token of a prompt stands where, within what the pipeline puts around it."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from denoisers import make
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    QwenImageEditPipeline,
    QwenImagePipeline,
    SanaPAGPipeline,
    SanaPipeline,
    SanaTransformer2DModel,
)
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

import attnscope
from attnscope.analyses.maps.words import groups_of
from attnscope.errors import InputError
from attnscope.models.text_tokens import named, words_of

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n\n</think>\n\n{% endif %}"
)
PROMPTS = [
    "a red circle",
    "a red circle, a blue star's edge!  two   spaces",
    "user assistant system",
    "café 红色的圆 🔴",
    "{} {prompt} {0}",
    "red " * 400,
]


class Ids(torch.nn.Module):
    """A text encoder of whose states the first channel is the token that it was given."""

    dtype, device, config = torch.float32, torch.device("cpu"), SimpleNamespace(hidden_size=32)

    def __init__(self):
        super().__init__()
        self.given = []

    def forward(self, input_ids, attention_mask=None, **options):
        self.given.append(input_ids.tolist())
        states = torch.zeros(*input_ids.shape, 32)
        states[..., 0] = input_ids
        return States(hidden_states=(states,) * 30)


class States(SimpleNamespace):
    def __getitem__(self, place):
        return self.hidden_states[place]


def tokenizer(bos=False, side="right"):
    """Bytes with merges, in the manner of Qwen's; with a start token in that of Gemma's."""
    vocab = {letter: at for at, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = [("r", "e"), ("re", "d"), ("Ġ", "red"), ("Ġ", "c"), ("i", "r"), ("Ġc", "ir")]
    vocab |= {"".join(pair): len(vocab) + at for at, pair in enumerate(merges)}
    for special in ("<pad>", "<bos>", "<|im_start|>", "<|im_end|>"):
        vocab[special] = len(vocab)
    backend = Tokenizer(BPE(vocab, merges))
    words = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    if bos:
        backend.post_processor = processors.TemplateProcessing("<bos> $A", None, [("<bos>", vocab["<bos>"])])  # fmt: skip
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<bos>", padding_side=side,
        model_max_length=4096, additional_special_tokens=["<|im_start|>", "<|im_end|>"],
    )  # fmt: skip
    made.chat_template = CHAT
    return made


def parts(denoiser, **own):
    return {"transformer": denoiser, "vae": None, "scheduler": FlowMatchEulerDiscreteScheduler(),
            "text_encoder": Ids(), "tokenizer": tokenizer(**own)}  # fmt: skip


def sana_denoiser():
    return SanaTransformer2DModel(
        in_channels=4, out_channels=4, num_layers=1, num_attention_heads=2, attention_head_dim=8,
        num_cross_attention_heads=2, cross_attention_head_dim=8, cross_attention_dim=16,
        caption_channels=32, sample_size=4,
    )  # fmt: skip


def sana(kind=SanaPipeline, **own):
    return kind(**parts(sana_denoiser(), bos=True, **own))


def qwen(kind=QwenImagePipeline, **more):
    pipe = kind(**parts(make("qwen")[0]), **more)
    read = pipe.tokenizer(pipe.prompt_template_encode.split("{}")[0])["input_ids"]
    pipe.prompt_template_encode_start_idx = len(read)  # as it is 34 of Qwen's own
    return pipe


def flux2():
    from diffusers import Flux2KleinPipeline, Flux2Transformer2DModel

    own = {**make("flux2")[0].config, "joint_attention_dim": 96, "in_channels": 16}
    pipe = Flux2KleinPipeline(**parts(Flux2Transformer2DModel.from_config(own)))
    numbers = SimpleNamespace(running_mean=torch.zeros(16), running_var=torch.ones(16))
    vae = SimpleNamespace(bn=numbers, config=SimpleNamespace(batch_norm_eps=1e-4))
    object.__setattr__(pipe, "vae", vae)  # of which a call takes no more when latents are wanted
    return pipe


def sana_states(pipe, prompt, **options):
    instructions = options.pop("instructions", ["Enhance this:", "User Prompt: "])
    states, mask, *_ = pipe.encode_prompt(prompt, False, complex_human_instruction=instructions, **options)  # fmt: skip
    return states, mask


def qwen_states(pipe, prompt, **options):
    states, mask = pipe.encode_prompt(prompt, **options)
    return states, torch.ones(states.shape[:2]) if mask is None else mask


def flux2_states(pipe, prompt, **options):
    states, _ = pipe.encode_prompt(prompt, text_encoder_out_layers=(9, 18, 27), **options)
    return states, None


SANA = {"complex_human_instruction": ["Enhance this:", "User Prompt: "]}
MODELS = {
    "sana": (sana, sana_states, SANA),
    "sana without": (sana, lambda *a, **o: sana_states(*a, instructions=None, **o), {"complex_human_instruction": None}),
    "sana left": (lambda: sana(side="left"), sana_states, SANA),
    "sana pag": (lambda: sana(SanaPAGPipeline), sana_states, SANA),
    "qwen": (qwen, qwen_states, {}),
    "flux2": (flux2, flux2_states, {}),
}  # fmt: skip


@pytest.mark.parametrize("length", [30, 300])
@pytest.mark.parametrize("prompt", PROMPTS, ids=range(len(PROMPTS)))
@pytest.mark.parametrize("name", MODELS)
def test_the_denoiser_is_given_every_word_where_it_is_said_to_stand(name, prompt, length):
    make_pipe, encode, called = MODELS[name]
    pipe = make_pipe()
    words = words_of(pipe, prompt, max_sequence_length=length, **called)
    states, mask = encode(pipe, prompt, max_sequence_length=length)
    ids = states[0, :, 0].int().tolist()
    positions = sorted(at for word in words for at in word.positions)
    assert positions == list(range(len(ids)))
    assert len(pipe.text_encoder.given) == 1
    own = [word for word in words if word.kind in ("word", "punctuation")]
    there = [word for word in own if word.positions]
    for word in own:
        held = pipe.tokenizer.decode([ids[at] for at in word.positions]).strip()
        if word is there[-1] or not word.positions:
            assert word.text.startswith(held.rstrip("\ufffd"))
        else:
            assert held == word.text
    padding = [at for word in words if word.kind == "padding" for at in word.positions]
    assert {ids[at] for at in padding} <= {pipe.tokenizer.pad_token_id}
    if mask is not None:
        assert [at for at in positions if not mask[0, at]] == sorted(padding)
    for word, after in itertools.pairwise(there):
        assert word.positions[-1] < after.positions[0]


def test_words_of_the_template_are_special_and_not_to_be_named():
    pipe = qwen()
    words = words_of(pipe, "a red circle")
    assert [word.text for word in words if word.kind == "word"] == ["a", "red", "circle"]
    with pytest.raises(
        InputError, match="the prompt has no 'assistant': its words are a, red, circle"
    ):
        named(words, ["assistant"])
    assert named(words_of(pipe, "an assistant"), ["assistant"])


@pytest.mark.parametrize("name", ["sana", "qwen", "flux2"])
def test_a_tokenizer_that_tells_no_characters_has_positions_only(name):
    pipe = MODELS[name][0]()
    object.__setattr__(pipe, "tokenizer", SlowTokenizer(pipe.tokenizer))
    with pytest.raises(InputError, match=r"tells the characters of no token: name the positions"):
        words_of(pipe, "a red circle")


class SlowTokenizer:
    is_fast = False

    def __init__(self, own):
        self._own = own

    def __getattr__(self, name):
        return getattr(self._own, name)

    def __call__(self, *args, **kwargs):
        return self._own(*args, **kwargs)


def test_a_template_that_an_image_stands_in_is_not_known():
    pipe = qwen(QwenImageEditPipeline, processor=None)
    with pytest.raises(InputError, match="has at which positions of its text is not known here"):
        words_of(pipe, "a red circle")


def test_a_chat_that_changes_the_prompt_is_not_known():
    pipe = flux2()
    pipe.tokenizer.chat_template = CHAT.replace("m.content", "m.content | upper")
    with pytest.raises(InputError, match="does not hold a prompt once"):
        words_of(pipe, "a red circle")
    pipe.tokenizer.chat_template = CHAT.replace("m.content", "m.content | trim")
    assert words_of(pipe, "a red circle")
    with pytest.raises(InputError, match="changes ' a red circle'"):
        words_of(pipe, " a red circle")


@pytest.mark.parametrize("name", ["sana", "qwen", "flux2"])
def test_a_word_is_where_attention_is_scaled_and_maps_are_of_words(name):
    make_pipe, _, called = MODELS[name]
    pipe = make_pipe()
    pipe.set_progress_bar_config(disable=True)
    options = {"max_sequence_length": 40, **called}
    groups = groups_of(pipe, "a red circle", **options)
    assert [group.name for group in groups if group.kind == "word"] == ["a", "red", "circle"]
    observer = attnscope.AttentionMaps([groups])
    plan = attnscope.Reweight(("red",), factor=0)
    size = {"height": 64, "width": 64, "num_inference_steps": 2, "output_type": "latent"}
    more = {"guidance_scale": 1.0} if name != "qwen" else {"true_cfg_scale": 1.0}
    more |= {"use_resolution_binning": False} if name == "sana" else {}
    with attnscope.Trace(pipe, plan=plan, observers=[observer]):
        pipe(prompt="a red circle", **size, **more, **options)
    maps = observer.maps()
    for place, group in enumerate(groups):
        if group.kind != "padding":  # which may be hidden anyway
            assert (maps.values[0, :, place] == 0).all() == (group.name == "red")
    if name == "sana":
        np.testing.assert_allclose(maps.values.sum(2), 1, atol=1e-5)
