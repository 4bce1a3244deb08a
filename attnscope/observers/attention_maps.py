"""Where in the image the model attends to each word, step by step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attnscope.errors import InputError
from attnscope.hooks.attending import Attention
from attnscope.hooks.moments import Denoising
from attnscope.kinds import Kind
from attnscope.observers.map_observer import Branch, MapObserver
from attnscope.observers.map_sums import Each
from attnscope.observers.named_maps import Maps
from attnscope.observers.probabilities import Reduced, reduced
from attnscope.sites.attention import Site

TEXT_KINDS: tuple[Kind, ...] = ("cross", "joint")
"""Kinds of attention that look at text."""


class AnyWord(Protocol):
    """What is asked of a word; :class:`attnscope.models.text_tokens.Word` is one."""

    @property
    def name(self) -> str:
        """What tells it from the others of the prompt."""

    @property
    def positions(self) -> tuple[int, ...]:
        """Where its tokens stand in the text that the denoiser reads."""


class AttentionMaps(MapObserver):
    """Cross- and joint-attention probabilities of the words of a prompt, averaged over heads and sites.

    Probabilities are computed once more from queries and keys, in chunks, where a module calls its
    kernel: the kernel and the image stay what they are. Of a position of the image, they sum to one over
    all tokens, start, end and padding included; in joint attention, over the tokens of the image, too.

    Args:
        words: of every prompt, in the order in which the pipeline is given them
            (:func:`attnscope.models.text_tokens.words_of`); ``None`` leaves every token by itself. A word
            is paid what its tokens are paid together.
        steps: 0-based steps that are looked at; ``None`` is all.
        every: steps that are averaged into one map; ``None`` averages all, so that memory does not depend
            on their number.
        each: ``site`` and ``head`` keep maps of every site, and of every head of each.
        heads: whether the table has a row a head.
        kinds: ``cross`` and ``joint``, or one of them.
        sites: shell-style pattern of site names, or several; ``None`` is all.
        branch: guidance branch, ``cond``, ``uncond`` or ``perturbed``.
        of_text: in joint attention, maps of what a word pays to the image, in the place of what the image
            pays to a word.
    """

    part_columns = ("place", "word")

    def __init__(
        self,
        words: Sequence[Sequence[AnyWord]] | None = None,
        *,
        steps: Iterable[int] | None = None,
        every: int | None = 1,
        each: Each = "model",
        heads: bool = False,
        kinds: Sequence[str] = TEXT_KINDS,
        sites: str | Sequence[str] | None = None,
        branch: Branch = "cond",
        of_text: bool = False,
    ) -> None:
        if other := set(kinds) - set(TEXT_KINDS):
            raise InputError(f"kinds={sorted(other)} do not look at text: choose cross or joint")
        super().__init__(
            kinds, sites, steps=steps, every=every, each=each, heads=heads, branch=branch
        )
        self.words = None if words is None else tuple(tuple(own) for own in words)
        self.of_text = of_text
        self._groups: dict[tuple[Any, ...], Tensor] = {}

    def engage(self, sites: Sequence[Site]) -> None:
        """A ``Trace`` over these sites begins.

        Raises:
            InputError: none of them looks at text and matches the pattern.
        """
        if not any(site.kind in TEXT_KINDS for site in sites):
            raise InputError(
                "this model has no attention to text, so there are no maps of words: choose one with "
                "cross-attention or joint attention"
            )
        super().engage(sites)

    def _parts(self, words: int | None) -> int:
        if words is not None:
            return words
        if self.words is None:
            raise InputError(
                "every token has a map, and how many there are is not known yet: give words=, such as 77"
            )
        return max(map(len, self.words), default=0)

    def _reduced(
        self,
        run: Denoising,
        site: Site,
        attention: Attention,
        rows: slice,
        within: slice,
        apart: int,
    ) -> Reduced | None:
        if self.of_text and not attention.is_joint:
            raise InputError(
                f"the text does not look at the image at {site.name}: leave of_text out"
            )
        groups = self._groups_of(run, rows, attention, apart)
        return reduced(attention, within, groups, heads=self.each == "head", of_text=self.of_text)

    def _groups_of(
        self, run: Denoising, rows: slice, attention: Attention, apart: int
    ) -> Tensor | None:
        """Which tokens are which word's, for every row: float32 ``[rows * apart, words, tokens]``."""
        if self.words is None:
            return None
        samples = run.expected
        if samples is None:
            raise RuntimeError(
                "how many images are made is not known at the first step, and so which rows read which "
                "prompt: call the pipeline itself, or leave the words out"
            )
        if samples % len(self.words):
            raise InputError(
                f"words are given for {len(self.words)} prompts, and {samples} images are made: give "
                "those of every prompt, in the order of the call"
            )
        tokens = attention.text.stop - attention.text.start
        key = samples, rows.start, rows.stop, tokens, apart, attention.query.device
        if key not in self._groups:
            each = samples // len(self.words)
            most = max(len(words) for words in self.words)
            made = torch.zeros(rows.stop - rows.start, most, tokens)
            for row in range(rows.start, rows.stop):
                for place, word in enumerate(self.words[row % samples // each]):
                    there = [at for at in word.positions if at < tokens]
                    if len(there) < len(word.positions):
                        raise InputError(
                            f"the word {word.name!r} stands at {word.positions}, and the text has "
                            f"{tokens} tokens: it is not of this prompt or of this model"
                        )
                    made[row - rows.start, place, there] = 1
            self._groups[key] = made.repeat_interleave(apart, 0).to(attention.query.device)
        return self._groups[key]

    def _assembled(self, run: Denoising) -> Maps | None:
        def names(sample: int, words: int) -> tuple[str, ...]:
            return self._names(run, sample, words)

        return self._sums.assembled(run, self.branch, names)

    def _clear(self) -> None:
        super()._clear()
        self._groups.clear()

    def _names(self, run: Denoising, sample: int, words: int) -> tuple[str, ...]:
        """Of the words of a sample, where maps have so many."""
        if self.words is None:
            return tuple(str(place) for place in range(words))
        samples = run.samples or 1
        own = self.words[sample // (samples // len(self.words))]
        return tuple(word.name for word in own)

    def _named(self, run: Denoising, table: pd.DataFrame) -> pd.DataFrame:
        words = 1 + table["place"].max() if len(table) else 0
        by_sample = {
            sample: [*(own := self._names(run, sample, words)), *[""] * (words - len(own))]
            for sample in table["sample"].unique()
        }
        named = [
            by_sample[sample][place]
            for sample, place in zip(table["sample"], table["place"], strict=True)
        ]
        table = table.assign(word=np.array(named, dtype=object))
        return table[table["word"] != ""]

    def table(self) -> pd.DataFrame:
        """How much, how sharply and how widely each word is attended to.

        Returns:
            The columns of a site's row, ``head`` if asked for, ``place`` of the word in its list, ``word``,
            and, of each head, ``mass`` (probability paid to it, averaged over positions of the image),
            ``peak`` (the largest), ``spread`` (entropy of its map over positions, nats), and ``entropy`` of
            the attention over all tokens, nats, averaged over positions, which is the same for all words
            of a row's site. Where heads are not told apart, these are means over heads.
        """
        return super().table()
