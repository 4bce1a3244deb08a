"""The base of what keeps maps of attention: summed up while a run goes on, put together when it is over."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attnscope.errors import InputError
from attnscope.hooks.attending import Attention
from attnscope.hooks.moments import Denoising, Moment
from attnscope.hooks.observer import SiteObserver
from attnscope.notices import warn
from attnscope.observers.map_sums import Each, MapSums
from attnscope.observers.named_maps import Maps
from attnscope.observers.probabilities import Reduced
from attnscope.observers.rows import (
    SITE_COLUMNS,
    branch_rows,
    by_part,
    check_steps_of,
    joined,
    labelled,
    tidy,
)
from attnscope.sites.attention import Site
from attnscope.sites.denoiser import Denoiser
from attnscope.sites.outputs import tokens_of
from attnscope.tables import concatenate

NUMBERS = ("mass", "peak", "spread", "entropy")
Branch = Literal["cond", "uncond", "perturbed"]


class Taken(NamedTuple):
    """Bytes that maps of a run take.

    Args:
        device: of what is summed up while it goes on, each site at its own resolution.
        host: of what :meth:`MapObserver.maps` returns, all at that of the largest.
    """

    device: int
    host: int


class MapObserver(SiteObserver):
    """Recomputes attention probabilities where a module calls its kernel, and keeps maps of them.

    A subclass says what the maps of a call are (:meth:`_reduced`), how they are put together
    (:meth:`_assembled`), how many parts they have, words or points (:meth:`_parts`), and what these are
    called in the table (:meth:`_named`).

    Args:
        kinds: of attention.
        sites: shell-style pattern of site names, or several; ``None`` is all.
        steps: 0-based steps that are looked at; ``None`` is all.
        every: steps that are averaged into one map; ``None`` averages all, so that memory does not depend
            on their number.
        each: ``site`` and ``head`` keep maps of every site, and of every head of each.
        heads: whether the table has a row a head.
        branch: guidance branch: ``cond``, ``uncond``, or ``perturbed`` where there is perturbed-attention
            guidance, whose own branch has no attention at the sites at which it is the identity.
    """

    watches_attention = True
    part_columns: ClassVar[tuple[str, ...]] = ()
    """Of the table, those that say what a map is of; the first counts the parts."""

    def __init__(
        self,
        kinds: Sequence[str],
        sites: str | Sequence[str] | None,
        *,
        steps: Iterable[int] | None,
        every: int | None,
        each: Each,
        heads: bool,
        branch: Branch,
    ) -> None:
        super().__init__(kinds, sites)
        if every is not None and every < 1:
            raise InputError(f"every={every} is no number of steps: choose 1 or more, or None")
        self.steps = None if steps is None else frozenset(steps)
        self.every, self.each, self.heads, self.branch = every, each, heads, branch
        self._run: Denoising | None = None
        self._sums = MapSums(every, each)
        self._numbers: list[tuple[Site, Moment, slice, Tensor]] = []
        self._found: list[Maps] = []
        self._tables: list[pd.DataFrame] = []

    @abstractmethod
    def _reduced(
        self,
        run: Denoising,
        site: Site,
        attention: Attention,
        rows: slice,
        within: slice,
        apart: int,
    ) -> Reduced | None:
        """The maps of a call; ``None`` if there are none.

        Args:
            run: that goes on.
            site: whose call it is.
            attention: that it computes.
            rows: of the pipeline's batch that are wanted.
            within: the same, in the batch of the attention.
            apart: sequences that a sample is parted into: frames of a video.
        """

    @abstractmethod
    def _assembled(self, run: Denoising) -> Maps | None:
        """All maps of a run that is over; ``None`` if there are none."""

    @abstractmethod
    def _parts(self, words: int | None) -> int:
        """How many maps there are of an image at a step, of all sites together.

        Args:
            words: what :meth:`nbytes` was given.
        """

    @abstractmethod
    def _named(self, run: Denoising, table: pd.DataFrame) -> pd.DataFrame:
        """A site's rows, with the names of their parts in :attr:`part_columns`."""

    @property
    def held(self) -> int:
        """Bytes of maps that are on the device now."""
        return self._sums.nbytes

    def nbytes(
        self,
        pipe: Any,
        *,
        steps: int,
        words: int | None = None,
        batch: int = 1,
        height: int | None = None,
        width: int | None = None,
    ) -> int:
        """Bytes of maps that a run will hold on the device, known before it, where branches can be told.

        Args:
            pipe: the pipeline, of images.
            steps: of the run; those that are looked at, where they were chosen.
            words: with maps, of the prompt with most; tokens of the text where the observer was given no
                words. ``None`` is what it was given.
            batch: images that are made at once.
            height: of an image in pixels; ``None`` is the pipeline's default.
            width: of an image in pixels; ``None`` is the pipeline's default.

        Raises:
            InputError: the layout of the denoiser is not known, or how many words there are.
        """
        return batch * self._parts(words) * self._bytes(pipe, steps, height, width).device

    def host_nbytes(
        self,
        pipe: Any,
        *,
        steps: int,
        words: int | None = None,
        batch: int = 1,
        height: int | None = None,
        width: int | None = None,
    ) -> int:
        """Bytes of what :meth:`maps` returns of a run, known before it.

        All sites have the resolution of the largest there, and as many heads as the one with most, so with
        ``each="head"`` it is several times what the device holds. What it takes and raises is that of
        :meth:`nbytes`.
        """
        return batch * self._parts(words) * self._bytes(pipe, steps, height, width).host

    def _bytes(self, pipe: Any, steps: int, height: int | None, width: int | None) -> Taken:
        """What a run takes of one word or point of one image."""
        denoiser = Denoiser.of(pipe)
        chosen = self.choose(denoiser.sites)
        tokens = tokens_of(pipe, denoiser, chosen, height=height, width=width)
        heads = {site.name: int(getattr(denoiser.submodule(site), "heads", 1)) for site in chosen}
        largest = max(tokens.values())
        if self.each == "model":
            cells, whole = sum({*tokens.values()}), largest
        else:
            each = heads if self.each == "head" else dict.fromkeys(heads, 1)
            cells = sum(count * each[name] for name, count in tokens.items())
            whole = len(chosen) * max(each.values()) * largest
        if self.steps is not None:
            looked_at: Iterable[int] = self.steps
        else:
            looked_at = range(steps)
        buckets = 1 if self.every is None else len({step // self.every for step in looked_at})
        return Taken(4 * buckets * cells, 4 * buckets * whole)

    def start(self, run: Denoising, scheduler: Any) -> None:
        """A run begins.

        Raises:
            InputError: a step that this run does not have.
        """
        check_steps_of(run, self.steps or ())
        self._run = run
        self._clear()

    def attend(self, site: Site, moment: Moment, attention: Attention) -> None:
        """Add a call's maps to those of its step.

        Raises:
            InputError: there can be no such maps of this site.
            RuntimeError: how many images are made is needed and not known at the first step.
        """
        run = self._run
        if run is None or (self.steps is not None and moment.step not in self.steps):
            return
        rows = branch_rows(run, moment, self.branch)
        heard = attention.rows or moment.rows
        rows = slice(rows.start, min(rows.stop, moment.first + heard))
        if rows.stop <= rows.start:
            return
        apart = len(attention.query) // heard
        within = slice((rows.start - moment.first) * apart, (rows.stop - moment.first) * apart)
        with torch.autocast(attention.query.device.type, enabled=False):  # in float32 all the same
            made = self._reduced(run, site, attention, rows, within, apart)
        if made is None:
            return
        maps = made.maps.reshape(-1, apart, *made.maps.shape[1:])
        self._sums.add(site.name, moment, rows, maps)
        numbers = torch.stack([*made[1:-1], made.entropy.expand_as(made.mass)])
        numbers = numbers.reshape(len(NUMBERS), -1, apart, *numbers.shape[2:]).mean(2)
        if not self.heads:
            numbers = numbers.mean(2, keepdim=True)
        self._numbers.append((site, moment, rows, numbers))

    def finish(self, run: Denoising) -> None:
        """Bring maps and numbers to the host.

        Raises:
            InputError: how a site's tokens are laid out in the image is not known.
        """
        if run.steps_done and self._numbers:
            self._tables += [self._rows_of_table(run, *entry) for entry in self._numbers]
            made = self._assembled(run)
            if made is not None:
                self._found.append(made)
            else:
                warn(
                    f"no row of this run is known to be of the branch {self.branch!r}: no maps of it"
                )
        self._clear()

    def release(self) -> None:
        """Free what is on the device."""
        self._clear()

    def _clear(self) -> None:
        self._sums.clear()
        self._numbers.clear()

    def _rows_of_table(
        self, run: Denoising, site: Site, moment: Moment, rows: slice, numbers: Tensor
    ) -> pd.DataFrame:
        table = labelled(run, moment.call, site, np.array([moment.step]), moment.batch).iloc[rows]
        there = (table["branch"] == self.branch).to_numpy()
        values = numbers.cpu().numpy()[:, there]
        made = by_part(table[there], values, NUMBERS, place=self.part_columns[0])
        return tidy(self._named(run, made)[self._columns])

    @property
    def _columns(self) -> list[str]:
        return [*SITE_COLUMNS, *(["head"] if self.heads else []), *self.part_columns, *NUMBERS]

    def maps(self, run: int = -1) -> Maps:
        """The maps of a run, the last one by default.

        Raises:
            InputError: there are none.
        """
        if not self._found:
            raise InputError("there are no maps yet: call the pipeline inside the Trace first")
        return self._found[run]

    def table(self) -> pd.DataFrame:
        """Numbers about the maps: the columns of a site's row, then those of its class."""
        return concatenate(self._tables) if self._tables else joined([], self._columns)
