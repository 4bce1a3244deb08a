"""What is to be said of a measure, and how it comes to be known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

    from attnscope.metrics.judging import Judges

Of = Literal["sets", "captions", "pairs", "videos"]
"""What a measure is of: all images of an arm; an image and its caption; an image and that of S; the
frames of a video. Tables name them in this order."""
Take = Callable[..., Mapping[str, Any]]
"""Takes measures, by name. Of ``captions`` and ``pairs`` it is given :class:`Seen` and returns float64
``[n]``; of ``videos`` the frames, and of ``sets`` the features of an arm and of the references, and
returns numbers. What was not asked for, or cannot be had, is left out."""


@dataclass(frozen=True)
class Measure:
    """One measure.

    Args:
        label: for axes and tables.
        higher: whether a higher value is better.
        form: how values are written, as a format specification.
        leading: its place among those that tables show where there is no room for all.
        panel: its place among those that speed is drawn against.
        part_of: the measure that stands for it where there is no room for both.
        decibels: whether it is the logarithm of an error, which is what is averaged.
        biased: whether it depends on how many images there are, so that it is not tested.
        share: whether it is yes or no of an image, 1 or 0, so that its mean is a share of the images.
        of: what it is of, which :func:`measures` says.
    """

    label: str
    higher: bool
    form: str = ".3f"
    leading: int | None = None
    panel: int | None = None
    part_of: str | None = None
    decibels: bool = False
    biased: bool = False
    share: bool = False
    of: Of = "captions"

    @property
    def heading(self) -> str:
        """The label with an arrow that points to the better."""
        return f"{self.label} {'↑' if self.higher else '↓'}"


@dataclass(frozen=True)
class Seen:
    """Images that are measured at once.

    Args:
        images: of an arm.
        captions: as many.
        judges: what to measure by.
        references: S's of the same prompts; ``None`` if they are S's.
        answers: to questions about them, as :meth:`attnscope.metrics.questions.asking.Asking.answers`
            returns them; ``None`` if nothing is asked.
    """

    images: Sequence[Image]
    captions: Sequence[str]
    judges: Judges
    references: Sequence[Image] | None = None
    answers: pd.DataFrame | None = None


MEASURES: dict[str, Measure] = {}
"""By the name that tables use."""
_TAKES: dict[Take, Of] = {}


def measures(of: Of, **said: Measure) -> Callable[[Take], Take]:
    """Make a function one that takes measures.

    Args:
        of: what it is given.
        said: all measures that it may take, by the name that tables use.

    Returns:
        A decorator that returns what it is given.

    Raises:
        ValueError: there is a measure of this name.
    """
    twice = next((name for name in said if name in MEASURES), None)
    if twice is not None:
        raise ValueError(f"there are two measures {twice!r}")

    def register(take: Take) -> Take:
        MEASURES.update({name: replace(measure, of=of) for name, measure in said.items()})
        _TAKES[take] = of
        return take

    return register


def takers(of: Of) -> Iterator[Take]:
    """What takes the measures of something."""
    return (take for take, what in _TAKES.items() if what == of)


def in_order() -> None:
    """Sort the measures by what they are of, then by files and as they stand there."""
    order = get_args(Of)
    known = {
        name: MEASURES[name] for name in sorted(MEASURES, key=lambda n: order.index(MEASURES[n].of))
    }
    MEASURES.clear()
    MEASURES.update(known)


def ranked(place: Literal["leading", "panel"]) -> tuple[str, ...]:
    """The measures that have a place among those that lead, or that are panels: the first one first."""
    places = {name: getattr(measure, place) for name, measure in MEASURES.items()}
    return tuple(sorted((n for n in places if places[n] is not None), key=lambda n: places[n]))
