"""What a tokenizer makes of a text: which token stands for which characters, at which position.

Fast tokenizers tell the characters of every token. Of others the text is read again up to the end
of each piece: where the tokens of the beginning are those that the whole text begins with, the
piece ends between two tokens. No mark of a tokenizer is interpreted, neither CLIP's ``</w>`` nor
SentencePiece's ``▁``, so that any tokenizer may be asked.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from attnscope.errors import InputError
from attnscope.families.values import Template

_SKIN_TONES = {chr(code) for code in range(0x1F3FB, 0x1F400)}


class Piece(NamedTuple):
    """Characters ``start`` to ``end`` of a text: a word, or punctuation."""

    start: int
    end: int
    is_word: bool


@dataclass(frozen=True)
class Tokens:
    """A text as a tokenizer reads it, padded to a length and cut to it.

    Args:
        ids: tokens at all positions.
        spans: characters of each token of the text, specials aside, those that are cut off as well.
        first: position of the first of them.
        kept: how many of them have a position.
        before: positions of the special tokens before them.
        after: positions of the special tokens after them.
        padding: positions of the padding.
    """

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    first: int
    kept: int
    before: tuple[int, ...]
    after: tuple[int, ...]
    padding: tuple[int, ...]


def pieces(text: str) -> tuple[Piece, ...]:
    """The words of a text and the punctuation between them, whatever the tokenizer.

    A word is a run of letters, marks and digits, or of symbols such as emoji. An apostrophe between
    letters and a point or comma between digits belong to it; a hyphen parts words.
    """
    kinds = [_kind(text, at) for at in range(len(text))]
    found: list[Piece] = []
    start = 0
    for at in range(1, len(text) + 1):
        if at < len(text) and kinds[at] in (kinds[at - 1], "joined"):
            kinds[at] = kinds[at - 1]
        else:
            if kinds[start] != "space":
                found.append(Piece(start, at, kinds[start] in ("word", "symbol")))
            start = at
    return tuple(found) if text else ()


def _kind(text: str, at: int) -> str:
    """Of one character; what is ``joined`` is of the kind of the one before it."""
    character = text[at]
    category = unicodedata.category(character)
    if character.isspace() or category[0] == "Z" or category == "Cc":
        return "space"
    if category[0] in "LN" or character == "_" or _inside_word(text, at):
        return "word"
    if category in ("So", "Co", "Cn") or character in _SKIN_TONES:
        return "symbol"
    return "joined" if category[0] == "M" or category == "Cf" else "punctuation"


def _inside_word(text: str, at: int) -> bool:
    """Whether it is an apostrophe between letters, or a point or comma between digits."""
    before, after = text[max(at - 1, 0) : at], text[at + 1 : at + 2]
    if text[at] in "'\u2019":
        return before.isalnum() and after.isalnum()
    return text[at] in ".," and before.isdigit() and after.isdigit()


def tokens(tokenizer: Any, text: str, length: int) -> Tokens:
    """Read a text as pipelines do: padded to a length, and cut to it.

    Args:
        tokenizer: of transformers, fast or not.
        text: what it is given.
        length: positions.

    Raises:
        InputError: it puts something else between the special tokens than the text's own tokens.
    """
    padded = tokenizer(
        text, padding="max_length", max_length=length, truncation=True, return_attention_mask=True
    )
    ids, mask = padded["input_ids"], padded["attention_mask"]
    own, spans = _own(tokenizer, text)
    begin, end = _specials(tokenizer)
    read = [at for at, seen in enumerate(mask) if seen]
    kept = len(read) - len(begin) - len(end)
    if [ids[at] for at in read] != [*begin, *own[: max(kept, 0)], *end]:
        raise InputError(
            f"{type(tokenizer).__name__} reads {text!r} in {length} positions as no tokenizer that "
            "is known here: name the positions themselves with "
            "attnscope.models.text_tokens.positions_only(length)"
        )
    return Tokens(
        ids=tuple(ids),
        spans=spans,
        first=read[len(begin)] if kept else 0,
        kept=kept,
        before=tuple(read[: len(begin)]),
        after=tuple(read[len(begin) + kept :]),
        padding=tuple(at for at, seen in enumerate(mask) if not seen),
    )


def templated(tokenizer: Any, text: str, template: Template) -> Tokens:
    """Read a text within what a pipeline puts around it, whose tokens are special.

    Args:
        tokenizer: of transformers, a fast one, which tells the characters of every token.
        text: the prompt.
        template: around it.

    Raises:
        InputError: it tells no characters, one of its tokens is of the text and of the template, or those
            of the text do not follow one another.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise _not_told(tokenizer, "it tells the characters of no token")
    whole = template.before + text + template.after
    start, end = len(template.before), len(template.before) + len(text)
    asked = {"return_offsets_mapping": True, "return_attention_mask": True, "verbose": False}
    full = tokenizer(whole, **asked)
    side = {} if template.side is None else {"padding_side": template.side}
    read = tokenizer(
        whole, truncation=True, max_length=template.length,
        padding="max_length" if template.is_padded else False, **side, **asked,
    )  # fmt: skip
    spans = [span for span in full["offset_mapping"] if _is_within(span, start, end)]
    for first, last in spans:
        if whole[first : max(first, start)].strip() or whole[min(end, last) : last].strip():
            raise _not_told(tokenizer, f"a token is of {text!r} and of the template around it")
    kept = [at for at in template.kept if at < len(read["input_ids"])]
    ids, mask = ([read[name][at] for at in kept] for name in ("input_ids", "attention_mask"))
    within = [_is_within(read["offset_mapping"][at], start, end) for at in kept]
    own = [at for at, inside in enumerate(within) if inside and mask[at]]
    wanted = [
        token
        for token, span in zip(full["input_ids"], full["offset_mapping"], strict=True)
        if _is_within(span, start, end)
    ]
    if own != list(range(own[0], own[0] + len(own))) if own else False:
        raise _not_told(tokenizer, f"tokens of {text!r} do not follow one another")
    if [ids[at] for at in own] != wanted[: len(own)]:
        raise _not_told(tokenizer, f"it reads {text!r} otherwise where it is cut")
    seen = [at for at, there in enumerate(mask) if there]
    first = own[0] if own else len(kept)
    return Tokens(
        ids=tuple(ids),
        spans=tuple((max(a - start, 0), min(b, end) - start) for a, b in spans),
        first=first,
        kept=len(own),
        before=tuple(at for at in seen if at < first),
        after=tuple(at for at in seen if at >= first + len(own)),
        padding=tuple(at for at, there in enumerate(mask) if not there),
    )


def _is_within(span: Sequence[int], start: int, end: int) -> bool:
    return span[0] < span[1] and span[0] < end and span[1] > start


def _not_told(tokenizer: Any, why: str) -> InputError:
    return InputError(
        f"which words {type(tokenizer).__name__} has at which positions is not known, since {why}: name "
        "the positions themselves with attnscope.models.text_tokens.positions_only(length)"
    )


def _specials(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens that stand before and after any text."""
    own = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    starts = range(len(whole) - len(own) + 1)
    at = next((at for at in starts if whole[at : at + len(own)] == own), 0)
    return whole[:at], whole[at + len(own) :]


def _own(tokenizer: Any, text: str) -> tuple[list[int], tuple[tuple[int, int], ...]]:
    """A text's own tokens without any limit, and the characters of each."""
    asked = {"add_special_tokens": False, "verbose": False}
    if getattr(tokenizer, "is_fast", False):
        read = tokenizer(text, return_offsets_mapping=True, **asked)
        return read["input_ids"], tuple((start, end) for start, end in read["offset_mapping"])
    ids = tokenizer(text, **asked)["input_ids"]
    ends = [piece.end for piece in pieces(text)]
    beginnings = (tokenizer(text[:end], **asked)["input_ids"] for end in ends)
    return ids, tuple(_by_beginnings(ids, ends, beginnings, len(text)))


def _by_beginnings(
    ids: Sequence[int], ends: Sequence[int], beginnings: Iterator[list[int]], length: int
) -> Iterator[tuple[int, int]]:
    """The characters of each token, from what the text reads like up to the end of each piece."""
    told, start = 0, 0
    for end, beginning in zip(ends, beginnings, strict=True):
        if len(beginning) >= told and ids[: len(beginning)] == beginning:
            yield from [(start, end)] * (len(beginning) - told)
            told, start = len(beginning), end
    yield from [(start, length)] * (len(ids) - told)
