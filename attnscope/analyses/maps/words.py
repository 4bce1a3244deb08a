"""Which groups of tokens have maps: the words that were asked for, and everything else, told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from attnscope.models.text_tokens import Word, named, words_of
from attnscope.runs.paid import ALL, OTHERS

_ADDED_KINDS = ("special", "padding")
"""Kinds of what the tokenizer adds to the prompt."""


@dataclass(frozen=True)
class Group:
    """Tokens that have one map.

    Args:
        name: a word, a phrase, ``<start>``, ``<end>``, ``<padding>``, or
            :data:`attnscope.runs.paid.OTHERS` or ``ALL``; with its encoder where the model reads the prompt by several.
        kind: ``word``, ``punctuation``, ``special`` or ``padding``.
        encoder: that reads it.
        positions: of its tokens in the text that the denoiser reads.
    """

    name: str
    kind: str
    encoder: str
    positions: tuple[int, ...]


def groups_of(
    pipe: Any, prompt: str, asked: Sequence[str] | None = None, **options: Any
) -> tuple[Group, ...]:
    """The groups of a prompt, in its order; every token is in one at least.

    Where words overlap, such as ``red circle`` and ``circle``, all of them are one more group.

    Args:
        pipe: the pipeline.
        prompt: that it is called with.
        asked: words and phrases; ``None`` is every word by itself.
        options: of the pipeline's call.

    Raises:
        InputError: a word is not in the prompt, or how the pipeline reads text is not known.
    """
    words = [word for word in words_of(pipe, prompt, **options) if word.positions]
    if asked is None:
        chosen = [word for word in words if word.kind not in _ADDED_KINDS]
    else:
        chosen = list(named(words, asked))
    taken = {at for word in chosen for at in word.positions}
    left = [
        word
        for word in words
        if word.kind not in _ADDED_KINDS and not taken.issuperset(word.positions)
    ]
    several = len({word.encoder for word in words}) > 1
    made = [_group(word, several) for word in chosen]
    if left:
        rest = tuple(at for word in left for at in word.positions if at not in taken)
        made.append(Group(OTHERS, "word", "", rest))
    counted = [at for group in made for at in group.positions]
    if len(set(counted)) < len(counted):  # by sums of theirs, tokens would count twice
        made.append(Group(ALL, "word", "", tuple(sorted(set(counted)))))
    starts = [word for word in words if word.text == "start" and word.kind == "special"]
    others = [word for word in words if word.kind in _ADDED_KINDS and word not in starts]
    return (
        *(_group(word, several) for word in starts),
        *made,
        *(_group(word, several) for word in others),
    )


def _group(word: Word, several: bool) -> Group:
    name = f"<{word.text}>" if word.kind in _ADDED_KINDS else word.name
    name = f"{name} ({word.encoder})" if several else name
    return Group(name, word.kind, word.encoder, word.positions)
