"""Which tokenizer of a pipeline reads the text, and how long that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnscope.errors import InputError
from attnscope.families.values import TextKeys

NO_LIMIT = 10**6
"""Positions from which on a tokenizer's length is none: transformers writes 1e30."""


def one_tokenizer(
    pipe: Any, name: str, called: Mapping[str, Any], prompt: str = "prompt"
) -> TextKeys:
    """The positions of one tokenizer, padded to the length of the call or else to its own.

    Args:
        pipe: whose component it is.
        name: of the component.
        called: what the pipeline's call is given or takes by itself.
        prompt: keyword of the pipeline's call that it reads.

    Raises:
        InputError: neither of them has a length.
    """
    own = int(getattr(pipe, name).model_max_length)
    length = called.get("max_sequence_length") or own
    if length >= NO_LIMIT:
        raise text_not_known(pipe, f"a {name} without a longest text: give `max_sequence_length`")
    return TextKeys(int(length), (name,), (prompt,))


def only_tokenizer(pipe: Any) -> str:
    """The name of a pipeline's tokenizer.

    Raises:
        InputError: it has none, or several, of which this family does not say what they read.
    """
    parts = getattr(pipe, "components", {})
    has: list[str] = [name for name, part in parts.items() if part is not None]
    names = [name for name in has if name.startswith("tokenizer")]
    if len(names) != 1:
        raise text_not_known(pipe, " and ".join(names) or "no tokenizer")
    return str(names[0])


def text_not_known(pipe: Any, has: str) -> InputError:
    """The error of a pipeline of which it is not known what text its denoiser attends to.

    Args:
        pipe: the pipeline.
        has: its tokenizers, in words.
    """
    return InputError(
        f"which words {type(pipe).__name__} has at which positions of its text is not known here "
        f"(it has {has}): name the positions themselves with "
        "attnscope.models.text_tokens.positions_only(length)"
    )
