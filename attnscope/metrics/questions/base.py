"""Questions about the images of captions, and how a benchmark puts and averages them.

A benchmark is one file beside this one: what it asks of a question (:meth:`Benchmark.ask`), what an
image scores (:meth:`Benchmark.score`), and what it prints of all answers together
(:meth:`Benchmark.printed`), as its authors define each.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from attnscope.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

YES = ("yes", "Yes", " yes", " Yes")
"""How the answer yes begins."""
NO = ("no", "No", " no", " No")


@dataclass(frozen=True)
class Question:
    """One question about the image of a caption.

    Args:
        number: its own among those of the caption.
        text: what is asked.
        category: what it is about, in the words of its benchmark.
        parents: numbers of the questions without whose yes it makes no sense.
        answer: the right one.
    """

    number: int
    text: str
    category: str
    parents: tuple[int, ...] = ()
    answer: str = "yes"


@dataclass(frozen=True)
class Item:
    """What is asked about the images of one caption.

    Args:
        questions: in the order of their file.
        atoms: how many things a caption says, where the benchmark tells; 0 where it does not.
    """

    questions: tuple[Question, ...]
    atoms: int = 0


@dataclass(frozen=True)
class Ask:
    """A question as it is put to a model.

    Args:
        text: of the question.
        wanted: how right answers begin; upper case and a blank before a word are others.
        against: how wrong ones do: the probability of a right answer is taken among these two. Empty
            for the probability among all that a model could say.
        hint: what is said after the question to models that talk.
    """

    text: str
    wanted: tuple[str, ...] = YES
    against: tuple[str, ...] = NO
    hint: str = "Answer yes or no."


class Benchmark(ABC):
    """How a benchmark asks and averages."""

    name: ClassVar[str]
    """What the names of its measures begin with."""
    title: ClassVar[str]
    """With its source, for people."""
    measures: ClassVar[tuple[str, ...]]
    """The measures of an image, by the names of :data:`attnscope.metrics.measures.MEASURES`."""

    def ask(self, question: Question) -> Ask:
        """A question as it is put to a model: one whose answer is yes or no, unless it is said otherwise."""
        return Ask(question.text)

    form: ClassVar[str] = ".1f"
    """How its scores are written: percent, unless it is said otherwise."""

    @abstractmethod
    def score(
        self, item: Item, probability: NDArray[np.float64], right: NDArray[np.bool_]
    ) -> dict[str, float]:
        """The measures of one image.

        Args:
            item: what was asked.
            probability: float64 ``[questions]`` of the right answer, from 0 to 1.
            right: bool ``[questions]``, whether the model's own answer is right.

        Returns:
            By name; NaN for a category that nothing was asked of.
        """

    def counted(self, item: Item, right: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which answers count as right, bool ``[questions]``: all that are, where nothing depends."""
        return right

    @abstractmethod
    def printed(self, answers: pd.DataFrame) -> dict[str, float]:
        """What its program prints of all answers of an arm, by category.

        Args:
            answers: rows of the table ``answers`` of one arm.
        """


@dataclass(frozen=True)
class Questionnaire:
    """The questions of captions.

    Args:
        benchmark: whose they are.
        source: where they come from, for people.
        items: by the text of the caption.
    """

    benchmark: Benchmark
    source: str
    items: Mapping[str, Item]

    @property
    def digest(self) -> str:
        """SHA-256 over all that is asked and by whom, the first twelve digits."""
        total = hashlib.sha256(self.benchmark.name.encode())
        for text, item in sorted(self.items.items(), key=lambda pair: pair[0]):
            total.update(f"\n{text}\n{item}".encode())
        return total.hexdigest()[:12]

    def restricted(self, texts: Sequence[str]) -> Questionnaire:
        """The questions of some captions alone.

        Raises:
            InputError: there are none for one of them. An image without questions has no score, and a
                mean that leaves it out is one of other captions.
        """
        lacking = [text for text in dict.fromkeys(texts) if text not in self.items]
        if lacking:
            shown = lacking[0] if len(lacking[0]) <= 60 else f"{lacking[0][:57]}..."
            raise InputError(
                f"`questions`: {self.source} has none for {len(lacking)} of {len(set(texts))} captions, "
                f"such as {shown!r}: leave `captions` out, and the captions are those of the questions"
            )
        return Questionnaire(
            self.benchmark, self.source, {text: self.items[text] for text in dict.fromkeys(texts)}
        )


def mean_of(values: NDArray[np.float64], among: NDArray[np.bool_]) -> float:
    """The mean of some values; NaN where there are none."""
    return float(values[among].mean()) if among.any() else float("nan")
