"""What the table ``attention`` of a maps run says of words: how much is paid to each, and until when."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

ADDED = ("<start>", "<end>", "<padding>")
"""What a tokenizer adds to a prompt; the encoder may be named behind it."""
OTHERS = "other words"
"""All words of a prompt that were not asked for, as one."""
ALL, TOGETHER = "<all words>", "all words"
"""What all words of a prompt are called: in tables where some overlap, and where they are summed up."""


_COLUMNS = ("word", "first step", "last step", "highest", "at step", "half of it until")


def added_to(word: str) -> str | None:
    """Which of :data:`ADDED` a word of a table stands for; ``None`` for those of the prompt."""
    return next((name for name in ADDED if word.startswith(name)), None)


def together(attention: pd.DataFrame) -> pd.DataFrame:
    """With all words of the prompt as one, :data:`TOGETHER`, each token once, beside what was added.

    Args:
        attention: of a maps run.

    Returns:
        Its columns but ``place``, ``peak`` and ``spread``, which sums do not have; the words first.
    """
    attention = _once(attention)
    words = attention["word"].astype(str)
    named = words.where(words.map(added_to).notna(), TOGETHER)
    keys = [name for name in attention if name not in ("place", "word", "mass", "peak", "spread")]
    parts = attention.assign(word=named)
    by = parts.groupby(["word", *keys], observed=True, dropna=False, sort=False)
    found = by["mass"].sum().reset_index()
    return found.sort_values(
        "word", key=lambda of: of != TOGETHER, kind="stable", ignore_index=True
    )


def looked_at(attention: pd.DataFrame) -> pd.DataFrame:
    """When each word is looked at: averaged over positions of the image, sites, heads and prompts.

    Args:
        attention: of a maps run, or what :func:`together` made of it.

    Returns:
        A row a word, in the table's order: ``word``, the attention that is paid to it at the ``first
        step``, at the ``last step`` and where it is ``highest``, ``at step`` of that, and ``half of it
        until``, the last step with half of the highest.
    """
    rows = [_looked(attention, word) for word in dict.fromkeys(attention["word"])]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def last_of(looked: pd.DataFrame, words: Iterable[str]) -> dict[str, Any] | None:
    """The word that is looked at last: half of its most for longest.

    Of several it is that which has its most at last, and of several of these the one that is paid more.

    Args:
        looked: of :func:`looked_at`.
        words: among which.

    Returns:
        Its row; ``None`` where there are none.
    """
    own = looked[looked["word"].astype(str).isin(list(words))]
    if own.empty:
        return None
    keys = ["half of it until", "at step", "highest"]
    last = own.sort_values(keys, ascending=False, kind="stable").iloc[0]
    return {str(name): value for name, value in last.items()}


def _once(attention: pd.DataFrame) -> pd.DataFrame:
    """Without the words of prompts in which some overlap: all of them have rows as one there."""
    prompts = attention["prompt_id"]
    overlap = set(prompts[attention["word"] == ALL])
    apart = [word != ALL and added_to(str(word)) is None for word in attention["word"]]
    return attention[~(prompts.isin(overlap) & pd.Series(apart, attention.index))]


def _looked(attention: pd.DataFrame, word: str) -> dict[str, Any]:
    own = attention[attention["word"] == word]
    curve = own.groupby("step")["mass"].mean().sort_index()
    until = int(curve.index[curve >= curve.max() / 2].max())
    highest: Any = curve.idxmax()
    values = word, curve.iloc[0], curve.iloc[-1], curve.max(), int(highest), until
    return dict(zip(_COLUMNS, values, strict=True))
