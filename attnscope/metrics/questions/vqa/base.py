"""What all that answer have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from attnscope.errors import InputError
from attnscope.metrics.questions.base import Ask

AT_ONCE = 16
"""Questions that a model is given together; always as many, so that results do not depend on a run's batch."""


@dataclass(frozen=True)
class Asked:
    """A question about one of some images.

    Args:
        image: its place among them.
        ask: the question.
    """

    image: int
    ask: Ask


@dataclass(frozen=True)
class Answers:
    """What was answered.

    Args:
        probability: float64 ``[n]`` of the right answer: among right and wrong ones
            (:attr:`~attnscope.metrics.questions.base.Ask.against`), or among all that can be said.
        right: bool ``[n]``, whether the model's own answer is right.
    """

    probability: NDArray[np.float64]
    right: NDArray[np.bool_]


class Answerer(ABC):
    """Answers questions about images."""

    name: str
    """As it was chosen."""
    about: ClassVar[str]
    """How it answers, for people."""

    def check(self, asks: Iterable[Ask]) -> None:  # noqa: B027  # most take all
        """Refuse questions that can never be answered, before there are images.

        Raises:
            InputError: one is of that kind.
        """

    @abstractmethod
    def answer(self, images: Sequence[Image], asked: Sequence[Asked]) -> Answers:
        """Answer questions.

        Args:
            images: RGB, of any size.
            asked: about them, in any order.

        Raises:
            InputError: a question is none that can be answered.
        """


def told(probabilities: NDArray[np.float64], asked: Sequence[Ask], numbers: Answering) -> Answers:
    """Answers of the probabilities of all that a model could say.

    Args:
        probabilities: float64 ``[questions, words]``.
        asked: the questions.
        numbers: of the words that begin answers.
    """
    values, right = [], []
    for row, ask in zip(probabilities, asked, strict=True):
        wanted, against = numbers.of(ask)
        mass = row[wanted].sum()
        values.append(mass / (mass + row[against].sum()) if against else mass)
        right.append(values[-1] > 0.5 if against else int(row.argmax()) in wanted)
    return Answers(np.array(values, float), np.array(right, bool))


class Answering(ABC):
    """Knows which of the words that a model could say first begin right and wrong answers."""

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[str, ...], tuple[str, ...]], tuple[list[int], list[int]]] = {}

    def of(self, ask: Ask) -> tuple[list[int], list[int]]:
        """The numbers of words that begin right answers alone, and of those that begin wrong ones.

        Raises:
            InputError: right ones have no beginning of their own, so that nobody could tell.
        """
        key = ask.wanted, ask.against
        if key not in self._known:
            wanted, against = self.numbers(ask.wanted), self.numbers(ask.against)
            both = wanted & against
            lacking = ask.wanted if not wanted - both else ask.against if not against - both else ()
            if lacking:
                raise InputError(
                    f"`vqa`: this model has no answer {lacking[0]!r} that it could be told by: choose "
                    "another"
                )
            self._known[key] = sorted(wanted - both), sorted(against - both)
        return self._known[key]

    @abstractmethod
    def numbers(self, words: Iterable[str]) -> set[int]:
        """The numbers of what begins any of some words; what the model cannot say is left out."""


class FirstTokens(Answering):
    """Of models that write their answer: the first token of each.

    Args:
        tokenizer: of the model.
    """

    def __init__(self, tokenizer: Any) -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def numbers(self, words: Iterable[str]) -> set[int]:
        """The first token of every word that is more than white space, and is known."""
        found = set()
        for word in words:
            ids = self._tokenizer.encode(word, add_special_tokens=False)
            if (
                ids
                and ids[0] != self._tokenizer.unk_token_id
                and self._tokenizer.decode(ids[:1]).strip()
            ):
                found.add(int(ids[0]))
        return found
