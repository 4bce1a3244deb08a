"""Which words of captions a model does not know, so that it draws something else without a word.

A tokenizer may have no token for a word and puts its unknown token there (T5 for emoji and many
scripts). A model of the shapes world tokenises every text, but was trained on captions of that world
alone: for any other word it has a vector that no image ever moved.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any


@dataclass(frozen=True)
class Unknown:
    """What captions hold that a model does not know.

    Args:
        words: every unknown word and in how many captions it stands, the most frequent first.
        captions: how many captions have one.
    """

    words: dict[str, int]
    captions: int


def unknown_to_tokenizers(pipe: Any, texts: Sequence[str]) -> Unknown:
    """Words for which one of a pipeline's tokenizers has no token but its unknown one.

    Args:
        pipe: a pipeline; without a tokenizer everything is known.
        texts: captions.
    """
    unique = {word for text in texts for word in text.split()}
    missing: set[str] = set()
    for tokenizer in _tokenizers(pipe):
        missing |= _without_token(tokenizer, sorted(unique))
    return counted(texts, lambda text: [word for word in text.split() if word in missing])


def split(text: str) -> list[str]:
    """Runs of letters, of digits and of symbols, in lower case; punctuation and spaces part them."""
    text = unicodedata.normalize("NFC", text).lower()
    return ["".join(run) for kind, run in groupby(text, _kind) if kind in ("L", "N", "S")]


def is_empty(text: str) -> bool:
    """Whether a caption asks for nothing: it is punctuation and spaces, if anything."""
    return not split(text)


def _kind(character: str) -> str:
    """L for letters and the marks on them, N for digits, S for symbols such as emoji."""
    kind = unicodedata.category(character)[0]
    return "L" if kind == "M" else kind


def _tokenizers(pipe: Any) -> Iterator[Any]:
    components = getattr(pipe, "components", {})
    for name, part in components.items():
        if name.startswith("tokenizer") and getattr(part, "unk_token_id", None) is not None:
            yield part


def _without_token(tokenizer: Any, words: Collection[str]) -> set[str]:
    """Words that become the unknown token, or no token at all."""
    if not words:
        return set()
    special = set(tokenizer.all_special_tokens)
    asked = [word for word in words if word not in special]
    encoded = tokenizer(asked, add_special_tokens=False, verbose=False).input_ids if asked else []
    unknown = tokenizer.unk_token_id
    return {
        word for word, ids in zip(asked, encoded, strict=True) if unknown in ids or not len(ids)
    }


def counted(texts: Sequence[str], unknown: Callable[[str], Sequence[str]]) -> Unknown:
    """What of captions a function of one caption does not know."""
    of_captions = [dict.fromkeys(unknown(text)) for text in texts]
    words = Counter(word for found in of_captions for word in found)
    return Unknown(dict(words.most_common()), sum(bool(found) for found in of_captions))
