"""The words of a prompt at the positions of the text that a denoiser attends to.

Cross-attention and joint attention have a key a position of the text. A word takes one position or
several; start and end tokens, and padding, take the others. A word is the same for every tokenizer
(see :func:`attnscope.models.token_spans.pieces`), and has the tokens that cover its characters.
"""

from __future__ import annotations

import inspect
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby
from typing import Any, Literal

from attnscope.errors import InputError
from attnscope.families import Family, TextKeys, of_denoiser, of_pipeline
from attnscope.models.token_spans import Piece, Tokens, pieces, templated, tokens
from attnscope.sites.attention import find_denoiser, unwrapped

Kind = Literal["word", "punctuation", "special", "padding"]


@dataclass(frozen=True)
class Word:
    """A word of a prompt, or what stands at the other positions, as one encoder reads it.

    Args:
        text: as it stands in the text; ``start``, ``end`` and ``padding`` for what is added to it.
        kind: what it is.
        encoder: which reads it, such as ``CLIP``, ``T5``, or ``CLIP + CLIP 2`` where the encodings
            of both lie side by side at the same positions.
        positions: its keys in the denoiser's text sequence; none where it was cut off.
        place: order in the prompt, the same for all encoders of one text.
        start: its first character in the text that the tokenizer is given.
        end: the character after its last.
        occurrence: which one it is of the words of this text that are spelt alike, from 1.
    """

    text: str
    kind: Kind
    encoder: str
    positions: tuple[int, ...]
    place: int
    start: int = 0
    end: int = 0
    occurrence: int = 1

    @property
    def name(self) -> str:
        """What tells it from the other words of its encoder: ``circle``, then ``circle#2``."""
        return self.text if self.occurrence == 1 else f"{self.text}#{self.occurrence}"


def words_of(
    pipe: Any, prompt: str, *, length: int | None = None, **options: Any
) -> tuple[Word, ...]:
    """What stands at each position of the text that a pipeline's denoiser attends to.

    Words that were cut off are among them, without positions. What a tokenizer has no token for at
    all is not.

    Args:
        pipe: a pipeline of diffusers with its tokenizers.
        prompt: what it is called with.
        length: positions that the denoiser was seen to attend to. Fewer than the pipeline pads to
            are in order where padding alone is left out.
        options: of the pipeline's call, such as ``max_sequence_length`` or ``prompt_2``; those that
            do not bear on text, or that it does not take, are ignored.

    Returns:
        Words of one encoder after another, by place; every position belongs to exactly one.

    Raises:
        InputError: it is not known how the pipeline reads text, two encoders read other words at
            the same positions, or ``length`` is not that of the text.
    """
    called = _called(pipe, options)
    family = _family(pipe)
    words: list[Word] = []
    total = 0
    for keys in family.text_keys(pipe, called):
        stretch, length_of = _stretch(pipe, family, keys, prompt, called)
        words += _moved(stretch, total)
        total += length_of
    return tuple(words) if length is None else tuple(_fitted(pipe, words, total, length))


def positions_only(length: int) -> tuple[Word, ...]:
    """A word a position, named by its number: for embeddings that are given instead of text.

    Args:
        length: positions of the text that the denoiser attends to.
    """
    return tuple(Word(str(at), "word", "embeddings", (at,), at) for at in range(length))


def named(words: Sequence[Word], names: Sequence[str]) -> tuple[Word, ...]:
    """Choose words by name, and join those of a phrase.

    Capitals and punctuation do not matter. A name that stands in the prompt several times means all
    of them, each a word of its own; ``circle#2`` means the second alone.

    Args:
        words: of one prompt, from :func:`words_of`.
        names: words, or phrases of words that follow one another, such as ``red circle``.

    Returns:
        By name, then by encoder, then by place. An encoder that cut a word off is left out.

    Raises:
        InputError: a name is not in the prompt, or every encoder cut it off.
    """
    found = chain.from_iterable(_chosen(words, name) for name in names)
    return tuple(dict.fromkeys(found))


def _called(pipe: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a pipeline's call, and what it takes by itself for the others."""
    parameters = inspect.signature(pipe.__call__).parameters
    defaults = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
    return defaults | {name: value for name, value in options.items() if name in parameters}


def _family(pipe: Any) -> Family:
    """That of its denoiser, or else of the pipeline."""
    family = of_denoiser(unwrapped(find_denoiser(pipe)))
    return of_pipeline(pipe) if type(family) is Family else family


def _stretch(
    pipe: Any, family: Family, keys: TextKeys, prompt: str, called: Mapping[str, Any]
) -> tuple[list[Word], int]:
    """The words of the encoders that share positions, counted from zero, and how many these are."""
    encoder = _encoder_name(pipe, keys.tokenizers)
    if not keys.tokenizers:
        words = [Word("padding", "padding", encoder, tuple(range(keys.length)), 0)]
        return words, keys.length
    read: list[list[Word]] = []
    length = keys.length
    for name, keyword in zip(keys.tokenizers, keys.prompts, strict=True):
        tokenizer = getattr(pipe, name)
        given = called.get(keyword) if keyword != "prompt" else None
        text = family.text_read(pipe, given or prompt, tokenizer, called)
        template = family.template(pipe, tokenizer, called)
        if template is None:
            found = tokens(tokenizer, text, keys.length)
        else:
            found = templated(tokenizer, text, template)
        length = len(found.ids)
        read.append(_words(text, found, encoder))
    if any(words != read[0] for words in read):
        raise InputError(
            f"{' and '.join(keys.tokenizers)} of {type(pipe).__name__} read other words at the same "
            f"positions: give {' and '.join(map(repr, keys.prompts))} the same text, or name the "
            f"positions themselves with attnscope.models.text_tokens.positions_only({keys.length})"
        )
    return read[0], length


def _encoder_name(pipe: Any, tokenizers: Sequence[str]) -> str:
    """By the kinds of their tokenizers, numbered where two are of one kind."""
    kinds: Counter[str] = Counter()
    names = []
    for name in tokenizers:
        kind = re.sub(r"Tokenizer(Fast)?$", "", type(getattr(pipe, name)).__name__)
        kind = name if kind in ("TokenizersBackend", "PreTrained", "") else kind
        kinds[kind] += 1
        names.append(kind if kinds[kind] == 1 else f"{kind} {kinds[kind]}")
    return " + ".join(names) or "zeros"


def _words(text: str, read: Tokens, encoder: str) -> list[Word]:
    """Start, words and punctuation, end and padding, without those that have no token."""
    parts = pieces(text)
    groups, of_token = _grouped(parts, read.spans)
    made = [_added("start", "special", encoder, read.before, -1, 0)]
    alike: Counter[str] = Counter()
    for group in groups:
        numbers = [number for number, owner in enumerate(of_token) if owner == group]
        if not numbers:
            continue
        positions = tuple(read.first + number for number in numbers if number < read.kept)
        word = _joined(text, parts, group, encoder, positions)
        alike[_spelling(word.text)] += 1
        made.append(replace(word, occurrence=alike[_spelling(word.text)]))
    made.append(_added("end", "special", encoder, read.after, len(parts), len(text)))
    made.append(_added("padding", "padding", encoder, read.padding, len(parts) + 1, len(text)))
    return [word for word in made if word.positions or word.kind in ("word", "punctuation")]


def _added(
    text: str, kind: Kind, encoder: str, positions: tuple[int, ...], place: int, at: int
) -> Word:
    return Word(text, kind, encoder, positions, place, at, at)


def _joined(
    text: str, parts: Sequence[Piece], group: range, encoder: str, positions: tuple[int, ...]
) -> Word:
    """The word of some pieces that follow one another; of spaces alone, where there are none."""
    own = [parts[number] for number in group if number < len(parts)]
    start, end = (own[0].start, own[-1].end) if own else (0, len(text))
    kind: Kind = "word" if any(piece.is_word for piece in own) else "punctuation"
    return Word(text[start:end], kind, encoder, positions, group.start, start, end)


def _grouped(
    parts: Sequence[Piece], spans: Sequence[tuple[int, int]]
) -> tuple[list[range], list[range]]:
    """Pieces that no token parts, and the group of each token.

    A token that covers one word and punctuation beside it is the word's.
    """
    reaches = [_reached(parts, span) for span in spans]
    groups: list[range] = []
    for reach in sorted({*reaches, *(range(n, n + 1) for n in range(len(parts)))}, key=_order):
        if groups and reach.start < groups[-1].stop:
            groups[-1] = range(groups[-1].start, max(groups[-1].stop, reach.stop))
        else:
            groups.append(reach)
    return groups, [next(g for g in groups if reach.start in g) for reach in reaches]


def _order(reach: range) -> tuple[int, int]:
    return reach.start, reach.stop


def _reached(parts: Sequence[Piece], span: tuple[int, int]) -> range:
    """The pieces that a token stands for: of spaces alone the piece after them, or else the last."""
    start, end = span
    covered = [n for n, piece in enumerate(parts) if piece.start < end and piece.end > start]
    covered = [n for n in covered if parts[n].is_word] or covered
    if covered:
        return range(covered[0], covered[-1] + 1)
    after = sum(piece.end <= start for piece in parts)
    after = min(after, max(len(parts) - 1, 0))
    return range(after, after + 1)


def _moved(words: Sequence[Word], by: int) -> Iterator[Word]:
    for word in words:
        yield replace(word, positions=tuple(by + position for position in word.positions))


def _fitted(pipe: Any, words: Sequence[Word], total: int, length: int) -> Iterator[Word]:
    """The words of as many positions as were seen, where those left out are padding."""
    cut = set(range(length, total))
    lost = any(cut.intersection(word.positions) for word in words if word.kind != "padding")
    if length > total or lost:
        raise InputError(
            f"{type(pipe).__name__} attends to {length} positions of text where its tokenizers make "
            f"{total}: give the options of its call that bear on text, such as "
            "`max_sequence_length`, or name the positions themselves with "
            f"attnscope.models.text_tokens.positions_only({length})"
        )
    for word in words:
        left = tuple(position for position in word.positions if position < length)
        if left or word.kind != "padding":
            yield replace(word, positions=left)


def _chosen(words: Sequence[Word], name: str) -> list[Word]:
    """What a name means: as it stands, or else by its number."""
    found = list(_matches(words, name))
    numbered = re.fullmatch(r"(.*\S)\s*#(\d+)\s*", name, flags=re.DOTALL)
    if not found and numbered:
        alike = _matches(words, numbered[1])
        found = [word for word in alike if word.occurrence == int(numbered[2])]
    if not found:
        own = dict.fromkeys(word.name for word in words if word.kind == "word")
        has = f"its words are {', '.join(own)}" if own else "it has no words"
        raise InputError(f"the prompt has no {name!r}: {has}")
    kept = [word for word in found if word.positions]
    if not kept:
        encoders = " and ".join(dict.fromkeys(word.encoder for word in found))
        raise InputError(
            f"{name!r} was cut off, since the prompt is too long for {encoders}: shorten it, or give "
            "a larger `max_sequence_length` where the pipeline takes one"
        )
    return kept


def _matches(words: Sequence[Word], name: str) -> Iterator[Word]:
    """Every time that a name stands in the prompt, by encoder; without positions where it was cut."""
    wanted = _spellings(name)
    kind = "word" if any(piece.is_word for piece in pieces(name)) else "punctuation"
    for _, group in groupby(words, key=lambda word: word.encoder):
        own = [word for word in group if word.kind == kind]
        spelt = [(spelling, word) for word in own for spelling in _spellings(word.text)]
        occurrence, at = 0, 0
        while wanted and at + len(wanted) <= len(spelt):
            beside = spelt[at : at + len(wanted)]
            if [spelling for spelling, _ in beside] != wanted:
                at += 1
                continue
            occurrence, at = occurrence + 1, at + len(wanted)
            yield _phrase(list(dict.fromkeys(word for _, word in beside)), occurrence)


def _phrase(words: Sequence[Word], occurrence: int) -> Word:
    """Words that follow one another as one; one alone is what it is."""
    if len(words) == 1:
        return words[0]
    return replace(
        words[0],
        text=" ".join(word.text for word in words),
        positions=tuple(chain.from_iterable(word.positions for word in words))
        if all(word.positions for word in words)
        else (),
        end=words[-1].end,
        occurrence=occurrence,
    )


def _spellings(text: str) -> list[str]:
    """Of its words; of its punctuation where it has no words."""
    found = pieces(text)
    own = [piece for piece in found if piece.is_word] or found
    return [_spelling(text[piece.start : piece.end]) for piece in own]


def _spelling(text: str) -> str:
    """Without capitals, and with accents and apostrophes written one way."""
    return unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")
