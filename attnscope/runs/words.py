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
from itertools import groupby, islice
from typing import Any

from attnscope.runs.prompts import Prompt, count_too_long

_MOST_WORDS = 8


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


def warnings_of(pipe: Any, prompts: Sequence[Prompt]) -> list[str]:
    """What of captions does not get into a pipeline, in words: no token, no words, a cut end.

    Args:
        pipe: a pipeline; without a tokenizer prompts are names of image files, and there is nothing
            to say.
        prompts: of the run.
    """
    if getattr(pipe, "tokenizer", None) is None:
        return []
    texts = [prompt.text for prompt in prompts]
    lines = warning_of_words(
        unknown_to_tokenizers(pipe, texts),
        len(texts),
        "the tokenizer has no token for",
        "its unknown token stands there",
    )
    if empty := sum(map(is_empty, texts)):
        lines.append(
            f"warning: {empty} of {len(texts)} captions have no words: nothing is asked for"
        )
    cut, longest = count_too_long(pipe, texts)
    if cut:
        lines.append(
            f"warning: {cut} of {len(texts)} captions have more than {longest} tokens and are cut there"
        )
    return lines


def warning_of_words(found: Unknown, count: int, what: str, outcome: str) -> list[str]:
    """A line that names unknown words; none if there are none.

    Args:
        found: the words.
        count: how many captions there are.
        what: who does not know them.
        outcome: what comes of it.
    """
    if not found.words:
        return []
    several = count > 1
    shown = [
        f"{word!r} ({times})" if several else repr(word)
        for word, times in islice(found.words.items(), _MOST_WORDS)
    ]
    left = len(found.words) - len(shown)
    listed = ", ".join(shown) + (f" and {left} more" if left else "")
    where = f"{found.captions} of {count} captions have words that {what}" if several else what
    return [f"warning: {where}: {listed}; {outcome}"]
