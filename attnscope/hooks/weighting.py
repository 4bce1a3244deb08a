"""Scaling the attention that the image pays to words: what a plan adds to the scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attnscope.errors import InputError
from attnscope.hooks.attending import Attention
from attnscope.hooks.moments import Denoising, Moment
from attnscope.models.text_tokens import Word, named, words_of
from attnscope.plans.reweight import ADDED


class Weighting:
    """The logarithms of factors, at the positions of words, for the rows of the conditional branch.

    Args:
        pipe: the pipeline.
        run: that begins.
        asked: what the pipeline's ``encode_prompt`` was last called with; empty if it was not.

    Raises:
        InputError: the prompts are not known.
    """

    def __init__(self, pipe: Any, run: Denoising, asked: Mapping[str, Any]) -> None:
        prompt = asked.get("prompt")
        if not isinstance(prompt, (str, list)) or not prompt:
            raise InputError(
                "attention to words is scaled by a plan, and the words are not known: give "
                f"{type(pipe).__name__} a prompt rather than its embeddings"
            )
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        self._run = run
        self._words = [
            words_of(pipe, text, **_of_text(asked, place)) for place, text in enumerate(prompts)
        ]
        self._positions: dict[str, list[list[int]]] = {}
        self._made: dict[tuple[Any, ...], Tensor] = {}

    def mask(
        self, attention: Attention, moment: Moment, weights: Mapping[str, float]
    ) -> Tensor | None:
        """The mask of a call with what the weights add to it; ``None`` leaves it as it is.

        Args:
            attention: of the call.
            moment: of the call.
            weights: factors by word.

        Raises:
            InputError: a word is not in a prompt.
            RuntimeError: which rows read the prompt is not known.
        """
        rows = self._rows(moment)
        if rows.stop <= rows.start or not weights:
            return None
        if attention.rows is not None:
            raise InputError(
                "perturbed-attention guidance computes the attention of its own branch apart here, so "
                "attention to words cannot be scaled in it: load the pipeline anew and set pag_scale=0"
            )
        added = self._added(attention, moment, rows, weights)
        mask = attention.mask
        if mask is None:
            return added
        if mask.dtype == torch.bool:
            return torch.where(mask, added, -torch.inf)
        return mask + added

    def _rows(self, moment: Moment) -> slice:
        """Of the call, those that read the prompt."""
        samples = self._samples
        whole = self._run.rows_of_prompt(moment.batch, samples)
        if whole is None and "uncond" in self._run.label(moment.call, moment.batch)[1]:
            return slice(0, 0)  # a call of its own
        start, stop = (0, moment.batch) if whole is None else (whole.start, whole.stop)
        held = moment.held
        return slice(max(start, held.start) - held.start, min(stop, held.stop) - held.start)

    @property
    def _samples(self) -> int:
        samples = self._run.expected
        if samples is None:
            raise RuntimeError(
                "how many images are made is not known at the first step, and so which rows read the "
                "prompt: call the pipeline itself"
            )
        return samples

    def _added(
        self, attention: Attention, moment: Moment, rows: slice, weights: Mapping[str, float]
    ) -> Tensor:
        """``[batch, 1, 1 or queries, keys]``, in the dtype of the scores."""
        query = attention.query
        queries, keys = query.shape[2], attention.key.shape[2]
        key = (*weights.items(), rows.start, rows.stop, len(query), queries, keys, query.dtype)
        if key not in self._made:
            frames = len(query) // moment.rows
            made = torch.zeros(moment.rows, 1, 1, keys)
            each = self._samples // len(self._words)
            for row in range(rows.start, rows.stop):
                sample = (row + moment.first) % self._samples
                for word, factor in weights.items():
                    there = self._of_word(word)[sample // each]
                    at = torch.tensor(there, dtype=torch.int64) + attention.text.start
                    made[row, 0, 0, at] += math.log(factor) if factor else -math.inf
            nothing = torch.isinf(made[..., attention.text]).all(-1).any()
            if nothing and not attention.looks_at_itself:
                raise InputError(
                    f"nothing is left to attend to without {', '.join(weights)}: leave some words in"
                )
            made = made.repeat_interleave(frames, 0).to(query)
            if attention.is_joint:  # of the image alone; the text looks at itself as before
                whole = made.new_zeros(len(query), 1, queries, keys)
                whole[:, :, attention.image] = made
                made = whole
            self._made[key] = made
        return self._made[key]

    def _of_word(self, word: str) -> list[list[int]]:
        """Positions of a word in every prompt."""
        if word not in self._positions:
            found = [positions_of(words, word) for words in self._words]
            if not any(found):
                raise InputError(f"the tokenizer of this pipeline adds no {word}: leave it out")
            self._positions[word] = found
        return self._positions[word]


def positions_of(words: Sequence[Word], word: str) -> list[int]:
    """The positions of a word to which attention is scaled.

    Args:
        words: of a prompt.
        word: or phrase, or ``<start>``, ``<end>`` or ``<padding>``, which may have none.

    Raises:
        InputError: it is not in the prompt.
    """
    added = ADDED.fullmatch(word)
    found = _added(words, added[1]) if added else named(words, [word])
    return sorted({at for one in found for at in one.positions})


def _added(words: Sequence[Word], name: str) -> list[Word]:
    """What tokenizers added to a prompt, by its name."""
    return [word for word in words if word.text == name and word.kind in ("special", "padding")]


def _of_text(asked: Mapping[str, Any], place: int) -> dict[str, Any]:
    """Of what ``encode_prompt`` was given, what says how the text of one prompt is read."""
    wanted: Sequence[str] = (
        "prompt_2", "prompt_3", "max_sequence_length", "clip_skip", "clean_caption",
    )  # fmt: skip
    given = {name: asked[name] for name in wanted if asked.get(name) is not None}
    return {name: v[place] if isinstance(v, list) else v for name, v in given.items()}
