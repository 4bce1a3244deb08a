"""Where in the image the model attends to each word, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attnscope.errors import InputError
from attnscope.hooks.attending import Attention
from attnscope.hooks.moments import Denoising, Moment
from attnscope.hooks.observer import SiteObserver
from attnscope.kinds import Kind
from attnscope.observers.map_sums import Each, MapSums
from attnscope.observers.named_maps import Maps
from attnscope.observers.probabilities import reduced
from attnscope.observers.rows import SITE_COLUMNS, joined, labelled, tidy
from attnscope.sites.attention import Site
from attnscope.sites.denoiser import Denoiser
from attnscope.sites.outputs import tokens_of
from attnscope.tables import concatenate

TEXT_KINDS: tuple[Kind, ...] = ("cross", "joint")
"""Kinds of attention that look at text."""
NUMBERS = ("mass", "peak", "spread", "entropy")


class AnyWord(Protocol):
    """What is asked of a word; :class:`attnscope.models.text_tokens.Word` is one."""

    @property
    def name(self) -> str:
        """What tells it from the others of the prompt."""

    @property
    def positions(self) -> tuple[int, ...]:
        """Where its tokens stand in the text that the denoiser reads."""


class AttentionMaps(SiteObserver):
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
        branch: guidance branch, ``cond`` or ``uncond``.
        of_text: in joint attention, maps of what a word pays to the image, in the place of what the image
            pays to a word.
    """

    watches_attention = True

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
        branch: Literal["cond", "uncond"] = "cond",
        of_text: bool = False,
    ) -> None:
        super().__init__(kinds, sites)
        if other := set(kinds) - set(TEXT_KINDS):
            raise InputError(f"kinds={sorted(other)} do not look at text: choose cross or joint")
        if every is not None and every < 1:
            raise InputError(f"every={every} is no number of steps: choose 1 or more, or None")
        self.words = None if words is None else tuple(tuple(own) for own in words)
        self.steps = None if steps is None else frozenset(steps)
        self.every, self.each, self.heads = every, each, heads
        self.branch, self.of_text = branch, of_text
        self._run: Denoising | None = None
        self._groups: dict[tuple[Any, ...], Tensor] = {}
        self._sums = MapSums(every, each)
        self._numbers: list[tuple[Site, Moment, slice, Tensor]] = []
        self._found: list[Maps] = []
        self._tables: list[pd.DataFrame] = []

    @property
    def held(self) -> int:
        """Bytes of maps that are on the device now."""
        return self._sums.nbytes

    def nbytes(
        self,
        pipe: Any,
        *,
        steps: int,
        words: int,
        batch: int = 1,
        height: int | None = None,
        width: int | None = None,
    ) -> int:
        """Bytes of maps that a run will hold on the device, known before it, where branches can be told.

        Args:
            pipe: the pipeline, of images.
            steps: of the run; those that are looked at, where they were chosen.
            words: with maps, or tokens of the text where none are given.
            batch: images that are made at once.
            height: of an image in pixels; ``None`` is the pipeline's default.
            width: of an image in pixels; ``None`` is the pipeline's default.

        Raises:
            InputError: the layout of the denoiser is not known.
        """
        denoiser = Denoiser.of(pipe)
        chosen = self.choose(denoiser.sites)
        tokens = tokens_of(pipe, denoiser, chosen, height=height, width=width)
        heads = {site.name: int(getattr(denoiser.submodule(site), "heads", 1)) for site in chosen}
        if self.each == "model":
            cells = sum({*tokens.values()})
        else:
            each = self.each == "head"
            cells = sum(count * (heads[name] if each else 1) for name, count in tokens.items())
        looked_at = steps if self.steps is None else len(self.steps)
        buckets = 1 if self.every is None else -(-looked_at // self.every)
        return 4 * batch * buckets * words * cells

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

    def start(self, run: Denoising, scheduler: Any) -> None:
        """A run begins.

        Raises:
            InputError: a step that this run does not have.
        """
        beyond = sorted(step for step in self.steps or () if not 0 <= step < run.steps)
        if beyond:
            raise InputError(
                f"steps={beyond} are not steps of this run (choose 0..{run.steps - 1})"
            )
        self._run = run
        self._clear()

    def attend(self, site: Site, moment: Moment, attention: Attention) -> None:
        """Add a call's maps to those of its step.

        Raises:
            InputError: of text looking at the image where it does not.
            RuntimeError: how many images are made is not known at the first step.
        """
        run = self._run
        if run is None or (self.steps is not None and moment.step not in self.steps):
            return
        if self.of_text and not attention.is_joint:
            raise InputError(
                f"the text does not look at the image at {site.name}: leave of_text out"
            )
        rows = self._rows(run, moment)
        if rows.stop <= rows.start:
            return
        frames = len(attention.query) // moment.rows
        within = slice((rows.start - moment.first) * frames, (rows.stop - moment.first) * frames)
        groups = self._groups_of(run, moment, rows, attention, frames)
        made = reduced(attention, within, groups, heads=self.each == "head", of_text=self.of_text)
        maps = made.maps.reshape(-1, frames, *made.maps.shape[1:])
        self._sums.add(site.name, moment, rows, maps)
        entropy = made.entropy[..., None].expand_as(made.mass)
        numbers = torch.stack([made.mass, made.peak, made.spread, entropy])
        numbers = numbers.reshape(len(NUMBERS), -1, frames, *numbers.shape[2:]).mean(2)
        if not self.heads:
            numbers = numbers.mean(2, keepdim=True)
        self._numbers.append((site, moment, rows, numbers))

    def _rows(self, run: Denoising, moment: Moment) -> slice:
        """Of the pipeline's batch, those of the branch, as far as it is known; else all that run."""
        samples = run.samples or run.prepared
        if samples is None or moment.batch != 2 * samples:
            return moment.held
        halves = run.pair
        if halves is None or self.branch not in halves:
            return moment.held
        first = halves.index(self.branch) * samples
        held = moment.held
        return slice(max(first, held.start), min(first + samples, held.stop))

    def _groups_of(
        self, run: Denoising, moment: Moment, rows: slice, attention: Attention, frames: int
    ) -> Tensor | None:
        """Which tokens are which word's, for every row: float32 ``[rows * frames, words, tokens]``."""
        if self.words is None:
            return None
        samples = run.samples or run.prepared
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
        key = samples, rows.start, rows.stop, tokens, frames, attention.query.device
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
            self._groups[key] = made.repeat_interleave(frames, 0).to(attention.query.device)
        return self._groups[key]

    def finish(self, run: Denoising) -> None:
        """Bring maps and numbers to the host.

        Raises:
            InputError: how a site's tokens are laid out in the image is not known.
        """
        if run.steps_done and self._numbers:
            self._tables += [self._rows_of_table(run, *entry) for entry in self._numbers]
            made = self._sums.assembled(run, self.branch, self._names_in(run))
            if made is not None:
                self._found.append(made)
        self._clear()

    def release(self) -> None:
        """Free what is on the device."""
        self._clear()

    def _clear(self) -> None:
        self._sums.clear()
        self._numbers.clear()
        self._groups.clear()

    def _names_in(self, run: Denoising) -> Callable[[int, int], tuple[str, ...]]:
        """Of the words of a sample, given its number and how many words the maps have."""
        samples = run.samples or 1

        def names(sample: int, words: int) -> tuple[str, ...]:
            if self.words is None:
                return tuple(str(place) for place in range(words))
            own = self.words[sample // (samples // len(self.words))]
            return tuple(word.name for word in own)

        return names

    def _rows_of_table(
        self, run: Denoising, site: Site, moment: Moment, rows: slice, numbers: Tensor
    ) -> pd.DataFrame:
        table = labelled(run, moment.call, site, np.array([moment.step]), moment.batch)
        table = table.iloc[rows]
        there = (table["branch"] == self.branch).to_numpy()
        values = numbers.cpu().numpy()[:, there]
        table = table[there]
        _, count, heads, words = values.shape
        table = table.loc[table.index.repeat(heads * words)]
        table["head"] = np.tile(np.repeat(np.arange(heads), words), count)
        table["place"] = np.tile(np.arange(words), count * heads)
        names = self._names_in(run)
        listed = [
            [*own, *[""] * (words - len(own))]
            for own in (names(sample, words) for sample in table["sample"].iloc[:: heads * words])
        ]
        table["word"] = np.array([name for own in listed for name in own * heads], dtype=object)
        for name, column in zip(NUMBERS, values, strict=True):
            table[name] = column.reshape(-1)
        if not self.heads:
            table = table.drop(columns="head")
        return tidy(table[table["word"] != ""])

    def maps(self, run: int = -1) -> Maps:
        """The maps of a run, the last one by default.

        Raises:
            InputError: there are none.
        """
        if not self._found:
            raise InputError("there are no maps yet: call the pipeline inside the Trace first")
        return self._found[run]

    def table(self) -> pd.DataFrame:
        """How much, how sharply and how widely each word is attended to.

        Returns:
            The columns of a site's row, ``head`` if asked for, ``place`` of the word in its list, ``word``,
            and, averaged over positions of the image, ``mass`` (probability paid to it), ``peak`` (the
            largest), ``spread`` (entropy of its map over positions, nats), and ``entropy`` of the attention
            over all tokens, nats, which is the same for all words of a row's site.
        """
        head = ["head"] if self.heads else []
        columns = [*SITE_COLUMNS, *head, "place", "word", *NUMBERS]
        return concatenate(self._tables) if self._tables else joined([], columns)
