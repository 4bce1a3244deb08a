"""The base of what measures while a pipeline denoises.

An observer writes into tensors on the device and never reads from them before the run is over,
so it adds no synchronisation to the denoising loop. Its table is tidy: one row per run, sample,
guidance branch, step and site.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from torch import Tensor

from attnscope.errors import InputError
from attnscope.hooks.attending import Attention
from attnscope.hooks.moments import Denoising, Moment
from attnscope.html_tables import as_table
from attnscope.sites.attention import Site, matches, select_sites

_CHOICE = (
    "give objects of the classes in attnscope.observers, such as StepDistance(), or of one of your own "
    "that derives from attnscope.Observer"
)


class Observer(ABC):
    """Base of everything that can be put into ``Trace(observers=...)``.

    A ``Trace`` calls :meth:`engage` once, :meth:`start` and :meth:`finish` around every run,
    :meth:`see` with every output of a site that it :meth:`wants`, :meth:`attend` with what its attention
    is made of if :attr:`watches_attention`, and :meth:`end_step` after every
    step if :attr:`watches_noise`, and :meth:`release` once at the end.
    """

    watches_noise = False
    watches_attention = False
    _engaged = False

    def engage(self, sites: Sequence[Site]) -> None:
        """A ``Trace`` over these sites begins.

        Raises:
            RuntimeError: the observer served another ``Trace``; its runs would be mixed.
        """
        if self._engaged:
            raise RuntimeError(
                f"this {type(self).__name__} served a Trace before: make a new one for each"
            )
        self._engaged = True

    def wants(self, site: Site) -> bool:
        """Whether to be shown the outputs of a site."""
        return False

    def start(self, run: Denoising, scheduler: Any) -> None:  # noqa: B027
        """A run begins."""

    def see(self, site: Site, moment: Moment, output: Tensor) -> None:  # noqa: B027
        """A chosen site returned ``output``: ``[moment.rows * positions, ...]``, branch-major."""

    def attend(self, site: Site, moment: Moment, attention: Attention) -> None:  # noqa: B027
        """A chosen site is about to attend, and here is what by."""

    def end_step(  # noqa: B027
        self,
        step: int,
        predictions: Sequence[tuple[Moment, Tensor]],
        guided: Tensor,
        sample: Tensor,
    ) -> None:
        """A step ended: the denoiser's outputs, the guided prediction, and the latents before."""

    def release(self) -> None:  # noqa: B027
        """The ``Trace`` is over: free what is still kept on the device."""

    @abstractmethod
    def finish(self, run: Denoising) -> None:
        """The run is over: bring what was measured to the host."""

    @abstractmethod
    def table(self) -> pd.DataFrame:
        """All that was measured, one row each."""

    def __repr__(self) -> str:
        """How it was made, as far as it kept that under the names of its arguments."""
        return f"{type(self).__name__}({', '.join(f'{k}={v}' for k, v in self._made_of().items())})"

    def _repr_html_(self) -> str:
        served = {"served a Trace": "yes" if self._engaged else "not yet"}
        return as_table(type(self).__name__, self._made_of() | served)

    def _made_of(self) -> dict[str, str]:
        own = vars(self)
        given = [name for name in inspect.signature(type(self)).parameters if name in own]
        return {name: repr(own[name]) for name in given}


def as_observers(observers: Any) -> tuple[Observer, ...]:
    """The observers of a ``Trace``.

    Args:
        observers: a list or another iterable of :class:`Observer`.

    Raises:
        InputError: it is none, or something in it is no observer.
    """
    if isinstance(observers, Observer) or _is_class(observers):
        shown = observers.__name__ if _is_class(observers) else repr(observers)
        raise InputError(f"observers={shown} is no list: write observers=[{_written(observers)}]")
    if isinstance(observers, str) or not isinstance(observers, Iterable):
        raise InputError(f"observers={observers!r} is no list of observers: {_CHOICE}")
    found = tuple(observers)
    for one in found:
        if _is_class(one):
            raise InputError(
                f"observers has the class {one.__name__}, not an object of it: write {_written(one)}"
            )
        if not isinstance(one, Observer):
            raise InputError(f"observers has {one!r}, which is no observer: {_CHOICE}")
    return found


def _is_class(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Observer)


def _written(value: Any) -> str:
    """How to write an observer where it, or its class, was given."""
    if not _is_class(value):
        return repr(value)
    parameters = inspect.signature(value).parameters.values()
    needed = [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
    return f"{value.__name__}({', '.join(f'{name}=…' for name in needed)})"


class SiteObserver(Observer):
    """An observer of sites of some kinds, their names matching a pattern.

    Args:
        kinds: any of ``cross``, ``self``, ``joint``, and, to compare attention with, of what stands around
            it, such as ``block`` (:mod:`attnscope.sites.around`).
        sites: shell-style pattern of site names, or several; ``None`` is all.
    """

    def __init__(
        self, kinds: Sequence[str] = ("cross", "self"), sites: str | Sequence[str] | None = None
    ) -> None:
        self.kinds, self.sites = tuple(kinds), sites

    def choose(self, sites: Sequence[Site]) -> tuple[Site, ...]:
        """The sites of the observer's kinds that match its pattern.

        Raises:
            InputError: there are none.
        """
        return select_sites(sites, kinds=self.kinds, pattern=self.sites)

    def engage(self, sites: Sequence[Site]) -> None:
        """A ``Trace`` over these sites begins.

        Raises:
            InputError: none of them is of the observer's kinds and matches its pattern.
        """
        self.choose(sites)
        super().engage(sites)

    def wants(self, site: Site) -> bool:
        """Whether a site is of the observer's kinds and matches its pattern."""
        return matches(site, self.kinds, self.sites)
