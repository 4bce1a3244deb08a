"""Tiny models with random weights that answer questions about images, saved as checkpoints are."""

from __future__ import annotations

import json

import torch
from toys import image_processor
from transformers import (
    BertTokenizer,
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipConfig,
    BlipForQuestionAnswering,
    BlipProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    ViltConfig,
    ViltForQuestionAnswering,
    ViltProcessor,
)

from attnscope.shapes.scenes import vocabulary

_SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
          "intermediate_size": 37}  # fmt: skip
SIDE = 32
ANSWERS = ("no", "yes", "one", "two", "three", "1", "2", "3")
_WORDS = sorted({*vocabulary(), "is", "there", "the", "how", "many", "are", "in", "image", "thing",
                 "things", "only", "answer", "or", "word", "question"})  # fmt: skip


def _words(*special):
    return [*special, *ANSWERS, "?", ".", ",", ":", *_WORDS]


def _bert(folder):
    words = _words("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]")
    (folder / "vocab.txt").write_text("\n".join(words))
    return BertTokenizer(str(folder / "vocab.txt"))


def blip(folder, **options) -> str:
    """The folder of a BLIP for questions."""
    torch.manual_seed(0)
    tokenizer = _bert(folder)
    ids = {"bos_token_id": tokenizer.convert_tokens_to_ids("[DEC]"), "sep_token_id": 3,
           "pad_token_id": 0, "eos_token_id": 3}  # fmt: skip
    text = {**_SHAPE, **ids, "vocab_size": len(tokenizer), "encoder_hidden_size": 32,
            "max_position_embeddings": 40, "initializer_range": 0.5}  # fmt: skip
    vision = {**_SHAPE, "image_size": SIDE, "patch_size": 8, "initializer_range": 0.5}
    model = BlipForQuestionAnswering(BlipConfig(text_config=text, vision_config=vision))
    return _saved(
        folder,
        model,
        BlipProcessor(image_processor("Blip")(size={"height": SIDE, "width": SIDE}), tokenizer),
        **options,
    )


def vilt(folder, answers=ANSWERS) -> str:
    """The folder of a ViLT that knows some answers."""
    torch.manual_seed(0)
    tokenizer = _bert(folder)
    config = ViltConfig(
        **_SHAPE, vocab_size=len(tokenizer), image_size=SIDE, patch_size=8,
        max_position_embeddings=40, initializer_range=1.0,
        id2label=dict(enumerate(answers)), label2id={a: n for n, a in enumerate(answers)},
    )  # fmt: skip
    processor = image_processor("Vilt")(size={"shortest_edge": SIDE}, size_divisor=8)
    return _saved(folder, ViltForQuestionAnswering(config), ViltProcessor(processor, tokenizer))


TEMPLATE = (
    "{% for m in messages %}question : {% for c in m['content'] %}{% if c['type'] == 'image' %}<image> "
    "{% else %}{{ c['text'] }} {% endif %}{% endfor %}{% endfor %}answer :"
)


def _lettered():
    """A tokenizer of words for models that write, and its words."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    words = _words("<pad>", "<unk>", "<s>", "</s>", "<image>")
    inner = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, unk_token="<unk>"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", bos_token="<s>",
        eos_token="</s>", additional_special_tokens=["<image>"],
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip
    return tokenizer, words


def untemplated(folder) -> str:
    """The folder of a BLIP-2, which has no chat template."""
    torch.manual_seed(0)
    tokenizer, words = _lettered()
    text = {"model_type": "opt", "vocab_size": len(words), "hidden_size": 32, "ffn_dim": 37,
            "num_hidden_layers": 2, "num_attention_heads": 4, "word_embed_proj_dim": 32,
            "max_position_embeddings": 64, "init_std": 0.5, "pad_token_id": 0, "bos_token_id": 2,
            "eos_token_id": 3}  # fmt: skip
    vision = {**_SHAPE, "image_size": SIDE, "patch_size": 8, "initializer_range": 0.5}
    queries = {**_SHAPE, "encoder_hidden_size": 32, "vocab_size": len(words)}
    config = Blip2Config(
        vision_config=vision, qformer_config=queries, text_config=text, num_query_tokens=4,
        image_token_index=words.index("<image>"),
    )  # fmt: skip
    images = image_processor("Blip")(size={"height": SIDE, "width": SIDE})
    processor = Blip2Processor(images, tokenizer, num_query_tokens=4)
    return _saved(folder, Blip2ForConditionalGeneration(config), processor)


def talking(folder) -> str:
    """The folder of a LLaVA: a vision-language model with a chat template."""
    torch.manual_seed(0)
    tokenizer, words = _lettered()
    text = {**_SHAPE, "model_type": "llama", "vocab_size": len(words), "num_key_value_heads": 4,
            "max_position_embeddings": 128, "initializer_range": 0.5, "pad_token_id": 0,
            "bos_token_id": 2, "eos_token_id": 3}  # fmt: skip
    vision = {**_SHAPE, "model_type": "clip_vision_model", "image_size": SIDE, "patch_size": 8,
              "projection_dim": 32}  # fmt: skip
    config = LlavaConfig(
        text_config=text, vision_config=vision, image_token_index=words.index("<image>"),
        image_seq_length=16, vision_feature_layer=-1,
    )  # fmt: skip
    images = image_processor("CLIP")(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    processor = LlavaProcessor(
        images, tokenizer, patch_size=8, vision_feature_select_strategy="default",
        chat_template=TEMPLATE, num_additional_image_tokens=1,
    )  # fmt: skip
    return _saved(folder, LlavaForConditionalGeneration(config), processor)


def _saved(folder, model, processor, safe=True) -> str:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    if not safe:
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    assert json.loads((folder / "config.json").read_text())["architectures"]
    return str(folder)
