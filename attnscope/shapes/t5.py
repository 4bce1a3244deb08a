"""A T5 encoder and a T5 tokenizer for the captions of this world: text that is read both ways.

PixArt reads its captions so. Every token has seen the whole caption, so that the tokens of the
first of two things can know where it stands (see :mod:`attnscope.shapes.places`).
"""

from __future__ import annotations

import string
from typing import Any

from transformers import T5Config, T5EncoderModel

from attnscope import versions
from attnscope.shapes.architecture import MAX_TOKENS, TEXT_WIDTH
from attnscope.shapes.scenes import vocabulary


def tokenizer() -> Any:
    """A T5 tokenizer in which every word of a caption is one token and any text tokenises.

    Other words become their letters; what is not ASCII becomes the token for what is unknown, as
    in T5's own.
    """
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -8.0)]
    pieces += [(f"▁{word}", -1.0) for word in vocabulary()]
    known = {piece for piece, _ in pieces}
    symbols = string.ascii_letters + string.digits + string.punctuation
    pieces += [(symbol, -10.0) for symbol in symbols if symbol not in known]
    return versions.t5_tokenizer(pieces, model_max_length=MAX_TOKENS)


def text_encoder(tokenizer: Any) -> T5EncoderModel:
    """A T5 encoder of four layers and width 128, for one of this world's tokenizers; 0.7 M parameters.

    Args:
        tokenizer: of T5's or of CLIP's kind.
    """
    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=TEXT_WIDTH,
            d_kv=TEXT_WIDTH // 4,
            d_ff=2 * TEXT_WIDTH,
            num_layers=4,
            num_heads=4,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            relative_attention_max_distance=MAX_TOKENS,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
